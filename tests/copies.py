"""Copies of clips as they are met: other codecs, bitrates, loudness and cuts of one recording."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

Audio = NDArray[np.float32]  # shape (n, channels)


def read(path: Path) -> tuple[Audio, int]:
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return audio, rate


def wav(audio: Audio, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def encoded(audio: Audio, rate: int, container: str, codec: str, bitrate: int) -> bytes:
    """What an encoder of FFmpeg makes of the audio; Opus takes it at 48 kHz."""
    if codec == "libopus":
        audio, rate = _at(audio, rate, 48_000), 48_000
    layout = "stereo" if audio.shape[1] == 2 else "mono"
    file: Any = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = layout, bitrate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio.T), format="fltp", layout=layout)
        frame.sample_rate = rate
        size = stream.frame_size or 1024
        resampler = av.AudioResampler(format=stream.format, layout=stream.layout, rate=rate, frame_size=size)
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in stream.encode(part):
                out.mux(packet)
    return bytes(file.getvalue())


def _at(audio: Audio, rate: int, wanted: int) -> Audio:
    return soxr.resample(audio, rate, wanted).astype(np.float32)


def _low(audio: Audio, rate: int) -> bytes:
    mono = _at(audio.mean(axis=1, keepdims=True), rate, 22_050)
    return encoded(mono, 22_050, "mp3", "libmp3lame", 32_000)


def _cut(audio: Audio, rate: int) -> bytes:
    return encoded(audio[int(1.73 * rate) :], rate, "mp3", "libmp3lame", 96_000)


def _padded(audio: Audio, rate: int) -> bytes:
    silence = np.zeros((int(1.31 * rate), audio.shape[1]), np.float32)
    return encoded(np.concatenate([silence, audio]), rate, "ogg", "libopus", 64_000)


#: Ways to make a copy, each from samples and their rate to a file's bytes and the ending of its name.
WAYS: dict[str, tuple[str, Callable[[Audio, int], bytes]]] = {
    "MP3 of 64 kbit/s": ("mp3", lambda audio, rate: encoded(audio, rate, "mp3", "libmp3lame", 64_000)),
    "MP3 of 32 kbit/s, mono, 22 kHz": ("mp3", _low),
    "Opus of 48 kbit/s": ("opus", lambda audio, rate: encoded(audio, rate, "ogg", "libopus", 48_000)),
    "AAC of 96 kbit/s": ("m4a", lambda audio, rate: encoded(audio, rate, "mp4", "aac", 96_000)),
    "12 dB quieter": ("wav", lambda audio, rate: wav(audio * np.float32(10 ** (-12 / 20)), rate)),
    "6 dB louder, clipped": ("wav", lambda audio, rate: wav(np.clip(audio * np.float32(2), -1, 1), rate)),
    "begins 1.73 s later, MP3": ("mp3", _cut),
    "1.31 s of silence before it, Opus": ("opus", _padded),
}
