"""Packs what spark-submit ships to the executors of a cluster, into build/.

    specrec-env.tar.gz   the dependencies: large, changes only when they do    --archives ...#environment
    specrec.zip          the package itself: small, made anew every time       --py-files

    .venv/bin/python deploy/pack.py
    spark-submit --master spark://... \
      --archives build/specrec-env.tar.gz#environment --py-files build/specrec.zip \
      --conf spark.pyspark.python=./environment/bin/python --conf spark.pyspark.driver.python=.venv/bin/python \
      jobs/nightly.py ...

The environment is a copy of the part of this interpreter's packages that executors need, so that both sides of a
pickle agree, and nothing is downloaded. It holds no interpreter: every worker needs the same Python, at the path it
has here or at $WORKER_PYTHON. It holds no Spark either: an executor imports pyspark from the Spark of its worker.

Nights need no PyTorch, so it is not packed: with what it brings for GPUs it is six times as large as all else. But
`specrec train-encoder --workers N` trains on the executors. With --train, what that needs is packed, too, into an
archive of its own, specrec-train-env.tar.gz, to be named in --archives instead.

It is not compressed unless asked for (--compress): over a fast network, and on one machine, that takes longer than
it saves. The name still ends in .tar.gz, and gzip it is: of a plain .tar Spark keeps neither permissions nor times,
and by its source's time Python tells whether byte code is of use.

Why not venv-pack: all that it adds is to rewrite `activate` and the scripts in bin/, which executors never run; a
venv's bin/python finds its packages by where it lies, so it may be moved as it is.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import io
import os
import platform
import sys
import sysconfig
import tarfile
import time
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath

import click
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / "build" / "specrec-env.tar.gz"
TRAINING = ROOT / "build" / "specrec-train-env.tar.gz"
PACKAGE = ROOT / "build" / "specrec.zip"

#: Left out, with what only these need.
OF_THE_WORKER = {"pyspark", "delta-spark"}
#: The same where executors train no model: those that do read the spectrograms by themselves.
DRIVER_ONLY = OF_THE_WORKER | {"deltalake"}
#: specrec's modules may import delta's small Python part; its Spark is the worker's.
WITHOUT_THEIR_NEEDS = {"delta-spark"}
NO_USE_AT_RUN_TIME = {".pyx", ".pxd"}  # *.pyi stay: librosa reads its own to import lazily


def wanted(requirements: list[str], left_out: set[str]) -> dict[str, Distribution]:
    """Return, by name, the installed distributions that requirements ask for but some, and what these ask for.

    Raises
    ------
    SystemExit
        If one of them is not installed.
    """
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()

    def ask(text: str, extra: str) -> None:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            return
        name = canonicalize_name(requirement.name)
        for of in ("", *sorted(requirement.extras)):
            if (name, of) not in asked:
                asked.add((name, of))
                try:
                    found[name] = distribution(name)
                except PackageNotFoundError:
                    raise SystemExit(
                        f"{name} is not installed here: `make setup`, or `make train` for --train"
                    ) from None
                for need in found[name].requires or ():
                    ask(need, of)

    for requirement in requirements:
        if canonicalize_name(Requirement(requirement).name) not in left_out:
            ask(requirement, "")
    return found | {name: distribution(name) for name in WITHOUT_THEIR_NEEDS}


def files_of(package: Distribution) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield the files of a distribution that executors may read: as they are named in site-packages, and here."""
    for file in package.files or ():
        if ".." in file.parts or "tests" in file.parts or file.suffix in NO_USE_AT_RUN_TIME:
            continue
        if file.parts[:2] == ("pyarrow", "include"):
            continue
        here = Path(str(package.locate_file(file)))
        if here.is_file():  # byte code may be recorded and yet be gone
            yield PurePosixPath(file), here


def pack_environment(archive_path: Path, packages: dict[str, Distribution], python: str, level: int) -> None:
    """Write the archive of an environment with these packages, whose interpreter is `python`."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    part = archive_path.with_suffix(".part")
    with tarfile.open(part, "w:gz", compresslevel=level) as archive:
        lines = (
            f"home = {Path(python).parent}",
            "include-system-site-packages = false",
            f"version = {version}",
            "",
        )
        config = "\n".join(lines).encode()
        entry = tarfile.TarInfo("pyvenv.cfg")
        entry.size = len(config)
        archive.addfile(entry, io.BytesIO(config))
        entry = tarfile.TarInfo("bin/python")
        entry.type, entry.linkname = tarfile.SYMTYPE, python
        archive.addfile(entry)
        for package in packages.values():
            for name, here in files_of(package):
                # what a link points at, as pip installs none
                entry = archive.gettarinfo(here.resolve(), f"lib/python{version}/site-packages/{name}")
                with here.open("rb") as file:
                    archive.addfile(entry, file)
    part.replace(archive_path)


def pack_package() -> None:
    """Write the archive of specrec itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    part = PACKAGE.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in sorted((ROOT / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT))
        # for importlib.metadata.version("specrec")
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
    part.replace(PACKAGE)


def main() -> None:
    """Pack both, the environment only where it changed."""
    parser = argparse.ArgumentParser(description="Pack the dependencies, and specrec, for a cluster's executors.")
    parser.add_argument(
        "--compress", type=int, default=0, metavar="LEVEL", help="gzip's, 1 to 9; 0, the default: not"
    )
    parser.add_argument("--train", action="store_true", help="pack what executors train an encoder with, too")
    options = parser.parse_args()
    level, train = options.compress, options.train
    environment = TRAINING if train else ENVIRONMENT
    python = os.environ.get("WORKER_PYTHON") or getattr(sys, "_base_executable", sys.executable)
    environment.parent.mkdir(exist_ok=True)
    with (environment.parent / "pack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        needs = project["dependencies"] + (project["optional-dependencies"]["train"] if train else [])
        packages = wanted(needs, OF_THE_WORKER if train else DRIVER_ONLY)
        made_of = [
            *sorted(f"{name}=={package.version}" for name, package in packages.items()),
            python,
            platform.python_version(),
            sysconfig.get_platform(),
            str(level),
            Path(__file__).read_text(),
        ]
        state = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
        stamp = environment.with_suffix(".stamp")
        if environment.exists() and stamp.exists() and stamp.read_text() == state:
            click.echo(f"{environment.relative_to(ROOT)}: up to date")
        else:
            started = time.monotonic()
            stamp.unlink(missing_ok=True)
            pack_environment(environment, packages, python, level)
            stamp.write_text(state)
            took = f"{len(packages)} packages, packed in {time.monotonic() - started:.0f} s"
            click.echo(f"{environment.relative_to(ROOT)}: {environment.stat().st_size >> 20} MB, {took}")
        pack_package()
        click.echo(f"{PACKAGE.relative_to(ROOT)}: {PACKAGE.stat().st_size >> 10} kB")


if __name__ == "__main__":
    main()
