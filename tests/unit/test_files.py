"""What a folder of music holds, whatever the names, rights and links in it."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from specrec.catalogue.files import TAG_COLUMNS, is_audio, listing, tag_reading
from specrec.catalogue.tags import AUDIO_ENDINGS
from specrec.errors import StorageError
from specrec.storage import Location
from specrec.storage.config import StorageConfig
from specrec.storage.local import LocalStore


@pytest.fixture
def music(tmp_path: Path) -> Path:
    """An empty folder for music, with room beside it."""
    (tmp_path / "music").mkdir()
    return tmp_path / "music"


def _put(path: Path | str, text: str = "x") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(text)


def _listed(root: Path, scope: str = "tree", folder: Path | None = None, follow: bool = False) -> pd.DataFrame:
    frames = listing(StorageConfig(follow_links_out=follow), Location(str(root)), scope)
    rows = list(frames(iter([pd.DataFrame({"folder": [str(folder or root)]})])))
    return pd.concat(rows) if rows else pd.DataFrame(columns=["audio_uri", "left_out", "code"])


def _taken(rows: pd.DataFrame, root: Path) -> list[str]:
    files = rows[rows.audio_fingerprint.notna()] if len(rows) else rows
    return sorted(uri.removeprefix(f"{root}/") for uri in files.audio_uri)


def _told(rows: pd.DataFrame, root: Path) -> dict[str, str]:
    failing = rows[rows.code.notna()]
    return {uri.removeprefix(f"{root}/"): code for uri, code in zip(failing.audio_uri, failing.code, strict=True)}


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    return rows.left_out.value_counts().to_dict()


@pytest.fixture
def as_another_user() -> Iterator[None]:
    """Let the test run without the superuser's right to read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


NAMES = st.binary(min_size=1, max_size=40).map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"_"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example(
    [b"caf\xe9", "café".encode(), b" lead", b"trail ", b"\ttab\r\n", b"..\n", b"a\nb", b"\xed\xa0\x80", b"%2e"]
)
@given(st.lists(NAMES, max_size=6, unique=True))
def test_every_name_is_listed_as_it_is_or_told_with_its_bytes_written_out(names: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / os.fsdecode(name + b".mp3")).write_bytes(b"x")
        rows = _listed(Path(folder))
        readable, odd, junk = set(), 0, 0
        for name in names:
            try:
                text = (name + b".mp3").decode()
            except UnicodeDecodeError:
                odd += 1
                junk += name.startswith(b"._")
            else:
                readable |= set() if text.startswith("._") else {text}
        assert set(_taken(rows, Path(folder))) == readable
        told = rows[rows.code == "unreadable_name"]
        assert len(told) == odd - junk
        for uri in told.audio_uri:
            uri.encode("utf-8")
            assert "\\x" in uri


def test_an_odd_folder_is_told_and_an_odd_text_file_is_of_no_account(music: Path) -> None:
    _put(music / "good" / "a.mp3")
    _put(music / os.fsdecode(b"M\xfcsik") / "b.mp3")
    _put(music / os.fsdecode(b"notes \xe9.txt"))
    rows = _listed(music)
    assert _taken(rows, music) == ["good/a.mp3"]
    assert _told(rows, music) == {"M\\xfcsik": "unreadable_name"}
    assert _counts(rows) == {".txt": 1}


def test_blanks_and_line_breaks_are_part_of_names(music: Path) -> None:
    names = [
        " lead.flac",
        "same.flac",
        " same.flac",
        "trail.flac ",
        "tab\t.mp3\t",
        "a\rb\n.mp3\r\n",
        " d /\n e /f.mp3",
    ]
    for name in names:
        _put(f"{music}/{name}")
    assert _taken(_listed(music), music) == sorted(names)


