"""What every part of the configuration is made of.

Each package declares the part that it reads, a subclass of :class:`Section`, in its module ``config``;
:mod:`specrec.config` composes them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]

#: The name of a space, and of the lists made of it: see :attr:`specrec.config.Config.systems`.
System = str


#: Stands for what could not have been hashed before hashes named differences alone.
UNKNOWN: Any = object()


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def differing(self, *names: str) -> dict[str, Any]:
        """Return the settings that differ from their defaults: of those named, or of all.

        It is what is hashed, so that a new setting with a neutral default changes no hash. Whoever changes a
        default raises the version that is hashed beside it.

        Examples
        --------
        >>> from specrec.audio.config import AudioConfig
        >>> AudioConfig(n_mels=64).differing(), AudioConfig().differing()
        ({'n_mels': 64}, {})
        """
        return self.model_dump(mode="json", include=set(names) or None, exclude_defaults=True)

    def former(self, *names: str, beside: Collection[str] = ()) -> Any:
        """Return these settings as they were hashed before hashes named differences alone.

        It is UNKNOWN if another setting, which came later, is not at its default. The names never change: when the
        version that is hashed beside them is raised, the whole call goes.

        Parameters
        ----------
        names : str
            The settings that there were then.
        beside : collection of str
            Settings that never were hashed.
        """
        newer = self.differing().keys() - {*names, *beside}
        return UNKNOWN if newer else self.model_dump(mode="json", include=set(names))


@dataclass(frozen=True)
class SettingsHash:
    """A short name of the settings that a result depends on.

    Attributes
    ----------
    current : str
        What is written beside results: 16 hexadecimal digits.
    previous : str or None
        What was written for the same settings before hashes named differences alone, if there were all of them
        then. Rows that stay up to date keep it, so it is accepted until their version is raised anyway.
    """

    current: str
    previous: str | None = None

    def __str__(self) -> str:
        return self.current

    @property
    def accepted(self) -> tuple[str, ...]:
        """Every name that these settings go by; results beside one of them are up to date."""
        return (self.current,) if self.previous is None else (self.current, self.previous)


def settings_hash(*parts: Any, previous: Sequence[Any] | None = None) -> SettingsHash:
    """Name settings.

    Parameters
    ----------
    parts : object
        Values that are plain JSON, and other hashes that these settings depend on.
    previous : sequence
        What was hashed before hashes named differences alone; UNKNOWN in it says that there were no such settings.
    """
    before = UNKNOWN if previous is None else _previous(previous)
    return SettingsHash(hash_of(*parts), None if before is UNKNOWN else hash_of(*before))


def hash_of(*parts: Any) -> str:
    """Return 16 hexadecimal digits, the same for equal values of plain JSON, sections and hashes."""
    text = json.dumps(_plain(parts), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def as_recorded(known: str | None, *accepted: str) -> str:
    """Return a state as a table remembers it, if that is one of the names it goes by; else the first of these.

    What depends on the state then depends on the same text as before the upgrade.
    """
    return known if known is not None and known in accepted else accepted[0]


def _plain(part: Any) -> Any:
    if isinstance(part, SettingsHash):
        return part.current
    if isinstance(part, BaseModel):
        return part.model_dump(mode="json")
    return [_plain(of) for of in part] if isinstance(part, list | tuple) else part


def _previous(part: Any) -> Any:
    if isinstance(part, SettingsHash):
        return UNKNOWN if part.previous is None else part.previous
    if isinstance(part, list | tuple):
        found = [_previous(of) for of in part]
        return UNKNOWN if any(of is UNKNOWN for of in found) else found
    if isinstance(part, dict):
        values = {name: _previous(of) for name, of in part.items()}
        return UNKNOWN if any(of is UNKNOWN for of in values.values()) else values
    return part


def nearest_name(name: str, valid: Iterable[str]) -> str:
    """Return, to be added to an error, the valid name that a wrong one was probably meant to be.

    Examples
    --------
    >>> nearest_name("neigbours", ["neighbours", "map"])
    ": did you mean 'neighbours'?"
    """
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close:  # the right key in the wrong section
        close = [full for full in names if full.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f": did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(names)}"
