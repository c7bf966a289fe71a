import io
import time
from pathlib import Path

import av
import numpy as np
import pytest
from tagged import (
    LATIN_1,
    NAMES,
    SECONDS,
    UTF_8,
    UTF_16,
    by_ffmpeg,
    chunk,
    id3v1,
    id3v2,
    rename_comment,
    riff_info,
    sound,
    vorbis_comments,
)
from tinytag import TinyTag

from specrec.catalogue.tags import AUDIO_ENDINGS, read_tags
from specrec.errors import StorageError

SHARED = Path(__file__).parents[3] / "shared"

TAGGED = {
    "artists": "Björk;Thom Yorke",
    "album_name": "Selmasongs",
    "track_name": "I've Seen It All",
    "track_genre": "Soundtrack",
}
ONE_ARTIST = TAGGED | {"artists": "Björk"}
BY_FFMPEG = {"artist": "Björk", "album": "Selmasongs", "title": "I've Seen It All", "genre": "Soundtrack"}


def named(column, tags=ONE_ARTIST):
    return [(NAMES[attribute][column], text) for attribute, text in tags.items()]


def frames(tags=TAGGED):
    return [(name, text.replace(";", "\0")) for name, text in named(0, tags)]


def comments():
    return [(name, part) for name, text in named(2, TAGGED) for part in text.split(";")]


def tagged(container):
    if container == "FLAC":
        return vorbis_comments(sound("FLAC"), comments())
    if container == "OGG":
        return rename_comment(sound("OGG", **BY_FFMPEG, comment="Thom Yorke"), "COMMENT", "ARTIST")
    if container == "OPUS":
        file = by_ffmpeg("opus", "libopus", BY_FFMPEG | {"comment": "Thom Yorke"})
        return rename_comment(file, "DESCRIPTION", "artist")
    if container == "MP3":
        return id3v2(frames()) + sound("MP3")
    return chunk(sound(container), b"ID3 " if container == "AIFF" else b"id3 ", id3v2(frames()))


def read(data, name="07 seen.x"):
    return read_tags(io.BytesIO(data), name)


def without_duration(found):
    duration = found.pop("duration_ms")
    assert isinstance(duration, int)
    assert duration == pytest.approx(SECONDS * 1000, abs=110)  # some formats are padded to whole frames
    return found


@pytest.mark.parametrize("container", ["FLAC", "OGG", "OPUS", "WAV", "AIFF", "MP3"])
def test_tags_of_every_container_become_the_same_attributes(container):
    assert without_duration(read(tagged(container))) == TAGGED


@pytest.mark.parametrize(
    "options",
    [
        {"version": 2, "encoding": LATIN_1},
        {"version": 2, "encoding": UTF_16},
        {"version": 3, "encoding": LATIN_1},
        {"version": 3, "encoding": UTF_16},
        {"version": 4, "encoding": UTF_16},
        {"version": 4, "encoding": UTF_8},
        {"version": 2, "encoding": UTF_16, "unsynchronised": True},
        {"version": 3, "encoding": UTF_16, "unsynchronised": True},
        {"version": 4, "encoding": UTF_16, "unsynchronised": True},
        {"version": 3, "encoding": UTF_16, "extended": True},
        {"version": 4, "encoding": UTF_8, "extended": True},
        {"version": 3, "encoding": UTF_16, "unsynchronised": True, "extended": True},
        {"version": 4, "encoding": UTF_16, "unsynchronised": True, "extended": True},
    ],
    ids=lambda options: " ".join(
        [f"2.{options['version']}", options["encoding"][1], *(name for name in options if options[name] is True)]
    ),
)
def test_every_version_of_id3_is_read(options):
    names = named(1 if options["version"] == 2 else 0)
    assert without_duration(read(id3v2(names, **options) + sound("MP3"))) == ONE_ARTIST


def test_the_oldest_id3_is_read_where_there_is_no_newer():
    old = id3v1("Björk", "Selmasongs", "I've Seen It All", 24)
    assert without_duration(read(sound("MP3") + old)) == ONE_ARTIST
    newer = id3v2([("TPE1", "Björk Guðmundsdóttir")])
    assert read(newer + sound("MP3") + old)["artists"] == "Björk Guðmundsdóttir"


