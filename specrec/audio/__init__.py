"""From the bytes of an audio file to features and a mel spectrogram: numpy alone, no Spark."""

import os
import stat
import tempfile
from pathlib import Path


def _private_numba_cache() -> str:
    """Return a folder that only this user can write: what numba finds in its cache, it executes."""
    try:
        folder = Path(tempfile.gettempdir()) / f"specrec-numba-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022
        return str(folder) if private and os.access(folder, os.W_OK) else tempfile.mkdtemp(prefix="specrec-numba-")
    except OSError:  # nothing temporary can be written: whoever needs it says so, and not this import
        return f"/tmp/specrec-numba-{os.getuid()}"  # noqa: S108


# numba reads this when librosa first imports it, and an executor may own no other folder that can be written
os.environ.setdefault("NUMBA_CACHE_DIR", _private_numba_cache())
