"""What is analysed of each file, how, and within which limits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from specrec.settings import PositiveFloat, PositiveInt, Section, SettingsHash, Share, settings_hash

#: Raised by one whenever the code computes other numbers from the same audio and parameters.
EXTRACTOR_VERSION = 4


class AudioConfig(Section):
    """What is analysed of each file, and how. Any change extracts every track anew."""

    sample_rate: PositiveInt | None = Field(
        default=22_050,
        description="sample rate in Hz that audio is resampled to; null: keep each file's own, which needs "
        "fmax to be set",
    )
    offset_seconds: Annotated[float, Field(ge=0)] = Field(
        default=0.0, description="where in a file the analysed clip begins, in seconds"
    )
    clip_seconds: PositiveFloat = Field(
        default=30.0, description="length of the analysed clip in seconds; a shorter file is analysed as a whole"
    )
    min_seconds: PositiveFloat = Field(
        default=1.0, description="a clip of fewer seconds fails with the code too_short"
    )
    silence_db: float = Field(
        default=-80.0,
        description="a clip whose peak is below this, in dB of full scale, fails with the code silent",
    )
    n_fft: Annotated[int, Field(gt=0, multiple_of=2)] = Field(
        default=2048, description="length of an STFT window in samples, an even number"
    )
    hop_length: PositiveInt = Field(
        default=512, description="samples from the start of one STFT frame to the start of the next"
    )
    window: str = Field(default="hann", description="name of the window function in SciPy")
    pad_mode: Literal["constant", "reflect", "edge"] = Field(
        default="constant",
        description="how a clip is padded at its ends, as numpy.pad names it; librosa before 0.10 used reflect",
    )
    n_mels: PositiveInt = Field(default=128, description="number of mel bands")
    fmin: Annotated[float, Field(ge=0)] = Field(default=0.0, description="lowest frequency of the mel bands, in Hz")
    fmax: PositiveFloat | None = Field(
        default=None, description="highest frequency of the mel bands, in Hz; null: half the sample rate"
    )
    n_mfcc: PositiveInt = Field(default=20, description="number of mel-frequency cepstral coefficients")

    @model_validator(mode="after")
    def _consistent(self) -> AudioConfig:
        if self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft, or samples between frames are never seen")
        if self.min_seconds > self.clip_seconds:
            raise ValueError("min_seconds must not exceed clip_seconds")
        if self.n_mfcc > self.n_mels:
            raise ValueError("n_mfcc must not exceed n_mels")
        highest = min(self.fmax or float("inf"), self.sample_rate / 2 if self.sample_rate else float("inf"))
        if self.fmax and self.fmax > highest:
            raise ValueError("fmax must not exceed half of sample_rate")
        if self.fmin >= highest:
            raise ValueError(f"fmin must be below {highest:g} Hz")
        if self.window != "hann":  # SciPy takes a second to import
            from scipy.signal import get_window  # noqa: PLC0415

            try:
                get_window(self.window, 16)
            except ValueError:
                raise ValueError(f"scipy knows no window {self.window!r}") from None
        return self

    @property
    def settings_hash(self) -> SettingsHash:
        """What features and mel spectrograms depend on, besides the audio itself.

        Examples
        --------
        >>> AudioConfig().settings_hash == AudioConfig(clip_seconds=30.0).settings_hash
        True
        >>> AudioConfig().settings_hash == AudioConfig(n_mels=64).settings_hash
        False
        """
        return settings_hash(EXTRACTOR_VERSION, self.differing())


class ExtractConfig(Section):
    """How extraction is cut into tasks and what it tolerates. Nothing here changes a value."""

    commit_every: PositiveInt = Field(
        default=2_000,
        description="files that are analysed between two commits to the tables; a run that dies loses no more",
    )
    files_per_task: PositiveInt = Field(default=40, description="about how many files one Spark task analyses")
    batch_rows: PositiveInt = Field(
        default=16, description="tracks that Python hands to Spark at once; a mel spectrogram is large"
    )
    max_failed_share: Share = Field(
        default=0.2,
        description="fail the run if more than this share of the catalogue's audio files, or of new ones, fails",
    )
    max_file_mb: PositiveInt = Field(
        default=500, description="a larger file is not fetched and fails with the code too_large"
    )
    prefetch: PositiveInt = Field(default=2, description="files that are fetched ahead while one is analysed")
    time_limit_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=60.0, description="a file whose analysis takes longer fails with the code timed_out"
    )
    memory_limit_mb: Annotated[int, Field(ge=400)] = Field(
        default=640,
        description="memory of the process that analyses files; a file that needs more fails with the code "
        "out_of_memory",
    )


class ModelMelConfig(Section):
    """The mel spectrogram that a model was trained on, as librosa.feature.melspectrogram computes it."""

    sample_rate: PositiveInt = Field(description="Hz, resampled to")
    n_fft: PositiveInt = Field(description="samples of an STFT window (hann)")
    hop_length: PositiveInt = Field(description="samples from one STFT frame to the next")
    n_mels: PositiveInt = Field(description="mel bands")
    fmin: Annotated[float, Field(ge=0)] = Field(default=0.0, description="Hz, lowest mel band")
    fmax: PositiveFloat | None = Field(default=None, description="Hz, highest mel band; null: half the sample rate")
    htk: bool = Field(default=False, description="HTK's formula of the mel scale, and not Slaney's")
    norm: Literal["slaney"] | None = Field(
        default="slaney", description="slaney: each band's filter has unit area; null: unit height"
    )
    power: Literal[1, 2] = Field(default=2, description="1: of magnitudes; 2: of power")
    scaling: Literal["unit_db", "db", "log_10000", "log"] = Field(
        description="unit_db: 0 … 1, the 80 dB below the maximum; db: dB of unit power; log_10000: "
        "log10(1 + 10000 x); log: ln(x + 1e-6)"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ModelMelConfig:
        if self.hop_length > self.n_fft:
            raise ValueError("hop_length must not exceed n_fft, or samples between frames are never seen")
        if self.fmax and self.fmax > self.sample_rate / 2:
            raise ValueError("fmax must not exceed half of sample_rate")
        highest = self.fmax or self.sample_rate / 2
        if self.fmin >= highest:
            raise ValueError(f"fmin must be below {highest:g} Hz")
        return self

    def as_before(self) -> Any:
        """Return these settings as :meth:`Section.former` does."""
        return self.former(
            "sample_rate", "n_fft", "hop_length", "n_mels", "fmin", "fmax", "htk", "norm", "power", "scaling"
        )