@pytest.mark.usefixtures("as_another_user")
def test_folders_and_files_that_may_not_be_looked_at_are_told_and_the_others_go_on() -> None:
    with tempfile.TemporaryDirectory() as folder:  # this user's own, to take rights away
        root = Path(folder)
        for name in ("ok/a.mp3", "private/b.mp3", "no entry/c.mp3", "no entry/cover.jpg"):
            _put(root / name)
        (root / "private").chmod(0)
        (root / "no entry").chmod(0o400)
        rows = _listed(root)
        with pytest.raises(StorageError, match=r"the folder .*private: cannot be listed: Permission denied"):
            _listed(root / "private")
        for name in ("private", "no entry"):
            (root / name).chmod(0o700)
    assert _taken(rows, root) == ["ok/a.mp3"]
    assert _told(rows, root) == {
        "private": "unreadable_folder",
        "no entry/c.mp3": "storage_error",
        "no entry/cover.jpg": "storage_error",
    }
    assert all("\n" not in message for message in rows.message.dropna())


def test_bins_junk_and_other_files_are_left_out_and_counted(music: Path) -> None:
    bins = ("#recycle", "$RECYCLE.BIN", "@Recycle", ".Trash-1000", "System Volume Information", "#snapshot")
    for name in (*bins, "@eaDir", ".AppleDouble", "lost+found", "Album/@eaDir"):
        _put(music / name / "deleted.mp3")
    for name in ("Thumbs.db", ".DS_Store", "._a.mp3", "Album/cover.jpg", "Album/back.JPG", "README", "a.what ever"):
        _put(music / name)
    _put(music / "Album" / ".a.mp3")
    rows = _listed(music)
    assert _taken(rows, music) == ["Album/.a.mp3"]
    assert _counts(rows) == {
        "hidden or system folders": 10,
        ".jpg": 2,
        ".db": 1,
        ".ds_store": 1,
        "._ files of macOS": 1,
        "without an ending": 1,
        "with another ending": 1,
    }
    assert not _told(rows, music)


def test_of_each_format_that_is_decoded_files_are_taken_up() -> None:
    for ending in ("webm", "mka", "mp2", "m4b", "aifc", "w64", "wv", "mp3", "flac"):
        assert ending in AUDIO_ENDINGS
        assert is_audio(f"/music/a.{ending.upper()}")


def test_a_link_out_of_the_root_is_told_unless_it_is_to_be_followed(music: Path) -> None:
    _put(music.parent / "disk2" / "Album" / "a.mp3")
    _put(music.parent / "secret.mp3")
    (music / "Album").symlink_to(music.parent / "disk2" / "Album")
    (music / "b.mp3").symlink_to(music.parent / "secret.mp3")
    (music / "passwd").symlink_to("/etc/passwd")
    (music / "etc").symlink_to("/etc")
    rows = _listed(music)
    assert _taken(rows, music) == []
    assert _told(rows, music) == {"Album": "forbidden_path", "b.mp3": "forbidden_path", "etc": "forbidden_path"}
    assert _counts(rows) == {"without an ending": 1}  # passwd
    (music / "etc").unlink()
    assert _taken(_listed(music, follow=True), music) == ["Album/a.mp3", "b.mp3"]
    # as for a catalogue that names etc/passwd
    (music / "etc").symlink_to("/etc")
    assert _told(_listed(music, "files", music / "etc"), music) == {"etc": "forbidden_path"}


def test_a_folder_that_is_linked_is_listed_once_and_no_circle_is_run(music: Path) -> None:
    _put(music / "Album" / "a.mp3")
    _put(music / ".store" / "b.mp3")
    _put(music.parent / "other" / "c.mp3")
    for name, target in {
        "Album/up": music,
        "Album/self": music / "Album",
        "again": music / "Album",
        "from the store": music / ".store",
        "other": music.parent / "other",
        "other again": music.parent / "other",
    }.items():
        (music / name).symlink_to(target)
    (music.parent / "other" / "back").symlink_to(music)
    (music.parent / "other" / "up").symlink_to(music.parent)
    (music / "loop.mp3").symlink_to("loop.mp3")
    (music / "broken.mp3").symlink_to("none")
    rows = _listed(music)
    assert _taken(rows, music) == ["Album/a.mp3", "from the store/b.mp3"]
    assert _counts(rows)["links to folders that are listed elsewhere"] == 3
    assert _told(rows, music) == {
        "other": "forbidden_path",
        "other again": "forbidden_path",
        "loop.mp3": "not_found",
        "broken.mp3": "not_found",
    }
    rows = _listed(music, follow=True)
    assert _taken(rows, music) == ["Album/a.mp3", "from the store/b.mp3", "other/c.mp3"]


