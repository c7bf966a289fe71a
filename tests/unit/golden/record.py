"""The file of what things came to: what it says, what differs from it, and when it may be renewed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from golden.digests import differences
from golden.things import THINGS, Thing
from specrec.config import fields
from specrec.listeners.config import OF_PREFERENCES

VALUES = Path(__file__).with_name("values.json")
DEFAULTS = Path(__file__).with_name("defaults.json")
RENEW = "python tests/unit/golden/renew.py"
_SHOWN = 5

#: The versions that a change of a section's defaults asks for: hashes name only what differs from the defaults.
#: Sections that are not named change no result; neither do the settings in :data:`NOT_HASHED`.
SECTIONS = {
    "audio": "specrec.audio.config.EXTRACTOR_VERSION",
    "embedding": "specrec.embedding.config.EMBEDDING_VERSION",
    "fit": "specrec.embedding.config.EMBEDDING_VERSION",
    "neighbours": "specrec.neighbours.config.NEIGHBOURS_VERSION",
    "duplicates": "specrec.duplicates.config.DUPLICATES_VERSION",
    "recommend": "specrec.recommend.config.RECOMMEND_VERSION",
    "map": "specrec.map.config.MAP_VERSION",
    "listeners": "specrec.listeners.config.LISTENERS_VERSION",
}
#: Settings that are hashed by another package's version.
ELSEWHERE = {"recommend.excerpt_seconds": "specrec.embedding.config.EMBEDDING_VERSION"} | {
    f"listeners.{name}": "specrec.listeners.config.PREFERENCES_VERSION" for name in OF_PREFERENCES
}
NOT_HASHED = frozenset(
    {
        "embedding.listeners", "fit.max_drift", "fit.max_statistics_shift", "listeners.always_refusable",
        "listeners.delimiter", "listeners.encoding", "listeners.format", "listeners.hash_users",
        "listeners.max_refused_share", "listeners.refit_share", "map.refit_share", "neighbours.block_rows",
        "neighbours.compare_up_to", "neighbours.rebuild_share", "neighbours.recall_sample",
        "neighbours.update_from", "recommend.update_from",
    }
)  # fmt: skip


def version_of(constant: str) -> int:
    """Return the value of a version, by where it is."""
    module, _, name = constant.rpartition(".")
    found: int = getattr(importlib.import_module(module), name)
    return found


def read(path: Path) -> dict[str, Any]:
    """Return what a file says."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def changes(thing: Thing, record: Mapping[str, Any]) -> list[str]:
    """Return, in words, where a thing differs from the record."""
    return sorted(differences(record["things"].get(thing.name), thing.now))


def raised(versions: Sequence[str], record: Mapping[str, Any]) -> list[str]:
    """Return those versions that are no longer what they were when the record was made."""
    return [of for of in versions if version_of(of) != record["versions"].get(of)]


def complaint(thing: Thing, changed: Sequence[str]) -> str:
    """Return what is to be done about a thing that changed."""
    version = thing.versions[0]
    return (
        f"{thing.name}: the code makes other ones than it did, and {version} is still {version_of(version)}. "
        "Warehouses would keep what the old code made, beside new rows of the new code. If the change is meant, "
        f"raise it to {version_of(version) + 1}, run `{RENEW}`, and say in CHANGELOG.md what a night will compute "
        f"anew. What differs:\n  " + "\n  ".join(str(of)[:300] for of in changed[:_SHOWN])
    )


def defaults() -> dict[str, Any]:
    """Return the defaults of all settings that are hashed."""
    found = {
        name: default
        for name, _, default in fields()
        if name.partition(".")[0] in SECTIONS and name not in NOT_HASHED
    }
    as_read: dict[str, Any] = json.loads(json.dumps(found))
    return as_read


def version_of_setting(name: str) -> str:
    """Return the version that is hashed beside a setting."""
    return ELSEWHERE.get(name) or SECTIONS[name.partition(".")[0]]


def wrong_defaults(record: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield complaints of settings whose defaults changed while the version beside them did not."""
    for name, default in record["defaults"].items():
        version = version_of_setting(name)
        if (name not in now or now[name] != default) and not raised([version], record):
            yield (
                f"{name}: its default was {default!r} and is {now.get(name, 'no more')!r}, and {version} is still "
                f"{version_of(version)}. Hashes name only what differs from the defaults, so nothing would be "
                f"computed anew: raise it, and run `{RENEW}`"
            )


def renew(values: Path = VALUES, settings: Path = DEFAULTS) -> list[str]:
    """Write the files anew; return why not, if something changed and its version did not.

    What did not change keeps the numbers that it had.
    """
    record = read(values) if values.exists() else {"versions": {}, "things": {}}
    refused, things = [], {}
    for thing in THINGS:
        old = record["things"].get(thing.name)
        changed = changes(thing, record) if old is not None else ["new"]
        if old is not None and changed and not raised(thing.versions, record):
            refused.append(complaint(thing, changed))
        things[thing.name] = thing.now if changed else old
    now = defaults()
    if settings.exists():
        refused += wrong_defaults(read(settings), now)
    if refused:
        return refused
    versions = {of: version_of(of) for of in sorted({of for thing in THINGS for of in thing.versions})}
    _write(values, {"versions": versions, "things": things})
    _write(settings, {"versions": versions, "defaults": now})
    return []


def _write(path: Path, content: Mapping[str, Mapping[str, Any]]) -> None:
    """Write JSON with a line for each part, so that a difference is read easily."""
    lines = []
    for name, parts in content.items():
        rows = []
        for key, value in parts.items():
            if name == "things":
                inner = ",\n".join(f"   {_line(part)}: {_line(of)}" for part, of in value.items())
                rows.append(f"  {_line(key)}: {{\n{inner}\n  }}")
            else:
                rows.append(f"  {_line(key)}: {_line(value)}")
        lines.append(f" {_line(name)}: {{\n" + ",\n".join(rows) + "\n }")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
