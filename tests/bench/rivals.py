"""What specrec's extraction is compared with: the same features, the way others compute them.

Every rival takes the path of a file and answers with means and standard deviations by feature, at specrec's sample
rate, frame and hop; the mel spectrogram is kept. Where a rival has no equivalent, it is spared the work: its
docstring says what is missing. None of them looks for the key except Essentia, which has an algorithm for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import essentia
import librosa
import numpy as np
import opensmile
import scipy.fft
import scipy.signal
from essentia import standard, streaming

from specrec.audio.config import AudioConfig
from specrec.audio.decode import decode

Values = dict[str, Any]

CONFIG = AudioConfig()
assert CONFIG.sample_rate is not None
RATE, SECONDS, N_FFT, HOP = CONFIG.sample_rate, CONFIG.clip_seconds, CONFIG.n_fft, CONFIG.hop_length

essentia.log.infoActive = False
essentia.log.warningActive = False


def plain_loop(path: Path, tonnetz_from_chroma: bool = False) -> Values:
    """Do what a notebook does: load the file, then give `y` to one function of librosa after the other.

    Parameters
    ----------
    path : of the file.
    tonnetz_from_chroma : give the chroma at hand to `tonnetz`, which otherwise begins with a constant-Q transform.
    """
    y, sr = librosa.load(path, sr=RATE, duration=SECONDS)
    mfcc = librosa.feature.mfcc(y=y, sr=sr, n_mfcc=CONFIG.n_mfcc)
    chroma = librosa.feature.chroma_stft(y=y, sr=sr)
    if tonnetz_from_chroma:
        tonnetz = librosa.feature.tonnetz(chroma=chroma, sr=sr)
    else:
        tonnetz = librosa.feature.tonnetz(y=y, sr=sr)
    frames = {
        "mfcc": mfcc,
        "mfcc_delta": librosa.feature.delta(mfcc),
        "spectral_contrast": librosa.feature.spectral_contrast(y=y, sr=sr),
        "spectral_centroid": librosa.feature.spectral_centroid(y=y, sr=sr),
        "spectral_bandwidth": librosa.feature.spectral_bandwidth(y=y, sr=sr),
        "spectral_rolloff": librosa.feature.spectral_rolloff(y=y, sr=sr),
        "chroma": chroma,
        "tonnetz": tonnetz,
        "onset_strength": librosa.onset.onset_strength(y=y, sr=sr),
        "rms": librosa.feature.rms(y=y),
        "spectral_flatness": librosa.feature.spectral_flatness(y=y),
        "zero_crossing_rate": librosa.feature.zero_crossing_rate(y),
    }
    tempo, _ = librosa.beat.beat_track(y=y, sr=sr)
    mel = librosa.feature.melspectrogram(y=y, sr=sr, n_mels=CONFIG.n_mels)
    return _summary(frames) | {"tempo": tempo, "mel": librosa.power_to_db(mel, ref=np.max)}


class Essentia:
    """One streaming network from file to features, built once and run for every file; then the tempo.

    Of the ways tried this is the fastest: a loop in Python over frames takes about half as long again.

    - Essentia decodes and resamples by itself (FFmpeg, libsamplerate). `resampleQuality=2` is the fastest that is
      not mere interpolation; at its default, 1, the nearest to the soxr_hq of the others, loading takes twice as
      long. Resampling is slow all the same, so :meth:`load` is there to be timed by itself.
    - MFCC hands out its mel bands, which become the mel spectrogram, and of which the flux (onset strength) is
      taken in numpy; so are the slope of the MFCCs and the tonnetz, for which Essentia has no algorithm.
    - Chroma is HPCP from the spectrum's peaks, as is usual there, at a fixed tuning of 440 Hz.
    - Tempo is PercivalBpmEstimator, in half the time of RhythmExtractor2013 at its fastest. Only NoveltyCurve and
      NoveltyCurveFixedBpmEstimator are cheaper, but few of their answers are near those of librosa.
    - It computes in float32 throughout, where librosa and specrec take the STFT in float64.
    """

    def __init__(self) -> None:
        spectrum_size = N_FFT // 2 + 1
        self._pool = essentia.Pool()
        self._loader = streaming.MonoLoader()
        frames = streaming.FrameCutter(frameSize=N_FFT, hopSize=HOP, startFromZero=False)
        window = streaming.Windowing(type="hann", size=N_FFT)
        spectrum = streaming.Spectrum(size=N_FFT)
        mfcc = streaming.MFCC(
            inputSize=spectrum_size,
            sampleRate=RATE,
            numberBands=CONFIG.n_mels,
            numberCoefficients=CONFIG.n_mfcc,
            highFrequencyBound=RATE / 2,
            type="power",
            logType="dbpow",
            warpingFormula="slaneyMel",
            weighting="linear",
            normalize="unit_tri",
        )
        contrast = streaming.SpectralContrast(frameSize=N_FFT, sampleRate=RATE, numberBands=6)
        centroid = streaming.Centroid(range=RATE / 2)
        moments = streaming.CentralMoments(range=RATE / 2)
        shape = streaming.DistributionShape()
        rolloff = streaming.RollOff(sampleRate=RATE, cutoff=0.85)
        flatness = streaming.Flatness()
        rms = streaming.RMS()
        zero_crossings = streaming.ZeroCrossingRate()
        peaks = streaming.SpectralPeaks(
            sampleRate=RATE,
            maxPeaks=60,
            minFrequency=40,
            maxFrequency=5000,
            magnitudeThreshold=1e-5,
            orderBy="magnitude",
        )
        chroma = streaming.HPCP(size=12, sampleRate=RATE)

        self._loader.audio >> frames.signal
        frames.frame >> window.frame
        frames.frame >> rms.array
        frames.frame >> zero_crossings.signal
        window.frame >> spectrum.frame
        for sink in (mfcc, contrast, rolloff, peaks):
            spectrum.spectrum >> sink.spectrum
        for sink in (centroid, moments, flatness):
            spectrum.spectrum >> sink.array
        moments.centralMoments >> shape.centralMoments
        peaks.frequencies >> chroma.frequencies
        peaks.magnitudes >> chroma.magnitudes
        for unused in (contrast.spectralValley, shape.skewness, shape.kurtosis):
            unused >> None
        for name, source in {
            "mel": mfcc.bands,
            "mfcc": mfcc.mfcc,
            "spectral_contrast": contrast.spectralContrast,
            "spectral_centroid": centroid.centroid,
            "spectral_spread": shape.spread,
            "spectral_rolloff": rolloff.rollOff,
            "spectral_flatness": flatness.flatness,
            "rms": rms.rms,
            "zero_crossing_rate": zero_crossings.zeroCrossingRate,
            "chroma": chroma.hpcp,
            "samples": self._loader.audio,
        }.items():
            source >> (self._pool, name)
        self._network = [frames, window, spectrum, mfcc, contrast, centroid, moments, shape, rolloff, flatness]
        self._network += [rms, zero_crossings, peaks, chroma]  # nothing else keeps them alive
        # Not in the network, for its streaming form corrupts memory when it is freed. At 22,050 Hz these sizes are
        # twice the default hop in time, and half its cost.
        self._tempo = standard.PercivalBpmEstimator(sampleRate=RATE, frameSize=1024, hopSize=128)
        self._key = standard.Key(profileType="krumhansl", pcpSize=12)

    def load(self, path: Path) -> Any:
        """Do no more than decode and resample."""
        return standard.MonoLoader(filename=str(path), sampleRate=RATE, resampleQuality=2)()

    def __call__(self, path: Path) -> Values:
        """Analyse a file: all of it, for Essentia can cut only what it has already decoded (clips have 30 s)."""
        self._pool.clear()
        self._loader.configure(filename=str(path), sampleRate=RATE, resampleQuality=2)
        essentia.reset(self._loader)
        essentia.run(self._loader)
        frames = {name: self._pool[name].T for name in self._pool.descriptorNames() if name != "samples"}
        mel = 10 * np.log10(np.maximum(frames.pop("mel"), 1e-10))
        contrast = frames["spectral_contrast"]
        contrast[~np.isfinite(contrast)] = 0  # of silent frames
        frames["mfcc_delta"] = scipy.signal.savgol_filter(frames["mfcc"], 9, deriv=1, polyorder=1)
        frames["onset_strength"] = np.maximum(np.diff(mel), 0).mean(axis=0)
        frames["tonnetz"] = _TONNETZ @ (frames["chroma"] / np.maximum(frames["chroma"].sum(axis=0), 1e-10))
        key, scale, strength, _ = self._key(frames["chroma"].mean(axis=1))
        tempo = self._tempo(self._pool["samples"])
        return _summary(frames) | {"tempo": tempo, "mel": mel, "key": key, "mode": scale, "key_strength": strength}


#: Fifths, minor thirds and major thirds of the twelve HPCP bins (Harte, Sandler and Gasser, 2006).
_TONNETZ = np.array(
    [
        radius * turn(np.pi * step * np.arange(12))
        for radius, step in ((1, 7 / 6), (1, 3 / 2), (0.5, 2 / 3))
        for turn in (np.sin, np.cos)
    ],
    dtype=np.float32,
)


class OpenSmile:
    """openSMILE with the components of `opensmile.conf`: mean and standard deviation, all in its C++.

    openSMILE reads neither MP3 nor Ogg: it is given the samples that specrec's decoder (soundfile, soxr) makes,
    and that time counts. What it has no component for is left out: spectral contrast (it sums the same octave bands
    instead), tonnetz, tempo and key. Flux is of the spectrum, chroma assumes 440 Hz. The mel spectrogram is
    computed and not handed out, which would cost it a call into Python for every frame.
    """

    def __init__(self) -> None:
        config = Path(__file__).with_name("opensmile.conf")
        self._smile = opensmile.Smile(feature_set=str(config), feature_level="func", loglevel=0)

    def __call__(self, path: Path) -> Values:
        frame = self._smile.process_signal(decoding(path.read_bytes()), RATE)
        return dict(zip(frame.columns, frame.to_numpy()[0], strict=True))


def decoding(data: bytes) -> Any:
    """Return the samples that specrec's decoder makes."""
    return decode(data, CONFIG).samples


def floor(data: bytes) -> Any:
    """Decode, and take one STFT: what nobody can leave out who wants librosa's numbers."""
    samples = decoding(data)
    return librosa.stft(samples, n_fft=N_FFT, hop_length=HOP, window=CONFIG.window, pad_mode=CONFIG.pad_mode)


def _summary(frames: Mapping[str, Any]) -> Values:
    """Mean and standard deviation over time, the last axis."""
    return {
        f"{name}_{statistic.__name__}": statistic(values, axis=-1)
        for name, values in frames.items()
        for statistic in (np.mean, np.std)
    }