@pytest.mark.parametrize(
    "file",
    [
        lambda: by_ffmpeg("ipod", "aac", BY_FFMPEG),
        lambda: by_ffmpeg("mp4", "aac", BY_FFMPEG),
        lambda: by_ffmpeg("asf", "wmav2", BY_FFMPEG),
        lambda: by_ffmpeg("mp3", "libmp3lame", BY_FFMPEG, id3v2_version="3", write_id3v1="1"),
        lambda: by_ffmpeg("mp3", "libmp3lame", BY_FFMPEG, id3v2_version="4"),
        lambda: by_ffmpeg("flac", "flac", BY_FFMPEG),
        lambda: riff_info(sound("WAV"), named(3)),
    ],
    ids=["M4A", "MP4", "WMA", "MP3, ID3v2.3", "MP3, ID3v2.4", "FLAC", "WAV, INFO"],
)
def test_what_others_wrote_is_read(file):
    assert without_duration(read(file())) == ONE_ARTIST


def test_several_values_that_a_tagger_put_into_one_are_told_apart():
    file = vorbis_comments(sound("FLAC"), [("ARTIST", "Simon\0Garfunkel"), ("GENRE", "Folk\0Rock")])
    assert read(file)["artists"] == "Simon;Garfunkel"
    assert read(file)["track_genre"] == "Folk;Rock"


def test_a_slash_is_part_of_a_name():
    assert read(id3v2([("TPE1", "AC/DC")], 3, LATIN_1) + sound("MP3"))["artists"] == "AC/DC"


def test_the_list_of_artists_for_machines_is_not_added_to_the_names_for_people():
    also = [("ARTIST", "Simon & Garfunkel"), ("ARTISTS", "Simon"), ("ARTISTS", "Garfunkel")]
    assert read(vorbis_comments(sound("FLAC"), also))["artists"] == "Simon & Garfunkel"
    also = [("TPE1", "Simon & Garfunkel"), ("TXXX", "ARTISTS\0Simon\0Garfunkel")]
    assert read(id3v2(also) + sound("MP3"))["artists"] == "Simon & Garfunkel"


@pytest.mark.parametrize("container", ["FLAC", "OGG", "WAV", "MP3", "AIFF"])
def test_without_tags_the_title_is_the_files_name(container):
    found = read(sound(container), "03. Intro (live).flac")
    assert found["track_name"] == "03. Intro (live)"
    assert set(found) == {"track_name", "duration_ms"}


@pytest.mark.parametrize("data", [b"", b"not audio at all", b"\xff\xfb" * 50, b"ID3\x04\x00\x00\x00\x00\x00\x7f"])
def test_what_no_reader_understands_has_a_title_alone(data):
    assert read(data, "noise.mp3") == {"track_name": "noise"}


class Counted(io.BytesIO):
    """A file that counts the bytes which are read of it."""

    total = 0

    def read(self, size=-1):
        data = super().read(size)
        self.total += len(data)
        return data


def test_a_long_file_of_nothing_is_not_searched_to_its_end():
    file = Counted(bytes(12 << 20))
    start = time.monotonic()
    assert read_tags(file, "zeros.mp3") == {"track_name": "zeros"}
    assert file.total < 9 << 20
    assert time.monotonic() - start < 30


def test_of_a_long_ogg_file_the_ends_are_read():
    whole = tagged("OGG")
    last = whole.rfind(b"OggS")
    file = Counted(whole[:last] + b"page" * 250_000 + whole[last:])
    assert without_duration(read_tags(file, "long.ogg")) == TAGGED
    assert file.total < 200_000


@pytest.mark.parametrize("container", ["MP3", "WAV"])
def test_empty_tags_are_as_none(container):
    tag = id3v2([("TIT2", "  "), ("TPE1", "\0Björk\0 "), ("TALB", "Selmasongs")])
    found = read(tag + sound("MP3") if container == "MP3" else chunk(sound("WAV"), b"id3 ", tag), "title.mp3")
    assert found["track_name"] == "title"
    assert found["artists"] == "Björk"
    assert "track_genre" not in found


