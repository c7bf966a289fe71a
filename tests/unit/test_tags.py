import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tagged import (
    LATIN_1,
    NAMES,
    RATE,
    SECONDS,
    UTF_8,
    UTF_16,
    ape,
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

from specrec.catalogue import lengths as lengths_of
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
    file = Counted(whole[:last] + b"page" * 1_000_000 + whole[last:])
    assert without_duration(read_tags(file, "long.ogg")) == TAGGED
    assert file.total < 500_000


def _atom(name, content):
    return struct.pack(">I", 8 + len(content)) + name + content


def _bomb():
    """Frames of ID3v2.4 that are zeros, packed; a thousandth of what they say."""
    packed = zlib.compress(b"\0" + b"x" * (1 << 20))
    frame = b"TPE1" + bytes([0, 0, len(packed) >> 7, len(packed) & 0x7F, 0, 0x08]) + packed
    body = frame * 4_000
    size = bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + size + body


LISTS = chunk(
    b"RIFF\0\0\0\0WAVE", b"LIST", b"INFO" + (b"INAM" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20)) * 100
)
HOSTILE = {
    "tags after tags": b"ID3\x04" + bytes(6) + b"ID3\x03" + bytes(6),
    "pages of nothing": b"OggS\0\x02" + bytes(21) + b"OggS\0\0" + bytes(8) + b"\x01" + bytes(12),
    "frames of nothing": b"\xff\xf1\x50\x00\x00\xe0\x00",
    "atoms in atoms": _atom(b"moov", _atom(b"trak", _atom(b"mdia", b"")) * 10_000),
    "texts after texts": LISTS,
}


