"""The space of a model in ONNX; see :mod:`specrec.embedding.models`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from specrec.audio.mel import MEL_COLUMNS, mels_of
from specrec.embedding.config import EMBEDDING_VERSION
from specrec.embedding.models import Heard, Model, outputs, top_tags, unit_mel
from specrec.embedding.spaces.space import Maker, Source, Space, embedded
from specrec.settings import UNKNOWN, SettingsHash, System, settings_hash

if TYPE_CHECKING:
    from specrec.config import Config


class ModelSpace(Space):
    """What a model makes of the stored mel spectrograms, or of the audio itself.

    Examples
    --------
    >>> from specrec.config import load
    >>> settings = ["warehouse=/music/warehouse", "embedding.models={encoder: {path: shipped}}"]
    >>> space = ModelSpace(load(None, settings, needs_catalogue=False), "encoder")
    >>> space.source, space.makers
    ('mel_spectrograms', ('encoder',))
    """

    def __init__(self, config: Config, name: System) -> None:
        super().__init__(name)
        self._audio_hash = config.audio_hash
        self._settings = config.embedding.models[name]

    @property
    def source(self) -> Source:
        """See :class:`Space`."""
        return "mel_spectrograms" if self._settings.mel is None else "audio"

    @property
    def columns(self) -> tuple[str, ...]:
        """See :class:`Space`."""
        return MEL_COLUMNS if self._settings.mel is None else ("heard",)

    @property
    def settings_hash(self) -> SettingsHash:
        """See :class:`Space`; what the file holds is told by its own hash."""
        of = (EMBEDDING_VERSION, self.name, self._audio_hash)
        own = {name: value for name, value in self._settings.differing().items() if name != "path"}
        before, mel = self._settings.former("patch_frames", beside={"path", "mel"}), self._settings.mel
        if before is not UNKNOWN:
            before |= {"mel": None if mel is None else mel.as_before()}
        return settings_hash(*of, own, previous=[*of, [before]])

    @property
    def makers(self) -> tuple[str, ...]:
        """The model, which has the name of the space."""
        return (self.name,)

    def embed(self, rows: pd.DataFrame, known: Mapping[str, Maker]) -> Iterator[pd.DataFrame]:
        """See :class:`Space`; of a model that hears the audio itself, `rows` hold what it heard already."""
        if self.source == "audio":
            heard: list[Heard] = rows["heard"].to_list()
            yield embedded(rows, [of.vector for of in heard], [of.tags for of in heard])
            return
        model = known[self.name]
        assert isinstance(model, Model)
        made = [outputs(model, unit_mel(mel)) for mel in mels_of(rows)]
        yield embedded(rows, [vector for vector, _ in made], [top_tags(model, scores) for _, scores in made])
