"""What librosa compiles when it is imported: numba keeps it in a folder that all processes of a machine share."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path


@contextmanager
def filling_cache() -> Iterator[bool]:
    """Import librosa within this: one process at a time, until one has filled numba's cache.

    True is given to the one that fills it.

    Two that fill it at once can leave parts in it that do not fit together, and then every process that reads it
    crashes.
    """
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    librosa = find_spec("librosa")
    made_of = (librosa and librosa.origin, version("librosa"), version("numba"), version("llvmlite"))
    filled = folder / f"filled-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]}"
    if not filled.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "filling.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it, whatever becomes of this process
            if not filled.exists():
                yield True
                filled.touch()
                return
    yield False