@pytest.mark.parametrize("name", [*HOSTILE, "a bomb"])
def test_a_file_that_is_made_to_keep_its_reader_busy_does_not(name):
    """What is read and kept is bounded, whatever a file says of itself."""
    content = _bomb() if name == "a bomb" else HOSTILE[name] * max((16 << 20) // len(HOSTILE[name]), 1)
    file = Counted(content)
    start = time.monotonic()
    assert all(len(str(value)) <= 1 << 20 for value in read_tags(file, "a.mp3").values())
    assert file.total < 640 << 20
    assert time.monotonic() - start < 60  # a few seconds: hours, were there no bound


def test_a_bomb_takes_no_memory():
    content = _bomb()
    tracemalloc.start()
    try:
        read(content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 256 << 20  # of four thousand


class Ranges(io.RawIOBase):
    """A file in object storage, of which each read is a request."""

    requests = 0

    def __init__(self, data):
        self.data = io.BytesIO(data)
        self.seek = self.data.seek
        self.tell = self.data.tell

    def readable(self):
        return True

    def seekable(self):
        return True

    def readinto(self, buffer):
        self.requests += 1
        return self.data.readinto(buffer)


@pytest.mark.parametrize("container", ["MP3", "OGG", "FLAC", "WAV"])
def test_of_a_file_in_object_storage_few_ranges_are_read(container):
    file = Ranges(id3v2(frames()) + noise(container, 60) + ape(APE) if container == "MP3" else noise(container, 60))
    found = read_tags(io.BufferedReader(file, 65_536), "long")
    assert found["duration_ms"] == pytest.approx(60_000, abs=110)
    assert file.requests <= 8


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
        else:
            assert found["duration_ms"] == pytest.approx(seconds * 1000, abs=150), path.name
        compared += 1
    assert compared > len(paths) * 0.8


def test_endings_are_lower_case_and_without_a_dot():
    assert {"mp3", "flac", "ogg", "wav", "m4a"} <= set(AUDIO_ENDINGS)
    assert all(ending == ending.lower().strip(".") for ending in AUDIO_ENDINGS)


# --- tags of several kinds, and odd values --------------------------------------------------------------------

APE = [
    ("Artist", "Björk\0Thom Yorke"),
    ("ALBUM", "Selmasongs"),
    ("title", "I've Seen It All"),
    ("Genre", "Soundtrack"),
    ("Cover Art (Front)", "x\0yz"),
]


@pytest.mark.parametrize(
    "end",
    [
        ape(APE),
        ape(APE, header=False),
        ape(APE, version=1_000),
        ape(APE) + id3v1("Bj", "Sel", "I've", 17),
        ape(APE) + b"LYRICSBEGININD00003110" + b"000022LYRICS200" + id3v1("Bj", "Sel", "I've", 17),
    ],
    ids=["APE", "without a header", "first version", "before ID3v1", "before lyrics and ID3v1"],
)
@pytest.mark.parametrize("container", ["MP3", "AAC"])
def test_ape_tags_are_read(container, end):
    file = sound("MP3") if container == "MP3" else by_ffmpeg("adts", "aac", {})
    assert without_duration(read(file + end)) == TAGGED


def test_ape_tags_are_read_of_files_that_have_no_other():
    assert read(b"MPCK" + bytes(500) + ape(APE)) == TAGGED
    wavpack = b"wvpk" + struct.pack("<IHBBIIII", 24, 0x410, 0, 0, 72_000, 0, 72_000, 10 << 23)
    assert without_duration(read(wavpack + bytes(500) + ape(APE))) == TAGGED
    tta = b"TTA1" + struct.pack("<HHHII", 1, 1, 16, 48_000, 72_000)
    assert without_duration(read(tta + bytes(500) + ape(APE))) == TAGGED
    assert read(ape(APE) + bytes(500)) == TAGGED


def test_of_several_tags_the_one_that_holds_most_is_believed():
    file = id3v2([("TPE1", "Björk Guðmundsdóttir")]) + sound("MP3") + ape(APE) + id3v1("B", "S", "I", 17)
    assert without_duration(read(file)) == TAGGED | {"artists": "Björk Guðmundsdóttir"}
    twice = id3v2([("TPE1", "Björk")]) + id3v2([("TPE1", "B"), ("TIT2", "Title")]) + sound("MP3")
    assert {name: read(twice)[name] for name in ("artists", "track_name")} == {
        "artists": "Björk",
        "track_name": "Title",
    }
    flac = id3v2([("TPE1", "B"), ("TIT2", "Title")]) + vorbis_comments(sound("FLAC"), [("ARTIST", "Björk")])
    assert without_duration(read(flac)) == {"artists": "Björk", "track_name": "Title"}


def test_id3_of_wav_and_aiff_is_believed_more_than_their_own_texts():
    wav = riff_info(sound("WAV"), [("IART", "Bj?rk"), ("IPRD", "Selmasongs")])
    found = without_duration(read(chunk(wav, b"id3 ", id3v2([("TPE1", "Björk"), ("TIT2", "Title")]))))
    assert found == {"artists": "Björk", "album_name": "Selmasongs", "track_name": "Title"}
    found = without_duration(read(chunk(wav, b"id3 ", id3v2([("TPE1", "Björk"), ("TALB", " ")]))))
    assert found == {"artists": "Björk", "album_name": "Selmasongs", "track_name": "07 seen"}
    aiff = chunk(chunk(sound("AIFF"), b"NAME", b"Tit\xfcle"), b"AUTH", "Björk".encode())
    assert without_duration(read(aiff)) == {"artists": "Björk", "track_name": "Titüle"}
    found = without_duration(read(chunk(aiff, b"ID3 ", id3v2([("TIT2", "Title")]))))
    assert found == {"artists": "Björk", "track_name": "Title"}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
def test_texts_whose_encoding_nothing_tells(encoding):
    name = "Björk’s" if encoding == "cp1252" else "Björk"
    assert read(riff_info(sound("WAV"), [("IART", name)], encoding))["artists"] == name
    assert read(sound("MP3") + id3v1(name, "", "", 255, encoding))["artists"] == name


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        (1, b"\xff\xfe" + "Ö\0ł".encode("utf-16-le")),
        (1, b"\xfe\xff" + "Ö\0ł".encode("utf-16-be")),
        (1, b"\xfe\xff" + "Ö\0".encode("utf-16-be") + b"\xfe\xff" + "ł".encode("utf-16-be")),
        (1, b"\xff\xfe" + "Ö\0".encode("utf-16-le") + b"\xfe\xff" + "ł\0".encode("utf-16-be")),
        (1, "Ö\0ł".encode("utf-16-le")),
        (2, "Ö\0ł".encode("utf-16-be")),
        (2, b"\xfe\xff" + "Ö\0ł".encode("utf-16-be")),
        (3, "Ö\0ł".encode()),
        (3, b"\xef\xbb\xbf" + "Ö\0ł\0".encode()),
    ],
)
@pytest.mark.parametrize("version", [2, 3, 4])
def test_texts_of_id3_in_every_encoding_with_and_without_a_mark(version, encoding, content):
    raw = (bytes([encoding]), "latin-1")
    tag = id3v2([("TP1" if version == 2 else "TPE1", content.decode("latin-1"))], version, raw)
    assert read(tag + sound("MP3"))["artists"] == "Ö;ł"