@pytest.mark.parametrize("container", ["MP3", "WAV"])
@pytest.mark.parametrize("genre", ["(17)", "17"])
def test_a_numbered_genre_has_its_name(container, genre):
    tag = id3v2([("TCON", genre)])
    file = tag + sound("MP3") if container == "MP3" else chunk(sound("WAV"), b"id3 ", tag)
    assert read(file)["track_genre"] == "Rock"


@pytest.mark.parametrize(
    "container", ["FLAC", "OGG", "OPUS", "WAV", "AIFF", "MP3", "M4A", "WMA", "MP3, unsynchronised"]
)
def test_damaged_files_never_raise(container):
    rng = np.random.default_rng(0)
    makers = {
        "M4A": lambda: by_ffmpeg("ipod", "aac", BY_FFMPEG),
        "WMA": lambda: by_ffmpeg("asf", "wmav2", BY_FFMPEG),
        "MP3, unsynchronised": lambda: id3v2(frames(), unsynchronised=True) + sound("MP3"),
    }
    whole = makers.get(container, lambda: tagged(container))()
    for _ in range(60):
        data = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, min(len(data), 400), 8):  # headers are at the start
            data[at] = rng.integers(256)
        found = read(bytes(data), "damaged.x")
        assert found["track_name"]
        assert all(isinstance(value, str | int) and value != "" for value in found.values())
        assert found.get("duration_ms", 0) >= 0


def test_a_length_that_is_no_number_is_left_out(monkeypatch):
    tag = TinyTag()
    tag.duration = float("nan")
    monkeypatch.setattr(TinyTag, "get", lambda *_, **__: tag)
    assert read(b"", "a.mp3") == {"track_name": "a"}


@pytest.mark.parametrize("container", ["FLAC", "OGG", "MP3", "WAV", "AIFF"])
def test_a_fault_of_the_store_is_never_taken_for_a_file_without_tags(container):
    class Failing(io.BytesIO):
        left = 0

        def read(self, size=-1):
            self.left -= 1
            if self.left < 0:
                raise StorageError("the store is gone")
            return super().read(size)

    for reads in range(6):
        file = Failing(tagged(container))
        file.left = reads
        with pytest.raises(StorageError, match="the store is gone"):
            read_tags(file, "a.x")


def _by_ffmpeg(path):
    try:
        with av.open(str(path), metadata_errors="ignore") as file:
            tags = {key.lower(): value for key, value in file.metadata.items()}
            for stream in file.streams.audio:  # an Ogg stream has its own
                tags |= {key.lower(): value for key, value in stream.metadata.items()}
            return tags, file.duration / 1e6 if file.duration else None
    except (av.FFmpegError, OSError):
        return None


@pytest.mark.parametrize("folder", ["music", "bad-audio"])
def test_of_real_files_the_tags_are_what_ffmpeg_reads(folder):
    paths = [path for path in sorted((SHARED / folder).rglob("*")) if path.suffix[1:] in AUDIO_ENDINGS]
    if not paths:
        pytest.skip(f"needs {folder} of the shared data")
    compared = 0
    for path in paths:
        if (other := _by_ffmpeg(path)) is None:
            continue
        tags, seconds = other
        with path.open("rb") as file:
            found = read_tags(file, path.name)
        expected = {
            "artists": tags.get("artist", "").strip(),
            "album_name": tags.get("album", "").strip(),
            "track_name": tags.get("title", "").strip() or path.stem,
            "track_genre": tags.get("genre", "").strip(),
        }
        assert {name: found.get(name, "") for name in expected} == expected, path.name
        if seconds is None:
            assert "duration_ms" not in found
        elif path.name != "header-claims-30s-holds-4s.wav":  # a name that says what its header says
            assert found["duration_ms"] == pytest.approx(seconds * 1000, abs=150), path.name
        compared += 1
    assert compared > len(paths) * 0.8


def test_endings_are_lower_case_and_without_a_dot():
    assert {"mp3", "flac", "ogg", "wav", "m4a"} <= set(AUDIO_ENDINGS)
    assert all(ending == ending.lower().strip(".") for ending in AUDIO_ENDINGS)
