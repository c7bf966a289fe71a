"""What an encoder is worth on music that it was not trained on, how fast it runs, and what an autoencoder rebuilds.

    make bench-encoder

The clips are those of ../shared/music, each analysed once, as the job does. They are cut into three folds: clips
that share an artist or an album, directly or by others, are never on two sides. For each fold an encoder is trained
on the two others by the project's own code; its vectors of the fold's clips are the queries, and of all clips the
candidates. What knows no labels is fitted on all clips, as the job does: the scaler of the features, be they a
space or what the encoder learns to tell, and the PCA. The loss of the fold is told and decides nothing: training
never stops early, and the last weights are kept.

What build/bench/encoder holds of an earlier run is used again: trainings of the same settings, clips and split,
and of unchanged clips the analysis and musicnn's vectors. --fresh trains anew. What is done to trained weights,
whitening and labels, is always done anew.

The encoder that the package carries, "shipped", has been trained on none of them: it was on rendered clips.

Genre precision is of the first ten by other artists in emotify, songs are found among the clips of games.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
from clips import MUSIC, cpu_model
from deltalake import write_deltalake
from results import write
from rich.console import Console
from rich.table import Table

from specrec.arrays import Float32Array, Int64Array
from specrec.audio import model_mel
from specrec.audio.analyse import analyse
from specrec.audio.config import AudioConfig, ModelMelConfig
from specrec.audio.mel import decode_mel
from specrec.config import Config, load
from specrec.demo import render_catalogue
from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding.models import Model, load_model, outputs, unit_mel
from specrec.encoder.card import measure
from specrec.encoder.config import EncoderConfig
from specrec.encoder.data import STEP, Spectrograms
from specrec.encoder.export import export, open_session
from specrec.encoder.finish import finish
from specrec.encoder.make import sample
from specrec.encoder.train import _identity, build, train
from specrec.evaluate.intervals import Bootstrap
from specrec.evaluate.measurements import ListsBySystem, of_lists
from specrec.evaluate.metrics import Measurement, Question
from specrec.evaluate.ranking import Facts
from specrec.neighbours.kernel import unit
from specrec.warehouse.reader import Reader

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "build" / "bench" / "encoder"
COLLECTIONS = ("emotify", "games")
FOLDS = 3
CORES = 2
#: Of the autoencoders: clips that they are trained on, steps, excerpts of one, and the length of rendered clips.
SIZES, STEPS, BATCH, RENDERED_SECONDS = (64, 128, 256), 400, 32, 6.0
MUSICNN_MEL = ModelMelConfig(sample_rate=16_000, n_fft=512, hop_length=256, n_mels=96, scaling="log_10000")
#: Weights of the spaces that are joined: of the unit vectors' cosines.
JOINED: dict[str, dict[str, float]] = {
    "features + spectrogram": {"features": 0.6, "spectrogram": 0.4},
    "features + shipped": {"features": 1.0, "shipped": 1.0},
    "features + encoder": {"features": 1.0, "encoder": 1.0},
    "features + musicnn": {"features": 1.0, "musicnn": 0.9},
    "features + encoder + musicnn": {"features": 1.0, "encoder": 1.0, "musicnn": 1.2},
}


# --- the clips ----------------------------------------------------------------------------------------------


def music() -> pd.DataFrame:
    """Return the clips by track_id: ``collection, artists, album_name, track_genre, source_song, path``."""
    parts = []
    for name in COLLECTIONS:
        rows = pd.read_csv(MUSIC / name / "tracks.csv", dtype=str, keep_default_na=False)
        parts.append(rows.assign(collection=name, path=[str(MUSIC / name / audio) for audio in rows["audio"]]))
    frame = pd.concat(parts).reindex(
        columns=["track_id", "collection", "artists", "album_name", "track_genre", "source_song", "path"]
    )
    return frame.fillna("").sort_values("track_id", ignore_index=True)


def extract(frame: pd.DataFrame, config: Config) -> Path:
    """Write the tables that an encoder is trained on, by delta-rs, once for these clips; return their folder."""
    root = Path(config.warehouse)
    done, rows_hash = root / f"{config.audio_hash}.done", _hash(frame)
    if done.exists() and done.read_text() == rows_hash:
        return root
    shutil.rmtree(root, ignore_errors=True)
    with multiprocessing.get_context("spawn").Pool(CORES) as pool:
        analysed = pool.starmap(_analyse, [(path, config) for path in frame["path"]], chunksize=4)
    tracks = frame[["track_id", "artists", "album_name", "track_genre"]].replace("", None)
    extra = [[("source_song", name)] if name else [] for name in frame["source_song"]]
    text = pa.string()
    schema = pa.schema([(name, text) for name in tracks] + [("extra", pa.map_(text, text))])
    write_deltalake(root / "tracks", pa.Table.from_pydict(tracks.to_dict("list") | {"extra": extra}, schema))
    for table, columns in (("mel_spectrograms", 0), ("audio_features", 1)):
        rows = [
            {"track_id": track_id, "audio_hash": str(config.audio_hash)} | parts[columns]
            for track_id, parts in zip(frame["track_id"], analysed, strict=True)
        ]
        write_deltalake(root / table, pa.Table.from_pylist(rows))
    done.write_text(rows_hash)
    return root


def _hash(frame: pd.DataFrame) -> str:
    return hashlib.sha256(frame.to_csv().encode()).hexdigest()[:16]


def _analyse(path: str, config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    found = analyse(Path(path).read_bytes(), config.audio, path)
    mel = {"mel": found.mel, "n_mels": found.n_mels, "n_frames": found.n_frames}
    values = {name: of.tolist() if isinstance(of, np.ndarray) else float(of) for name, of in found.values.items()}
    return mel | {"content_hash": found.content_hash}, values | {"content_hash": found.content_hash}


def sampled(config: Config, folder: Path) -> Spectrograms:
    """Return the sample that a training of this configuration would see."""
    return sample(config, Reader(config.warehouse, config.storage), folder)


def folds_of(frame: pd.DataFrame) -> Int64Array:
    """Return the fold of each clip, int64; what shares an artist or an album is in one.

    The greatest groups come first, each into the fold that has the fewest clips of its collection and genre.
    """
    group = np.arange(len(frame))
    artists = frame["artists"].str.casefold().str.split(";").explode().str.strip()
    for names in (artists, frame["album_name"].str.casefold().str.strip()):
        for rows in names[names != ""].groupby(names).groups.values():
            joined = np.isin(group, group[list(rows)])
            group[joined] = group[joined].min()
    kinds = (frame["collection"] + frame["track_genre"]).to_numpy()
    fold = np.full(len(frame), -1)
    sizes = pd.Series(group).value_counts(sort=False).sort_index()
    for number in sizes.sort_values(ascending=False, kind="stable").index:
        own = group == number
        alike = np.isin(kinds, kinds[own])
        fold[own] = np.argmin([((fold == i) & alike).sum() for i in range(FOLDS)])
    return fold


# --- the spaces ---------------------------------------------------------------------------------------------


def plain_spaces(config: Config, musicnn: Path | None, frame: pd.DataFrame) -> dict[str, Float32Array]:
    """Return the vectors of the spaces that are trained on nothing of this bench, a row a clip."""
    reader = Reader(config.warehouse, config.storage)

    def table(name: str) -> pd.DataFrame:
        return reader.table(name).to_pyarrow_table().to_pandas().sort_values("track_id", ignore_index=True)

    layout = feature_space.layout_of(config.audio.n_mfcc)
    matrix = feature_space.stack(table("audio_features"), layout)
    scaler, settings = feature_space.fit_scaler(matrix, layout), config.embedding
    mels = [decode_mel(row.mel, row.n_mels, row.n_frames) for row in table("mel_spectrograms").itertuples()]
    described = np.stack([spectrogram_space.describe(mel) for mel in mels])
    pca = spectrogram_space.fit_pca(described, settings.pca_components)
    regions = spectrogram_space.band_regions(config.audio, _sample_rate(config.audio))
    shipped = load_model("shipped", config)
    spaces = {
        "features": feature_space.embed(matrix, layout, scaler, settings.family_weights, settings.clip_sd),
        "spectrogram": spectrogram_space.embed(described, pca, regions)[0],
        "shipped": np.stack([outputs(shipped, unit_mel(mel))[0] for mel in mels]),
    }
    if musicnn is not None:
        spaces["musicnn"] = _musicnn(musicnn, frame, config)
    return spaces


def _musicnn(path: Path, frame: pd.DataFrame, config: Config) -> Float32Array:
    """Return the vectors of a converted musicnn; kept, since the clips are decoded again for them."""
    model = Model("musicnn", path.read_bytes(), mel=MUSICNN_MEL)
    kept = BUILD / f"musicnn-{model.sha256[:16]}-{_hash(frame)}.npy"
    if not kept.exists():
        with multiprocessing.get_context("spawn").Pool(CORES) as pool:
            rows = pool.starmap(_hear, [(model, audio, config) for audio in frame["path"]], chunksize=4)
        np.save(kept, np.stack(rows))
    return np.asarray(np.load(kept))


def _hear(model: Model, path: str, config: Config) -> Float32Array:
    heard = model_mel.measure(Path(path).read_bytes(), config.audio, MUSICNN_MEL, path)
    return outputs(model, heard.mel)[0]


def joined(spaces: Mapping[str, Float32Array], weights: Mapping[str, float]) -> Float32Array:
    """Return vectors whose cosine is the weighted mean of those of some spaces, as ``hybrid`` joins them."""
    return np.hstack([math.sqrt(weight) * unit(spaces[name]) for name, weight in weights.items()])


# --- training -----------------------------------------------------------------------------------------------


def train_fold(config: Config, fold: Int64Array, number: int, fresh: bool) -> dict[str, Any]:
    """Train an encoder on what is not of a fold, export it, and embed all clips by the exported file.

    Returns
    -------
    ``vectors`` of all clips, and of the training ``seconds, losses, held_out_losses, labels, difference, model``.
    """
    held_out = fold == number
    data = dataclasses.replace(sampled(config, BUILD / "sample"), held_out=held_out)
    settings = config.encoder.model_copy(update={"patience": config.encoder.epochs, "threads": 1})
    folder = folder_of(settings, data, str(number), fresh=fresh)
    objective, state = train(data, settings, folder, resume=True)
    network = objective.network
    told = finish(network, data, np.flatnonzero(~held_out), settings.whitening, settings.label_weight)
    path = folder / "model.onnx"
    difference = export(network, path, settings.patch_frames)
    model = Model("encoder", path.read_bytes())
    return {
        "vectors": np.stack([outputs(model, mel)[0] for mel in whole_clips(data)]),
        "model": path,
        "difference": difference,
        "clips": int((~held_out).sum()),
        "labels": dataclasses.asdict(told),
        "seconds": state.seconds,
        "losses": state.losses,
        "held_out_losses": state.held_out_losses,
    }


def whole_clips(data: Spectrograms) -> Iterator[Float32Array]:
    """Yield the clips as the job gives them to a model: float32 (n_mels, frames), 0 to 1."""
    for start, length in zip(data.starts, data.lengths, strict=True):
        codes = np.asarray(data.codes[start : start + length])
        yield np.clip(1 - codes.T.astype(np.float32) * np.float32(STEP), 0, 1)


def rate(model: Path, data: Spectrograms, audio: AudioConfig, clips: int = 100) -> dict[str, float]:
    """Return clips a second of one thread of ONNX Runtime, one clip at a time as the job does.

    Of the thread's own time, so that other processes do not count; the best of five.
    """
    session, mels = (
        open_session(model),
        [mel[None] for mel, _ in zip(whole_clips(data), range(clips), strict=False)],
    )
    times = []
    for _ in range(5):
        clock = time.process_time()
        for mel in mels:
            session.run(None, {"mel": mel})
        times.append(time.process_time() - clock)
    seconds = float(np.mean([mel.shape[2] for mel in mels])) * audio.hop_length / _sample_rate(audio)
    return {
        "clips_a_second": len(mels) / min(times),
        "seconds_of_a_clip": seconds,
        "median": len(mels) / float(np.median(times)),
    }


def _sample_rate(audio: AudioConfig) -> int:
    return audio.sample_rate or 22_050  # that of the clips


# --- what is found ------------------------------------------------------------------------------------------


def found_by(
    spaces: Mapping[str, Sequence[Float32Array]], frame: pd.DataFrame, fold: Int64Array, seed: int = 0
) -> list[Measurement]:
    """Measure spaces by the project's own metrics, with its intervals.

    Parameters
    ----------
    spaces : by name, the vectors of all clips by the model of each fold.
    frame : of :func:`music`, sorted by track_id.
    """
    known = frame.replace("", None)
    facts = Facts(known.rename(columns={"source_song": "song"}).assign(liked=np.nan))
    bootstrap, found = Bootstrap(seed=seed), []
    emotify, games = (np.flatnonzero(frame["collection"] == name) for name in COLLECTIONS)
    times = known["source_song"].map(known["source_song"].value_counts())
    asks: tuple[tuple[Question, Int64Array, pd.Series], ...] = (
        ("genre", emotify, known["track_genre"].notna()),
        ("song", games, times.fillna(0) > 1),
    )
    for question, pool, asked in asks:
        queries = pool[asked.to_numpy()[pool]]
        lists = {name: _ranked(vectors, queries, pool, fold) for name, vectors in spaces.items()}
        found += list(of_lists(question, ListsBySystem(facts, queries, lists), bootstrap))
    return found


def _ranked(vectors: Sequence[Float32Array], queries: Int64Array, pool: Int64Array, fold: Int64Array) -> Int64Array:
    """Return all others of the pool in the order of their cosine, by the model that has not seen the query."""
    lists = np.empty((len(queries), len(pool) - 1), np.int64)
    for number, of in enumerate(vectors):
        own = np.flatnonzero(fold[queries] == number)
        rows = unit(of)
        cosines = rows[queries[own]] @ rows[pool].T
        cosines[pool == queries[own][:, None]] = -np.inf
        lists[own] = pool[np.argsort(-cosines, axis=1, kind="stable")[:, :-1]]
    return lists


# --- what an autoencoder rebuilds ---------------------------------------------------------------------------


def rebuilt(
    data: Spectrograms, settings: EncoderConfig, train_on: Int64Array, judged_by: Int64Array, *, fresh: bool
) -> dict[str, Any]:
    """Train an autoencoder on some clips and measure it on others, beside what it starts as and the means of bands.

    A tenth of the clips that it may train on decide when it stops; those that judge it are seen by nothing.
    """
    held_out = np.zeros(len(data.lengths), bool)
    held_out[train_on[::10]] = True
    chosen = np.sort(train_on)
    part = dataclasses.replace(
        data,
        starts=data.starts[chosen],
        lengths=data.lengths[chosen],
        track_ids=data.track_ids[chosen],
        songs=data.songs[chosen],
        held_out=held_out[chosen],
        labels=data.labels[chosen],
        measured=data.measured[chosen],
        fingerprint=hashlib.sha256(data.fingerprint.encode() + chosen.tobytes()).hexdigest(),
    )
    folder = folder_of(settings, part, str(len(chosen)), fresh=fresh)
    start = build(settings, part, np.flatnonzero(~part.held_out))
    objective, state = train(part, settings, folder, resume=True)
    before, errors = (
        measure(of, data, judged_by, settings.patch_frames, settings.seed) for of in (start, objective)
    )
    found = {
        "clips": len(chosen),
        "epochs": state.epoch,
        "kept": state.kept_epoch,
        "seconds": state.seconds,
        "mse_of_linear_code": before["mse"],
    }
    return {**found, **errors}


def curve(
    data: Spectrograms,
    config: Config,
    pool: Int64Array,
    judged_by: Int64Array,
    *,
    sizes: Sequence[int],
    name: str,
    fresh: bool,
) -> list[dict[str, Any]]:
    """Return the errors of autoencoders that are trained on ever more clips of a pool, judged by the same others.

    Each takes STEPS steps, whatever the number of clips: the curve is against data, not against time.
    """
    settings = config.encoder.model_copy(update={"batch_size": BATCH})
    order = np.random.default_rng(0).permutation(pool)
    found: list[dict[str, Any]] = []
    for size in dict.fromkeys(min(size, len(pool)) for size in sizes):
        steps_an_epoch = settings.excerpts_per_track * max(round(0.9 * size / settings.batch_size), 1)
        epochs = max(round(STEPS / steps_an_epoch), 1)
        own = settings.model_copy(update={"epochs": epochs, "patience": epochs})
        found.append({"of": name} | rebuilt(data, own, order[:size], judged_by, fresh=fresh))
    return found


def rendered_clips(count: int, config: Config) -> tuple[Spectrograms, Config]:
    """Return clips that the project renders, analysed once."""
    folder = BUILD / f"rendered-{count}"
    own = config.model_copy(update={"warehouse": str(folder / "warehouse")})
    if not (folder / "catalogue.csv").exists():
        render_catalogue(folder, count, seconds=RENDERED_SECONDS, processes=CORES)
    rows = pd.read_csv(folder / "catalogue.csv", dtype=str, keep_default_na=False)
    frame = rows.assign(source_song="", path=[str(folder / audio) for audio in rows["audio"]])
    extract(frame.sort_values("track_id", ignore_index=True), own)
    return sampled(own, folder / "sample"), own


# --- all of it ----------------------------------------------------------------------------------------------


def cross_validate(
    data: Spectrograms, config: Config, frame: pd.DataFrame, fold: Int64Array, musicnn: Path | None, *, fresh: bool
) -> dict[str, Any]:
    """Train an encoder a fold, and measure all spaces."""
    plain = plain_spaces(config, musicnn, frame)
    with multiprocessing.get_context("spawn").Pool(FOLDS) as pool:  # a thread each: faster than one by one
        trained = pool.starmap(train_fold, [(config, fold, number, fresh) for number in range(FOLDS)], chunksize=1)
    for number, of in enumerate(trained):
        words = f"fold {number}: trained on {of['clips']} clips, {of['labels']['tracks']} of them with a label"
        print(f"{words}, {len(of['losses'])} epochs in {of['seconds'] / 60:.1f} minutes")
    spaces = {name: [vectors] * FOLDS for name, vectors in plain.items()}
    spaces["encoder"] = [of["vectors"] for of in trained]
    for name, weights in JOINED.items():
        if weights.keys() <= spaces.keys():
            spaces[name] = [joined({part: spaces[part][i] for part in weights}, weights) for i in range(FOLDS)]
    found = found_by(spaces, frame, fold)
    model = trained[0]["model"]
    return {
        "settings": config.encoder.model_dump(),
        "joined": JOINED,
        "clips": len(frame),
        "folds": [
            {name: of[name] for name in ("clips", "labels", "seconds", "losses", "held_out_losses", "difference")}
            for of in trained
        ],
        "model": {
            "bytes": model.stat().st_size,
            "greatest_difference_from_torch": max(of["difference"] for of in trained),
        }
        | rate(model, data, config.audio),
        "found": [dataclasses.asdict(of) for of in found if not of.slice],
        "found_by_genre": [dataclasses.asdict(of) for of in found if of.slice],
        "machine": {"processor": cpu_model(), "cores": os.cpu_count()},
    }


def folder_of(settings: EncoderConfig, data: Spectrograms, name: str, *, fresh: bool) -> Path:
    """Return the folder of a training, named by what decides its weights: one that is there is continued."""
    identity = json.dumps(_identity(settings, data), sort_keys=True)
    folder = BUILD / f"{hashlib.sha256(identity.encode()).hexdigest()[:12]}-{name}"
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    return folder


def _print_found(results: dict[str, Any]) -> None:
    metrics = {
        "genre_precision_at_10": "genre P@10",
        "song_precision_at_1": "song P@1",
        "song_hit_at_10": "song hit@10",
    }
    figures = {(of["system"], of["metric"]): of for of in results["found"]}
    table = Table(
        "space", *(f"{words} ({figures['features', name]['n']} clips)" for name, words in metrics.items())
    )
    for system in dict.fromkeys(of["system"] for of in results["found"]):
        cells = [figures[system, name] for name in metrics]
        table.add_row(system, *(f"{of['value']:.3f}  {of['low']:.2f} … {of['high']:.2f}" for of in cells))
    model = results["model"]
    Console(width=120).print(table)
    print(
        f"{model['clips_a_second']:.0f} clips of {model['seconds_of_a_clip']:.0f} s a second by one thread of ONNX "
        f"Runtime; {model['bytes'] / 1e6:.1f} MB; {model['greatest_difference_from_torch']:.1e} from PyTorch's"
    )


def _print_errors(errors: Sequence[Mapping[str, Any]]) -> None:
    table = Table("clips", f"trained on, {STEPS} steps", "held-out MSE", "of the linear code", "of the band means")
    for of in errors:
        cells = (f"{of[name]:.4f}" for name in ("mse", "mse_of_linear_code", "mse_of_band_means"))
        table.add_row(of["of"], str(of["clips"]), *cells)
    Console(width=120).print(table)


@click.command(help=__doc__)
@click.option("--musicnn", type=click.Path(exists=True, path_type=Path), help="made by deploy/convert_musicnn.py")
@click.option("--autoencoder", is_flag=True, help="the error of autoencoders against the number of clips instead")
@click.option("--rendered", default=0, help="with --autoencoder: also on so many rendered clips")
@click.option("--fresh", is_flag=True, help="train anew, and do not use the trainings of an earlier run")
@click.option("--set", "overrides", multiple=True, help="a setting, as of specrec: encoder.epochs=50")
def main(
    musicnn: Path | None, *, autoencoder: bool, rendered: int, fresh: bool, overrides: tuple[str, ...]
) -> None:
    """Measure, print tables, and write build/bench/encoder.json."""
    own = ("encoder.architecture=autoencoder",) if autoencoder else ()
    fixed = (f"warehouse={BUILD / 'warehouse'}", "embedding.models={shipped: {path: shipped}}", *own)
    config = load(None, (*fixed, *overrides), needs_catalogue=False)
    if not MUSIC.exists():
        raise SystemExit(f"{MUSIC} is absent: nothing is measured, since only real music tells")
    frame = music()
    extract(frame, config)
    data, fold = sampled(config, BUILD / "sample"), folds_of(frame)
    out = BUILD.parent / "encoder.json"
    results = json.loads(out.read_text()) if out.exists() else {}
    if autoencoder:
        pool, judged_by = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
        errors = curve(data, config, pool, judged_by, sizes=SIZES, name="real", fresh=fresh)
        if rendered:
            clips, own_config = rendered_clips(rendered, config)
            pool, judged_by = np.flatnonzero(~clips.held_out), np.flatnonzero(clips.held_out)
            errors += curve(clips, own_config, pool, judged_by, sizes=[rendered], name="rendered", fresh=fresh)
        results["autoencoder"] = errors
        _print_errors(errors)
    else:
        results["encoder"] = cross_validate(data, config, frame, fold, musicnn, fresh=fresh)
        _print_found(results["encoder"])
    write(results, out)


if __name__ == "__main__":
    main()