def test_the_parts_of_a_listing_add_up_to_the_whole(music: Path) -> None:
    for name in ("a.mp3", "A/b.mp3", "A/deep/c.mp3", "B/d.mp3", "#recycle/e.mp3"):
        _put(music / name)
    (music / "linked").symlink_to(music / "#recycle")
    parts = [_listed(music, "top"), *(_listed(music, "tree", music / name) for name in ("A", "B"))]
    whole = _listed(music)
    assert _taken(pd.concat(parts), music) == _taken(whole, music)
    assert _counts(pd.concat(parts)) == _counts(whole)


def test_what_cannot_be_a_file_is_as_if_it_were_not_there(music: Path) -> None:
    _put(music / "a.mp3")
    for folder in ("none", "a.mp3", "a.mp3/below", "n" * 300):
        assert _listed(music, "files", music / folder).empty


def test_a_file_that_cannot_be_read_has_no_tags_and_no_title(music: Path) -> None:
    _put(music / "a.mp3")
    (music / "folder.mp3").mkdir()
    _put(music.parent / "b.mp3")
    (music / "b.mp3").symlink_to(music.parent / "b.mp3")
    uris = [f"{music}/{name}" for name in ("a.mp3", "none.mp3", "folder.mp3", "b.mp3", "n" * 300)]
    read = tag_reading(StorageConfig(), Location(str(music)))
    (found,) = read(iter([pd.DataFrame({"audio_uri": uris, "audio_bytes": [1] * len(uris)})]))
    assert found["track_name"].tolist() == ["a", None, None, None, None]
    assert found[list(TAG_COLUMNS)].iloc[1:].isna().all(axis=None)


def test_a_file_that_the_store_does_not_give_is_no_file_without_tags(
    music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails for a moment, or for one file, is read again another night: it has not even a title."""
    for number in range(30):
        _put(music / f"{number:02}.mp3", "x" * 4096)
    failing = {f"{music}/{number:02}.mp3" for number in (1, 2, 5)}

    class Failing(LocalStore):
        def open(self, uri: Location, size: int) -> BinaryIO:
            file = super().open(uri, size)
            if uri not in failing:
                return file

            class Broken(io.BytesIO):
                def read(self, size: int | None = -1) -> bytes:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))

            return Broken()

    monkeypatch.setattr(
        "specrec.catalogue.files.open_store", lambda _, storage, root: Failing(root, storage.follow_links_out)
    )
    names = [f"{music}/{number:02}.mp3" for number in range(30)]
    rows = pd.DataFrame({"audio_uri": names, "audio_bytes": 4096})
    read = tag_reading(StorageConfig(), Location(str(music)))
    (tags,) = read(iter([rows]))
    assert {
        uri for uri, title in zip(tags["audio_uri"], tags["track_name"], strict=True) if title is None
    } == failing
    # one after another are those that no answer of the store is between: that there is no such file is one
    failing |= {f"{music}/{number:02}.mp3" for number in range(30) if number != 15}
    (music / "15.mp3").unlink()
    (tags,) = read(iter([rows]))
    assert tags["track_name"].isna().all()
    _put(music / "15.mp3", "x" * 4096)
    failing |= set(names)
    with pytest.raises(StorageError):  # then it is the store that fails
        list(read(iter([rows])))
