"""What only a disk can hold: paths, and places that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from specrec.cli import main
from specrec.config import load
from specrec.errors import SpecrecError, StorageError
from specrec.pipeline.train_encoder import train_encoder
from specrec.storage import locate, path_on_disk

ELSEWHERE = (
    "s3://bucket/key", "s3a://bucket/key", "s3:/bucket", "gs://bucket/a", "https://host/a.png", "S3://b", "hdfs:///a",
    "file://host/a",
)  # fmt: skip


@pytest.mark.parametrize("place", ELSEWHERE)
@pytest.mark.parametrize(
    "arguments",
    [
        ("train-encoder", "--warehouse", "w", "--out"),
        ("map", "--warehouse", "w", "--png"),
        ("demo", "--folder"),
        ("demo", "--config"),
        ("jars", "--to"),
        ("nightly", "--config"),
    ],
    ids=" ".join,
)
def test_what_only_a_disk_can_hold_is_refused_elsewhere(
    arguments: tuple[str, ...], place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*arguments, place])
    assert result.exit_code == 2
    assert result.stderr == f"specrec: {arguments[-1]}: {place} is not on disk: give a path on disk\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///music/a", "/music/a"), ("file:/music/a", "/music/a"), ("encoder", "encoder"),
        ("~/a", "/home/me/a"),
        ("a:b", "a:b"), ("./s3:/a", "s3:/a"), ("/josé/a b", "/josé/a b"), (".", "."),
    ],
)  # fmt: skip
def test_a_path_may_be_written_in_many_ways(text: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert path_on_disk(text) == Path(path)


def test_an_empty_path_is_none() -> None:
    with pytest.raises(StorageError, match="an empty path names nothing"):
        path_on_disk("")


def test_a_program_that_trains_into_s3_is_refused_before_anything_is_read() -> None:
    config = load(None, ["warehouse=/nowhere"], needs_catalogue=False)
    with pytest.raises(StorageError, match="s3://bucket/encoder is not on disk"):
        train_encoder(config, "s3://bucket/encoder")


def test_a_folder_that_cannot_be_written_is_told_before_the_training(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    config = load(None, [f"warehouse={tmp_path}/nowhere"], needs_catalogue=False)
    with pytest.raises(SpecrecError, match=r"^the model cannot be written to .*/file/encoder: Not a directory$"):
        train_encoder(config, tmp_path / "file" / "encoder")
    with pytest.raises(SpecrecError, match=r"the model cannot be written to .*File name too long"):
        train_encoder(config, tmp_path / ("n" * 300) / "encoder")  # of which not even whether it is there is told


@pytest.mark.parametrize("text", ["s3:/bucket/w", "file://host/w", "gs://bucket/w", "http:/host/w"])
def test_what_is_no_path_is_no_place_on_disk(text: str) -> None:
    with pytest.raises(StorageError, match="use "):
        locate(text)


@pytest.mark.parametrize("text", ["file:/music/w", "file:///music/w", "/music/w"])
def test_a_place_on_disk_may_be_written_as_a_url(text: str) -> None:
    assert locate(text) == "/music/w"
