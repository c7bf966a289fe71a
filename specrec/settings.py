"""What every part of the configuration is made of.

Each package declares the part that it reads, a subclass of :class:`Section`, in its module ``config``;
:mod:`specrec.config` composes them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]

#: The name of a space, and of the lists made of it: see :attr:`specrec.config.Config.systems`.
System = str


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def hash_of(*parts: Any) -> str:
    """Return a short name of settings: 16 hexadecimal digits, the same for equal settings."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def nearest_name(name: str, valid: Iterable[str]) -> str:
    """Return, to be added to an error, the valid name that a wrong one was probably meant to be."""
    names = list(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if not close:  # the right key in the wrong section
        close = [full for full in names if full.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f": did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(names)}"
