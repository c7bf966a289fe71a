"""Starting a process quickly."""

import gc

import pytest

from specrec.starting import importing


def test_garbage_is_looked_for_again_afterwards():
    try:
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        with pytest.raises(ImportError), importing():
            raise ImportError
        assert gc.isenabled()
        frozen = gc.get_freeze_count()
        kept = [[] for _ in range(1000)]
        with importing():
            pass
        assert gc.get_freeze_count() == frozen, len(kept)
        gc.disable()
        with importing():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
        gc.unfreeze()