def test_values_in_one_atom_of_mp4_are_told_apart():
    file = by_ffmpeg("ipod", "aac", BY_FFMPEG | {"artist": "Simon;Garfunkel"})
    assert read(file.replace(b"Simon;Garfunkel", b"Simon\0Garfunkel"))["artists"] == "Simon;Garfunkel"


def _flac(values):
    return vorbis_comments(sound("FLAC"), [("ARTIST", value) for value in values])


def _id3(version, encoding):
    return lambda values: id3v2([("TPE1", "\0".join(values))], version, encoding) + sound("MP3")


WRITERS = {
    "FLAC": _flac,
    "FLAC, one comment": lambda values: _flac(["\0".join(values)]),
    "ID3v2.3": _id3(3, UTF_16),
    "ID3v2.4": _id3(4, UTF_8),
    "APE": lambda values: sound("MP3") + ape([("Artist", "\0".join(values))]),
    "INFO": lambda values: riff_info(sound("WAV"), [("IART", value) for value in values]),
    "ID3 in WAV": lambda values: chunk(sound("WAV"), b"id3 ", id3v2([("TPE1", "\0".join(values))])),
}
LETTERS = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="\ufeff"), max_size=40
)
STRANGE = st.sampled_from(["", " ", "\t", "\r\n", "\ufeff", "\x01", "\x7f", "\u2028"])


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(values=st.lists(st.tuples(STRANGE, LETTERS, STRANGE), min_size=1, max_size=4))
def test_values_come_back_without_what_is_no_letter_at_their_ends(write, values):
    said = dict.fromkeys(text for _, letters, _ in values if (text := letters.strip()))
    assert read(write(["".join(parts) for parts in values])).get("artists", "") == ";".join(said)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(before=LETTERS, strange=STRANGE, after=LETTERS)
def test_values_are_of_one_line_and_long_ones_are_whole(before, strange, after):
    found = read(_flac([before + strange + after]))
    if text := found.get("artists"):
        assert text.isprintable() or not (before + after).isprintable()
        assert not set(text) & set("\t\r\n\ufeff\x01\x7f\u2028")
    assert "".join(found.get("artists", "").split()) == "".join((before + after).split())
    assert read(_flac([before + "x" * 100_000]))["artists"] == (before + "x" * 100_000).lstrip()


# --- lengths --------------------------------------------------------------------------------------------------


def noise(container, seconds, rate=RATE, channels=1, subtype=None):
    out = io.BytesIO()
    samples = np.random.default_rng(int(seconds)).normal(0, 0.1, (int(seconds * rate), channels))
    with soundfile.SoundFile(out, "w", rate, channels, format=container, subtype=subtype) as file:
        for start in range(0, len(samples), rate):  # a minute of Vorbis at once overflows libsndfile's stack
            file.write(samples[start : start + rate])
    return out.getvalue()


def milliseconds(data):
    return read(data).get("duration_ms")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("lengths", [(3, 20), (0.5, 4), (1, 2, 3, 1), (25, 12)])
def test_the_length_of_chained_ogg_is_that_of_all_its_parts(subtype, lengths):
    parts = [
        noise("OGG", seconds, rate, subtype=subtype)
        for seconds, rate in zip(lengths, [48_000, 24_000] * 2, strict=False)
    ]
    assert milliseconds(b"".join(parts)) == pytest.approx(sum(lengths) * 1000, abs=2)
    assert milliseconds(parts[0] * 2) == pytest.approx(2000 * lengths[0], abs=2)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("lengths", [(10, 40), (40, 10), (25, 25), (6, 60), (60,)])
def test_joined_ogg_streams_of_one_number_are_all_counted(subtype, lengths):
    """Some encoders give all of their streams one serial number: only the numbers of the pages tell them apart."""
    parts = [bytearray(noise("OGG", seconds, subtype=subtype)) for seconds in lengths]
    for part in parts:
        at = part.find(b"OggS")
        while at >= 0:
            struct.pack_into("<I", part, at + 14, 7)
            at = part.find(b"OggS", at + 27)
    data = b"".join(parts)
    assert milliseconds(data) == pytest.approx(sum(lengths) * 1000, abs=2)
    # and the numbers of one are believed without reading it all
    by_ends = lengths_of._ogg_by_ends(io.BytesIO(data), len(data))
    assert by_ends.is_sure == (len(lengths) == 1)


