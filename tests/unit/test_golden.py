"""What the code computes changes only together with its version; see tests/unit/golden."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from golden import record
from golden.digests import differences, digest
from golden.inputs import bell
from golden.things import THINGS, Thing

RECORD = record.read(record.VALUES)
DEFAULTS = record.read(record.DEFAULTS)
BY_NAME = {thing.name: thing for thing in THINGS}


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_computed_changes_only_with_its_version(name: str) -> None:
    thing = BY_NAME[name]
    raised = record.raised(thing.versions, RECORD)
    if raised:
        pytest.fail(f"{', '.join(raised)} changed: run `{record.RENEW}` and commit what it writes")
    if any(record.changes(BY_NAME[of], RECORD) for of in thing.made_of):
        pytest.skip(f"made of {', '.join(thing.made_of)}, which changed: see there")
    changed = record.changes(thing, RECORD)
    if changed:
        pytest.fail(record.complaint(thing, changed))


def test_a_default_changes_only_with_its_version() -> None:
    now = record.defaults()
    wrong = list(record.wrong_defaults(DEFAULTS, now))
    assert not wrong, "\n".join(wrong)
    known = DEFAULTS["defaults"]
    stale = sorted(name for name in now if name not in known or now[name] != known[name])
    assert not stale, f"new settings, or new defaults with a new version ({stale}): run `{record.RENEW}`"


def test_the_files_are_small_and_name_every_thing() -> None:
    assert RECORD["things"].keys() == BY_NAME.keys()
    assert record.VALUES.stat().st_size + record.DEFAULTS.stat().st_size < 100_000


# --- the tests' own means -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 10, 1_000, 20_000])
def test_a_digest_forgives_the_last_digits_and_nothing_else(size: int) -> None:
    values = 5 + bell("values", size)
    before = json.loads(json.dumps(digest({"x": values})))
    assert not list(differences(before, digest({"x": values * (1 + 1e-5 * bell("digits", size))})))
    assert list(differences(before, digest({"x": values * 1.001})))
    assert list(differences(before, digest({"x": values + 0.01})))
    assert list(differences(before, digest({"x": values + 0.05 * bell("noise", size)})))
    assert list(differences(before, digest({"x": values[:-1]})))
    assert list(differences(before, digest({"y": values})))


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("a", "b"),
        (True, False),
        (1, 2),
        ([1, 2], [1, 3]),
        ([1, 2], [1]),
        (["a"], ["a", "b"]),
        (None, 1.0),
        (1.0, None),
    ],
)
def test_texts_and_counts_are_equal_or_different(was: object, now: object) -> None:
    assert list(differences(digest({"x": was}), digest({"x": now})))
    assert not list(differences(digest({"x": was}), digest({"x": was})))


def _thing(value: float, version: str = "specrec.map.config.MAP_VERSION") -> Thing:
    return Thing("it", (version,), lambda: {"x": value})


def test_a_renewal_is_refused_where_the_version_stayed(tmp_path, monkeypatch) -> None:
    values, defaults = tmp_path / "values.json", tmp_path / "defaults.json"
    monkeypatch.setattr(record, "THINGS", (_thing(1.0),))
    assert record.renew(values, defaults) == []
    written = values.read_text()
    monkeypatch.setattr(record, "THINGS", (_thing(1.00001),))  # another processor
    assert record.renew(values, defaults) == []
    assert values.read_text() == written

    monkeypatch.setattr(record, "THINGS", (_thing(2.0),))
    (refused,) = record.renew(values, defaults)
    assert "specrec.map.config.MAP_VERSION is still" in refused
    assert values.read_text() == written
    monkeypatch.setattr("specrec.map.config.MAP_VERSION", 99)
    assert record.renew(values, defaults) == []
    assert record.read(values)["things"] == {"it": {"x": 2.0}}
    assert record.read(values)["versions"] == {"specrec.map.config.MAP_VERSION": 99}


def test_a_changed_default_asks_for_the_version_beside_it(monkeypatch) -> None:
    now = record.defaults()
    assert not list(record.wrong_defaults(DEFAULTS, now | {"audio.new": 0}))
    (wrong,) = record.wrong_defaults(DEFAULTS, now | {"audio.n_fft": 1024})
    assert "audio.n_fft: its default was 2048 and is 1024, and specrec.audio.config.EXTRACTOR_VERSION" in wrong
    (wrong,) = record.wrong_defaults(DEFAULTS, {name: of for name, of in now.items() if name != "map.neighbours"})
    assert "MAP_VERSION" in wrong
    monkeypatch.setattr("specrec.audio.config.EXTRACTOR_VERSION", 99)
    assert not list(record.wrong_defaults(DEFAULTS, now | {"audio.n_fft": 1024}))


def test_what_is_made_of_something_names_it_rightly() -> None:
    for thing in THINGS:
        assert set(thing.made_of) <= BY_NAME.keys()
        assert replace(thing).versions
