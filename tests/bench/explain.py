"""What does explaining a pair cost in a task of Spark, from the Arrow batch that comes in to the one that goes out?

    python tests/bench/explain.py

The tracks are random ones of 256 dimensions a space and 11 excerpts; each has a list of ten, and the lists of a
track come one after the other, as a join brings them. Seconds of the processor, the best of some rounds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
from results import write

from specrec.config import Config, load
from specrec.embedding.excerpts import NUMBERS
from specrec.embedding.features import layout_of
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import ATTRIBUTES, fit_statistics, measure
from specrec.recommend.explain import Explainer, explain_batch, explainer_of
from specrec.warehouse.artefacts import Artefact

BUILD = Path(__file__).resolve().parents[2] / "build" / "bench"
COMPONENTS, EXCERPTS, LISTED = 64, 11, 10
BATCH = 10_000  # rows, as Spark sends them


def catalogue(rng: np.random.Generator, count: int, config: Config) -> pd.DataFrame:
    """Return profiles of random tracks, as :func:`specrec.recommend.profiles.profile_of` names the columns."""
    dimensions = sum(size for _, size in layout_of(config.audio.n_mfcc))
    parts = rng.normal(0, 1, (count, len(REGIONS), COMPONENTS)).astype(np.float32)
    parts /= np.linalg.norm(parts.sum(axis=1), axis=1)[:, None, None]
    codes = rng.integers(-60, 60, (count, EXCERPTS, NUMBERS)).astype(np.int8)
    columns: dict[str, Any] = {
        "tempo": np.exp2(rng.uniform(5.8, 7.6, count)),
        "key": rng.integers(0, 12, count),
        "mode": rng.integers(0, 2, count),
        "key_strength": rng.uniform(0.3, 1, count),
        "onset_strength_mean": rng.gamma(4, 0.4, count),
        "spectral_centroid_mean": np.exp(rng.normal(7.5, 0.6, count)),
        "spectral_bandwidth_mean": np.exp(rng.normal(7.5, 0.4, count)),
        "rms_mean": np.exp(rng.normal(-2.5, 0.8, count)),
        "rms_std": np.exp(rng.normal(-3.5, 0.8, count)),
        "spectral_flatness_mean": np.exp(rng.normal(-5, 1.5, count)),
        "spectral_contrast_mean": list(rng.normal(20, 4, (count, 7))),
        "mfcc_std": list(rng.gamma(9, 1, (count, 20))),
        "levels": list(rng.normal(0, 8, (count, len(REGIONS))).astype(np.float32)),
        "parts": list(parts.reshape(count, -1)),
        "excerpts": [of.tobytes() for of in codes],
        "vector_features": list(rng.normal(0, 1, (count, dimensions)).astype(np.float32)),
        "vector_spectrogram": list(parts.sum(axis=1)),
    }
    known = {
        f"catalogue_{name}": np.where(rng.random(count) < 0.4, np.nan, rng.random(count)) for name in ATTRIBUTES
    }
    return pd.DataFrame(columns | known)


def explainer(tracks: pd.DataFrame, config: Config) -> Explainer:
    """Return what explains the lists of this catalogue."""
    levels = np.stack(tracks["levels"].to_list()).astype(np.float64)
    stated = {name: tracks[f"catalogue_{name}"].to_numpy() for name in ATTRIBUTES}
    arrays = fit_statistics(measure(tracks), levels, stated)
    return explainer_of(config, Artefact("catalogue_statistics", 1, arrays, len(tracks)))


def pairs(rng: np.random.Generator, tracks: pd.DataFrame, count: int, system: str) -> pa.RecordBatch:
    """Return the lists of some tracks, with both profiles."""
    a = np.repeat(rng.integers(0, len(tracks), -(-count // LISTED)), LISTED)[:count]
    b = (a + rng.integers(1, len(tracks), count)) % len(tracks)
    both = [tracks.iloc[of].reset_index(drop=True).add_prefix(prefix) for of, prefix in ((a, "a_"), (b, "b_"))]
    cosines = {}
    for space in ("features", "spectrogram"):
        one, other = (
            np.stack(of[f"{prefix}vector_{space}"].to_list()).astype(np.float64)
            for of, prefix in zip(both, ("a_", "b_"), strict=True)
        )
        cosines[space] = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    cosines["hybrid"] = sum(SHARES[space] * of for space, of in cosines.items())
    chosen = pd.DataFrame(
        {"system": system, "track_id": a.astype(str), "rank": np.arange(count, dtype=np.int32) % LISTED + 1}
    )
    chosen = chosen.assign(recommended_track_id=b.astype(str), score=cosines[system], affinity=0.5)
    rows = pd.concat([chosen, *both], axis=1).drop(columns="b_parts")
    (batch,) = pa.Table.from_pandas(rows, preserve_index=False).combine_chunks().to_batches()
    return batch


SHARES: dict[str, float] = {}


@click.command(help=__doc__)
@click.option("--pairs", "count", default=20_000, show_default=True, help="Pairs of each system.")
@click.option("--rounds", default=5, show_default=True, help="How often all of them are explained.")
@click.option("--out", type=click.Path(path_type=Path), default=BUILD / "explain.json", help="Where results go.")
def main(count: int, rounds: int, out: Path) -> None:
    config, rng = load(None, ["warehouse=unused"], needs_catalogue=False), np.random.default_rng(0)
    tracks = catalogue(rng, 2000, config)
    explains = explainer(tracks, config)
    SHARES.update(explains.shares["hybrid"])
    seconds = {}
    for system in ("features", "spectrogram", "hybrid"):
        rows = pairs(rng, tracks, count, system)
        batches = [rows.slice(start, BATCH) for start in range(0, count, BATCH)]
        best = np.inf
        for _ in range(rounds):
            began = time.process_time()
            for batch in batches:
                explain_batch(batch, system, explains, config)
            best = min(best, time.process_time() - began)
        seconds[system] = best / count
    results = {
        "pairs": count,
        "explain_ms_per_pair": 1000 * float(np.mean(list(seconds.values()))),
        "ms_by_system": {system: 1000 * of for system, of in seconds.items()},
    }
    for system, of in seconds.items():
        print(f"{system}: {1000 * of:.4f} ms a pair")
    write(results, out)


if __name__ == "__main__":
    main()