def test_what_looks_like_a_header_in_the_last_frame_of_flac_is_none():
    data = bytearray(noise("FLAC", 4))
    places = [at for at in range(len(data) - 16) if data[at : at + 2] == b"\xff\xf8"]
    frames = [at for at in places if lengths_of._flac_frame(data[at : at + 16], 4096)]
    first, last = frames[1], frames[-1]
    data[last + 100 : last + 116] = data[first : first + 16]
    assert lengths_of._flac_frame(data[last + 100 : last + 116], 4096)
    assert milliseconds(bytes(data)) == 4_000


def test_a_recording_of_a_broadcast_begins_when_it_was_switched_on():
    data = bytearray(noise("OGG", 20))
    at = data.find(b"OggS")
    while at >= 0:
        (position,) = struct.unpack_from("<q", data, at + 6)
        if position > 0:
            struct.pack_into("<q", data, at + 6, position + 7_000 * RATE)
        at = data.find(b"OggS", at + 27)
    assert milliseconds(bytes(data)) == pytest.approx(20_000, abs=1_000)


def test_the_length_of_joined_mp3_is_that_of_all_its_parts():
    parts = [noise("MP3", 2), id3v2([("TIT2", "x" * 9_000)]) + noise("MP3", 30), noise("MP3", 3, 24_000, 2)]
    assert milliseconds(parts[0]) == pytest.approx(2_000, abs=110)
    assert milliseconds(b"".join(parts)) == pytest.approx(35_000, abs=300)


@pytest.mark.parametrize("share", [0.2, 3])
@pytest.mark.parametrize("seconds", [5, 60])
def test_the_header_of_an_mp3_that_counts_wrongly_is_not_believed(share, seconds):
    data = bytearray(noise("MP3", seconds))
    at = max(data.find(b"Xing", 0, 200), data.find(b"Info", 0, 200)) + 8
    (count,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, int(count * share))
    assert milliseconds(bytes(data)) == pytest.approx(seconds * 1000, abs=110)


@pytest.mark.parametrize("seconds", [2, 90])
def test_raw_aac_has_the_length_of_its_frames(seconds):
    data = by_ffmpeg("adts", "aac", {}, seconds=seconds)
    assert milliseconds(data) == pytest.approx(seconds * 1000, abs=50)
    assert milliseconds(data + data) == pytest.approx(2000 * seconds, abs=90)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "FLAC", "AU"])
@pytest.mark.parametrize("share", [0, 0.25, 10])
def test_the_length_is_that_of_what_follows_the_header(container, share):
    data = bytearray(noise(container, 4))
    whole = 4 * RATE
    if container == "WAV":  # a length that is too small is what players play
        struct.pack_into(
            "<I", data, data.find(b"data") + 4, 0xFFFFFFFF if share == 0.25 else int(2 * whole * share)
        )
    elif container == "AIFF":
        struct.pack_into(">I", data, data.find(b"COMM") + 10, int(whole * share))
    elif container == "AU":
        struct.pack_into(">I", data, 8, 0xFFFFFFFF if share == 0.25 else max(int(2 * whole * share), 0x30000))
    else:
        known = int.from_bytes(data[18:26], "big")
        data[18:26] = (known >> 36 << 36 | int(whole * share)).to_bytes(8, "big")
    if container == "AU" and share == 0:
        return
    assert milliseconds(bytes(data)) == 4_000


def test_joined_flac_is_as_long_as_both():
    assert milliseconds(noise("FLAC", 3) + noise("FLAC", 5)) == 8_000


@pytest.mark.parametrize("name", [b"mvhd", b"mdhd"])
@pytest.mark.parametrize("said", [0, 1, 1 << 30])
def test_the_length_of_mp4_is_that_of_its_table_of_samples(name, said):
    data = bytearray(by_ffmpeg("ipod", "aac", {}))
    struct.pack_into(">I", data, data.find(name) + 20, said)
    assert milliseconds(bytes(data)) == pytest.approx(SECONDS * 1000, abs=110)
