import io
import time
import zipfile

import numpy as np
import pytest

from specrec.warehouse.artefacts import pack, unpack


def _arrays():
    rng = np.random.default_rng(0)
    return {"mean": rng.normal(size=7), "components": rng.normal(size=(3, 7)), "tiny": np.array(1e-300)}


def test_what_is_packed_is_unpacked_to_the_last_bit():
    arrays = _arrays() | {"odd": np.array([np.nan, np.inf, -0.0]), "none": np.zeros((0, 4))}
    found = unpack(pack(arrays))
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == np.float64
        assert found[name].shape == array.shape
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes()


def test_the_same_arrays_give_the_same_bytes_in_any_order_at_any_time(monkeypatch):
    arrays = _arrays()
    first = pack(arrays)
    later = time.time() + 1e7
    monkeypatch.setattr(time, "time", lambda: later)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(later))
    assert pack(dict(reversed(arrays.items()))) == first


def test_other_arrays_give_other_bytes():
    changed = _arrays()
    changed["mean"][3] = np.nextafter(changed["mean"][3], 9)
    assert pack(changed) != pack(_arrays())


def test_nothing_in_the_bytes_is_executed():
    class Harmful:
        def __reduce__(self):
            return pytest.fail, ("unpacking ran code",)

    buffer = io.BytesIO()
    np.savez(buffer, mean=np.array([Harmful()], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        unpack(buffer.getvalue())


def test_an_object_array_is_not_packed():
    with pytest.raises(ValueError, match="Object"):
        pack({"mean": np.array([{}], object)})


def test_bytes_that_were_cut_short_are_refused():
    payload = pack(_arrays())
    with pytest.raises((zipfile.BadZipFile, ValueError)):
        unpack(payload[: len(payload) // 2])
