"""The vector spaces: one module each, and all of a configuration by :func:`spaces_of`.

A new space is a subclass of :class:`~specrec.embedding.spaces.space.Space` in a module of its own, its name in
:data:`~specrec.embedding.config.BUILT_IN`, and its class in the table below; stages, queries and evaluations loop
over what :func:`spaces_of` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from specrec.embedding.config import BUILT_IN, FEATURES, HYBRID, LISTENERS, SPECTROGRAM
from specrec.embedding.spaces.features import FeatureSpace
from specrec.embedding.spaces.hybrid import HybridSpace
from specrec.embedding.spaces.listeners import ListenersSpace
from specrec.embedding.spaces.model import ModelSpace
from specrec.embedding.spaces.space import Space
from specrec.embedding.spaces.spectrogram import SpectrogramSpace
from specrec.settings import System

if TYPE_CHECKING:
    from specrec.config import Config


_BUILT_IN: dict[System, Callable[[Config], Space]] = {FEATURES: FeatureSpace, SPECTROGRAM: SpectrogramSpace}


def spaces_of(config: Config) -> dict[System, Space]:
    """Return the spaces of a configuration by name, each after those that it is made from.

    Examples
    --------
    >>> from specrec.config import load
    >>> config = load(None, ["warehouse=/music/warehouse"], needs_catalogue=False)
    >>> {name: space.source for name, space in spaces_of(config).items()}
    {'features': 'audio_features', 'spectrogram': 'mel_spectrograms', 'hybrid': 'embeddings'}
    """
    made = [_BUILT_IN[name](config) for name in BUILT_IN]
    made += [ModelSpace(config, name) for name in sorted(config.embedding.models)]
    by_name = {space.name: space for space in made}
    if LISTENERS in config.systems:
        by_name[LISTENERS] = ListenersSpace(config, dict(by_name))
    return by_name | {HYBRID: HybridSpace(config, by_name)}


def needed_for(system: System, config: Config) -> dict[System, Space]:
    """Return the spaces that a system's lists need: its own, those it is made from, and those that explain it."""
    spaces = spaces_of(config)
    names = {*_made_from(spaces, [system]), *(name for name, space in spaces.items() if space.explains_others)}
    return {name: space for name, space in spaces.items() if name in names}


def models_for(system: System, config: Config) -> list[str]:
    """Return the names of the models that a system's lists need."""
    return [name for name, space in needed_for(system, config).items() if isinstance(space, ModelSpace)]


def _made_from(spaces: dict[System, Space], names: Collection[System]) -> Iterator[System]:
    for name in names:
        yield name
        yield from _made_from(spaces, spaces[name].made_from)
