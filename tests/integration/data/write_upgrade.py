"""Writes `upgrade.tar.xz`: songs, and a warehouse that a night of the *previous* commit wrote of them.

See README.md beside this file. The songs stay those that are in the archive already.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from servers import S3Server

ARCHIVE = Path(__file__).with_name("upgrade.tar.xz")
#: URIs of the songs are in the tables: the bucket has this name in the test, too.
BUCKET = "upgrade"
#: What the night ran with beside the places; the test reads it from the archive. Some settings are of other values
#: than the defaults, and most are not: both kinds are hashed.
SETTINGS = (
    "audio.clip_seconds=2",
    "audio.offset_seconds=0.25",
    "embedding.pca_components=8",
    "embedding.family_weights.timbre=2",
    "recommend.excerpt_seconds=1",
    "recommend.top_n=5",
    "neighbours.top_n=8",
    "duplicates.max_rank=4",
    "map.neighbours=6",
    "map.max_clusters=6",
)
#: What does not change a value.
_QUICK = (
    "log.level=error",
    "storage.path_style=true",
    "spark.master=local[2]",
    "spark.shuffle_partitions=1",
    "spark.snapshot_partitions=1",
)
_NIGHTLY = "from specrec.cli import main; main()"


def main(tree: Path, jars: Path) -> None:
    """Run a night with the code of a checkout, and replace the archive.

    Parameters
    ----------
    tree : Path
        A checkout of the commit whose warehouses the next one must leave alone.
    jars : Path
        Spark's jars.
    """
    with tempfile.TemporaryDirectory() as name, S3Server(Path(name) / "s3") as s3:
        folder = Path(name)
        if ARCHIVE.exists():
            with tarfile.open(ARCHIVE) as archive:
                archive.extractall(folder, filter="data")
        shutil.rmtree(folder / "warehouse", ignore_errors=True)
        s3.create_bucket(BUCKET)
        s3.upload_folder(folder / "music", BUCKET)
        places = (
            f"catalogue.path=s3://{BUCKET}/catalogue.csv",
            f"warehouse={folder / 'warehouse'}",
            f"storage.endpoint_url={s3.endpoint_url}",
            f"spark.jars_dir={jars.resolve()}",
        )
        options = [part for setting in (*places, *SETTINGS, *_QUICK) for part in ("--set", setting)]
        environment = os.environ | s3.environment() | {"PYTHONPATH": str(tree.resolve())}
        subprocess.run([sys.executable, "-c", _NIGHTLY, "nightly", *options], cwd=tree, env=environment, check=True)
        _pack(folder)


def _pack(folder: Path) -> None:
    """Write the archive, with neither checksums of a local disk nor paths of this machine."""
    files = [*(folder / "music").rglob("*"), *(folder / "warehouse").rglob("*")]
    files = [path for path in files if path.is_file() and path.suffix != ".crc"]
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        content = [(path.relative_to(folder).as_posix(), _without_place(path)) for path in sorted(files)]
        content.append(("settings.json", json.dumps(SETTINGS, indent=1).encode()))
        for name, data in content:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def _without_place(path: Path) -> bytes:
    """Return what a file holds; of a table's log without where the table was created."""
    if path.parent.name != "_delta_log":
        return path.read_bytes()
    actions = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for action in actions:
        action.get("commitInfo", {}).get("operationParameters", {}).pop("location", None)
    return "".join(json.dumps(action, separators=(",", ":")) + "\n" for action in actions).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
