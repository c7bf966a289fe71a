import io

import mutagen
import numpy as np
import pytest
import soundfile as sf
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TALB, TCON, TIT2, TPE1
from mutagen.mp3 import MP3
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from specrec.catalogue.tags import AUDIO_ENDINGS, read_tags

SECONDS = 1.5
TAGGED = {
    "artists": "Björk;Thom Yorke",
    "album_name": "Selmasongs",
    "track_name": "I've Seen It All",
    "track_genre": "Soundtrack",
}


def _audio(container, subtype=None):
    out = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, 0.1, int(22_050 * SECONDS))
    sf.write(out, samples, 22_050, format=container, subtype=subtype)
    return out


def _vorbis_comments(tags):
    tags["artist"] = ["Björk", "Thom Yorke"]
    tags["album"], tags["title"], tags["genre"] = "Selmasongs", "I've Seen It All", "Soundtrack"


def _id3_frames(tags):
    tags.add(TPE1(3, ["Björk", "Thom Yorke"]))
    tags.add(TALB(3, "Selmasongs"))
    tags.add(TIT2(3, "I've Seen It All"))
    tags.add(TCON(3, "Soundtrack"))


def _tagged(container):
    file = _audio(container)
    file.seek(0)
    tagged = {"FLAC": FLAC, "OGG": OggVorbis, "WAV": WAVE, "MP3": MP3}[container](file)
    if container in {"WAV", "MP3"}:
        tagged.add_tags()
        _id3_frames(tagged.tags)
    else:
        _vorbis_comments(tagged)
    file.seek(0)
    tagged.save(file)
    return file.getvalue()


@pytest.mark.parametrize("container", ["FLAC", "OGG", "WAV", "MP3"])
def test_tags_of_every_container_become_the_same_attributes(container):
    found = read_tags(io.BytesIO(_tagged(container)), "07 seen.x")
    duration = found.pop("duration_ms")
    assert found == TAGGED
    assert isinstance(duration, int)
    assert duration == pytest.approx(SECONDS * 1000, abs=110)  # an MP3 is padded to whole frames


@pytest.mark.parametrize("container", ["FLAC", "OGG", "WAV", "MP3", "AIFF"])
def test_without_tags_the_title_is_the_files_name(container):
    found = read_tags(io.BytesIO(_audio(container).getvalue()), "03. Intro (live).flac")
    assert found["track_name"] == "03. Intro (live)"
    assert set(found) == {"track_name", "duration_ms"}


@pytest.mark.parametrize("data", [b"", b"not audio at all", b"\xff\xfb" * 50, b"ID3\x04\x00\x00\x00\x00\x00\x7f"])
def test_what_no_reader_understands_has_a_title_alone(data):
    assert read_tags(io.BytesIO(data), "noise.mp3") == {"track_name": "noise"}


@pytest.mark.parametrize("container", ["MP3", "WAV"])
def test_empty_tags_are_as_none(container):
    file = io.BytesIO(_tagged(container))
    tagged = mutagen.File(file)
    tagged.tags.setall("TIT2", [TIT2(3, "  ")])
    tagged.tags.setall("TPE1", [TPE1(3, ["", "Björk", " "])])
    tagged.tags.delall("TCON")
    file.seek(0)
    tagged.save(file)
    found = read_tags(io.BytesIO(file.getvalue()), "title.mp3")
    assert found["track_name"] == "title"
    assert found["artists"] == "Björk"
    assert "track_genre" not in found


@pytest.mark.parametrize("container", ["MP3", "WAV"])
def test_a_numbered_genre_has_its_name(container):
    file = io.BytesIO(_tagged(container))
    tagged = mutagen.File(file)
    tagged.tags.setall("TCON", [TCON(3, "(17)")])
    file.seek(0)
    tagged.save(file)
    assert read_tags(io.BytesIO(file.getvalue()), "x")["track_genre"] == "Rock"


@pytest.mark.parametrize("container", ["FLAC", "OGG", "WAV", "MP3"])
def test_damaged_files_never_raise(container):
    whole = _tagged(container)
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole[: rng.integers(1, len(whole))] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, min(len(data), 400), 8):  # headers are at the start
            data[at] = rng.integers(256)
        found = read_tags(io.BytesIO(bytes(data)), "damaged.x")
        assert found["track_name"]
        assert all(isinstance(value, str | int) and value != "" for value in found.values())
        assert found.get("duration_ms", 0) >= 0


def test_a_length_that_is_no_number_is_left_out(monkeypatch):
    class Info:
        length = float("nan")

    class Tagged(ID3):
        info = Info()

    monkeypatch.setattr(mutagen, "File", lambda *_, **__: Tagged())
    assert read_tags(io.BytesIO(), "a.mp3") == {"track_name": "a"}


def test_endings_are_lower_case_and_without_a_dot():
    assert {"mp3", "flac", "ogg", "wav", "m4a"} <= set(AUDIO_ENDINGS)
    assert all(ending == ending.lower().strip(".") for ending in AUDIO_ENDINGS)
