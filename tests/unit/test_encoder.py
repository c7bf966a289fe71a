"""The networks, their losses, training that stops, continues and ends early, and the export to ONNX."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import sys

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from click.testing import CliRunner
from pyspark import SparkContext
from scipy.fft import dct
from spectrograms import BANDS, MFCC, some_tracks, write_warehouse

from specrec.cli import main
from specrec.encoder.config import EncoderConfig
from specrec.encoder.data import collect
from specrec.errors import SpecrecError
from specrec.storage.config import StorageConfig
from specrec.warehouse.lock import LOCK_NAME, WarehouseLock
from specrec.warehouse.reader import Reader

torch = pytest.importorskip("torch", reason="pip install 'specrec[train]'")
pytest.importorskip("onnx", reason="pip install 'specrec[train]'")


from specrec.encoder.augment import augment  # noqa: E402
from specrec.encoder.export import export  # noqa: E402
from specrec.encoder.finish import Labelling, _stretch, finish  # noqa: E402
from specrec.encoder.networks import Autoencoder, Contrastive, Statistics, linear_code, nt_xent  # noqa: E402
from specrec.encoder.train import CHECKPOINT, State, held_out_loss, scale, train  # noqa: E402

ARCHITECTURES = ("autoencoder", "contrastive")
CPU = torch.device("cpu")


def settings(**changed):
    small = {"patch_frames": 32, "epochs": 4, "excerpts_per_track": 1, "batch_size": 8, "dimensions": 16}
    return EncoderConfig(**(small | {"threads": 1} | changed))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("warehouse")
    write_warehouse(root, some_tracks(24))
    return root


@pytest.fixture(scope="module")
def data(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    return collect(Reader(str(root), StorageConfig()), folder, size=100, seed=0, held_out_share=0.3, n_mfcc=MFCC)


# --- networks and losses ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bands", "frames"), [(128, 216), (BANDS, 32), (40, 50), (36, 61)])
def test_shapes_of_any_number_of_bands_and_frames(bands, frames):
    mels = torch.rand(3, bands, frames)
    autoencoder = Autoencoder(bands, frames, 64).eval()
    autoencoder.start_from([mels])
    assert autoencoder(mels).shape == (3, 64)
    rebuilt = autoencoder.decode(autoencoder(mels))
    assert rebuilt.shape == mels.shape
    assert 0 <= rebuilt.min() < rebuilt.max() <= 1
    contrastive = Contrastive(bands, 64).eval()
    for length in (frames, 1, 3 * frames):
        assert contrastive(torch.rand(3, bands, length)).shape == (3, 64)


def test_a_model_of_the_default_size_is_small_enough_to_ship():
    network = Contrastive(128)
    assert sum(weights.numel() for weights in network.parameters()) * 4 < 4e6


def test_statistics_are_those_of_numpy():
    mels = np.random.default_rng(0).random((2, 24, 50)).astype(np.float32)
    statistics = Statistics(24)
    found = statistics(torch.from_numpy(mels)).numpy()
    assert found.shape == (2, statistics.count)
    level, local, deviation, moved = np.split(found[:, : 4 * 24], 4, axis=1)
    assert np.allclose(level, mels.mean(axis=2), atol=1e-5)
    assert np.allclose(local[:, 12], level[:, 12] - level[:, 10:15].mean(axis=1), atol=1e-5)
    assert np.allclose(deviation, mels.std(axis=2), atol=1e-3)
    lasting = np.concatenate([mels[:, :, 1:], mels[:, :, -1:]], axis=2)
    assert np.allclose(moved, np.sqrt(np.square(lasting - mels).mean(axis=2)), atol=1e-3)
    cepstrum = dct(mels, axis=1, norm="ortho")[:, :20]
    start = 6 * 24 + 3 * 20  # after six numbers a band, and three a coefficient
    assert np.allclose(found[:, 6 * 24 : 6 * 24 + 20], cepstrum.mean(axis=2), atol=1e-5)
    for row, of in zip(found, cepstrum, strict=True):
        expected = np.corrcoef(of)[np.tril_indices(20, -1)]
        assert np.allclose(row[start : start + 190], expected, atol=2e-3)


def test_the_statistics_of_rhythm_dip_at_the_beat():
    beat = 0.5 + 0.4 * torch.cos(2 * math.pi * torch.arange(300) / 12)
    found = Statistics(24)(beat.expand(1, 24, 300))[0, -8 * 16 :].view(16, 8)
    lags = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 22, 26, 32)
    assert (found.argmin(dim=0) == lags.index(12)).all()
    assert (found.argmax(dim=0) == lags.index(6)).all()


def stationary(count, bands=12, frames=40, rank=2, seed=0):
    """Return spectrograms of `rank` shapes over the bands, each with slow changes from any place in time."""
    random = np.random.default_rng(seed)
    shapes = np.random.default_rng(99).normal(size=(rank, bands)) * 0.1
    slow = np.cumsum(random.normal(size=(count, rank, frames)), axis=2) * 0.05 + random.normal(
        size=(count, rank, 1)
    )
    return torch.from_numpy(np.clip(0.5 + np.einsum("nrt,rb->nbt", slow, shapes), 0, 1).astype(np.float32))


def test_the_linear_code_is_the_principal_components_of_each_cosine_over_time():
    mels = stationary(300)
    level, bands, frames, sizes = linear_code(mels.split(64), 40, 20)
    assert np.allclose(level, mels.mean(dim=(0, 2)), atol=1e-5)
    assert np.allclose(bands.norm(dim=1), 1, atol=1e-5)
    assert np.allclose(frames.norm(dim=1), 1, atol=1e-5)
    waves = (bands[:, :, None] * frames[:, None, :]).flatten(1)
    assert np.allclose(waves @ waves.T, np.eye(20), atol=1e-4)
    coefficients = (mels - level[:, None]).flatten(1) @ waves.T
    assert np.allclose(coefficients.square().mean(dim=0).sqrt(), sizes, rtol=1e-3)
    assert (np.diff(sizes) <= 1e-6).all()
    # by scipy's transform and PCA's own sums: no other products of this form hold more of the variance
    spectra = dct((mels - level[:, None]).numpy(), axis=2, norm="ortho")
    variances = [np.linalg.svd(spectra[:, :, k], compute_uv=False) ** 2 / len(mels) for k in range(40)]
    best = np.sort(np.concatenate(variances))[::-1][:20]
    assert np.allclose(sizes.square(), best, rtol=1e-3)


def test_an_autoencoder_starts_as_the_best_linear_code_and_tells_music_that_it_was_not_fitted_on():
    network = Autoencoder(12, 40, 32).eval()
    network.start_from(stationary(300).split(64))
    others = stationary(50, seed=1)
    with torch.no_grad():
        latent = network(others)
        error = (network.decode(latent) - others).square().mean()
    flattened = stationary(300).flatten(1).numpy()
    mean = flattened.mean(axis=0)
    components = np.linalg.svd(flattened - mean, full_matrices=False)[2][:32]
    left = others.flatten(1).numpy() - mean
    of_pca = np.square(left - left @ components.T @ components).mean()
    assert error < of_pca < 0.1 * others.var()
    assert np.median(latent.square().mean(dim=0).sqrt()) == pytest.approx(1, abs=0.1)


def test_an_autoencoder_starts_even_from_silence_and_from_fewer_excerpts_than_dimensions():
    for mels in (torch.zeros(3, 12, 40), stationary(1)):
        network = Autoencoder(12, 40, 64).eval()
        network.start_from([mels])
        with torch.no_grad():
            assert torch.allclose(network.decode(network(mels)), mels, atol=1e-3)


def test_the_loss_of_pairs_is_that_of_its_paper():
    random = np.random.default_rng(0)
    one, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in random.normal(size=(2, 5, 8)))
    songs = np.array([0, 1, 1, 2, 3])
    both, song = np.concatenate([one, other]), np.concatenate([songs, songs])
    expected = []
    for i in range(10):
        pair = (i + 5) % 10
        others = [j for j in range(10) if j == pair or song[j] != song[i]]
        expected.append(-both[i] @ both[pair] / 0.2 + np.log(np.exp(both[others] @ both[i] / 0.2).sum()))
    found = nt_xent(*map(torch.from_numpy, (one, other, songs)), temperature=0.2)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-6)


def test_excerpts_are_scaled_as_the_job_scales_them(data):
    codes = data.excerpts(np.array([0]), np.array([0]), 40)
    found = scale(codes, CPU)
    assert found.shape == (1, BANDS, 40)
    assert np.allclose(found[0].numpy(), (codes[0].T * -0.39 + 80) / 80, atol=1e-6)


# --- augmentation -------------------------------------------------------------------------------------------


def test_a_changed_spectrogram_keeps_its_shape_and_range_and_the_original_is_left():
    mels = torch.rand(64, 20, 50)
    before = mels.clone()
    changed = augment(mels, torch.Generator().manual_seed(0))
    assert changed.shape == mels.shape
    assert 0 <= changed.min() <= changed.max() <= 1
    assert torch.equal(mels, before)
    assert torch.equal(changed, augment(mels, torch.Generator().manual_seed(0)))
    assert not torch.equal(changed, augment(mels, torch.Generator().manual_seed(1)))


def test_each_spectrogram_is_changed_in_its_own_way_and_stays_what_it_is():
    mels = torch.rand(1, 20, 50).expand(64, -1, -1)
    changed = augment(mels, torch.Generator().manual_seed(0))
    assert len({tuple(row.flatten().tolist()) for row in changed}) == 64
    heard = changed > 0
    assert (heard.flatten(1).float().mean(dim=1) > 0.2).all()
    alike = [
        np.corrcoef(row[on].numpy(), mels[0][on].numpy())[0, 1] for row, on in zip(changed, heard, strict=True)
    ]
    assert np.median(alike) > 0.5
    masked = (changed == 0).all(dim=2).any(dim=1) | (changed == 0).all(dim=1).any(dim=1)
    assert masked.float().mean() > 0.5


# --- training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_training_learns_and_returns_the_weights_that_it_keeps(architecture, data, tmp_path):
    chosen = settings(architecture=architecture, epochs=8, excerpts_per_track=4, distillation=0)
    objective, state = train(data, chosen, tmp_path)
    if architecture == "autoencoder":  # it starts from the best linear code
        assert state.held_out_losses[state.kept_epoch - 1] < state.first_loss
    else:
        assert state.losses[-1] < 0.9 * state.losses[0]
    assert state.kept_epoch > 0
    held_out = np.flatnonzero(data.held_out)
    found = held_out_loss(objective, data, held_out, chosen, CPU)
    assert found == pytest.approx(state.held_out_losses[state.kept_epoch - 1], rel=1e-5)
    assert state.kept_epoch == (state.best_epoch if architecture == "autoencoder" else 8)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_stopped_and_continued_training_is_one_that_was_not_stopped(architecture, data, tmp_path):
    chosen = settings(architecture=architecture)
    whole, state = train(data, chosen, tmp_path / "whole")

    def stop(epoch, step, steps):
        if (epoch, step) == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, chosen, tmp_path / "stopped", told=stop)
    with pytest.raises(SpecrecError, match="--resume"):
        train(data, chosen, tmp_path / "stopped")
    continued, its_state = train(data, chosen, tmp_path / "stopped", resume=True)
    assert its_state.losses == state.losses
    assert its_state.held_out_losses == state.held_out_losses
    weights = whole.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in continued.state_dict().items())
    saved = [torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "stopped")]
    assert all(torch.equal(value, saved[1]["weights"][name]) for name, value in saved[0]["weights"].items())


def test_a_vector_of_more_numbers_than_an_excerpt_is_refused(data, tmp_path):
    with pytest.raises(SpecrecError, match=r"encoder\.dimensions"):
        train(data, settings(architecture="autoencoder", dimensions=BANDS * 32 + 2), tmp_path)


def test_the_seed_decides(data, tmp_path):
    losses = [
        train(data, settings(seed=seed, epochs=1), tmp_path / str(i))[1].losses for i, seed in enumerate([1, 1, 2])
    ]
    assert losses[0] == losses[1] != losses[2]


def test_training_ends_when_the_held_out_loss_does_not_fall_and_keeps_the_start_if_that_was_best(data, tmp_path):
    chosen = settings(
        architecture="autoencoder", epochs=60, patience=2, learning_rate=0.5
    )  # far too fast to get anywhere
    objective, state = train(data, chosen, tmp_path)
    assert state.epoch == state.best_epoch + 2 < 60
    assert state.best_epoch == state.kept_epoch == 0
    found = held_out_loss(objective, data, np.flatnonzero(data.held_out), chosen, CPU)
    assert found == pytest.approx(state.first_loss, rel=1e-5)
    assert found < min(state.held_out_losses)
    again, its_state = train(data, chosen, tmp_path, resume=True)  # there is nothing left to do
    assert vars(its_state) == vars(state)
    assert held_out_loss(again, data, np.flatnonzero(data.held_out), chosen, CPU) == found


@pytest.mark.parametrize(
    ("epoch", "best", "over"), [(0, 0, False), (4, 3, False), (5, 3, True), (9, 9, False), (10, 10, True)]
)
def test_when_a_training_is_over(epoch, best, over):
    assert State(epoch=epoch, best_epoch=best).is_over(settings(epochs=10, patience=2)) == over


def test_the_checkpoint_of_another_training_is_refused(data, tmp_path):
    train(data, settings(epochs=1), tmp_path)
    with pytest.raises(SpecrecError, match=r"encoder\.learning_rate differ"):
        train(data, settings(epochs=1, learning_rate=0.1), tmp_path, resume=True)


def test_a_checkpoint_of_another_split_or_other_songs_is_refused(data, tmp_path):
    train(data, settings(epochs=1), tmp_path)
    swapped = dataclasses.replace(data, held_out=~data.held_out)
    paired = dataclasses.replace(data, songs=data.songs // 2)
    for other in (swapped, paired):
        with pytest.raises(SpecrecError, match="the split into trained on and held out, differ"):
            train(other, settings(epochs=2), tmp_path, resume=True)
    assert train(data, settings(epochs=1), tmp_path, resume=True)[1].epoch == 1


# --- whitening ----------------------------------------------------------------------------------------------


def vectors_of(network, data, tracks):
    clips = [data.excerpts(np.array([track]), np.array([0]), int(data.lengths[track])) for track in tracks]
    with torch.no_grad():
        return np.concatenate([network.eval()(scale(clip, CPU)).numpy() for clip in clips])


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_whitened_vectors_are_centred_and_their_deviations_within_clips_nearer_each_other(strength, data):
    torch.manual_seed(0)
    network, tracks = Contrastive(BANDS, 4), np.arange(24)  # fewer dimensions than tracks: all have some variance
    before, was = vectors_of(network, data, tracks), deviations_within(network, data)
    finish(network, data, tracks, strength, 0.5)  # no track has a label
    after, found = vectors_of(network, data, tracks), deviations_within(network, data)
    length = np.linalg.norm(before - before.mean(axis=0))
    assert np.allclose(after.mean(axis=0), 0, atol=1e-4 * length)
    assert np.linalg.norm(after) == pytest.approx(length, rel=1e-3)
    expected = np.sort(was / (was + 0.02 * was.max()) ** strength)
    assert np.allclose(found, expected * np.linalg.norm(found) / np.linalg.norm(expected), rtol=0.01)
    assert found.max() / found.min() < was.max() / was.min()


def deviations_within(network, data):
    """Return the principal deviations of the thirds of clips from their mean, and a little of those of clips."""
    thirds = []
    for track, length in enumerate(data.lengths.tolist()):
        first = np.arange(3) * (length // 3)
        codes = data.excerpts(np.full(3, track), first, length // 3)
        with torch.no_grad():
            thirds.append(network.eval()(scale(codes, CPU)).numpy())
    thirds = np.array(thirds, np.float64)
    own = (thirds - thirds.mean(axis=1, keepdims=True)).reshape(-1, thirds.shape[2])
    scatter = own.T @ own / len(own) + 0.05 * np.cov(vectors_of(network, data, range(24)).T, bias=True)
    return np.sqrt(np.linalg.eigvalsh(scatter))


def test_whitening_by_nothing_or_of_vectors_all_alike_changes_nothing(data):
    network = Contrastive(BANDS, 4)
    before = vectors_of(network, data, range(24))
    finish(network, data, np.arange(24), 0.0, 0.5)
    assert np.array_equal(vectors_of(network, data, range(24)), before)
    torch.nn.init.zeros_(network.out.weight)
    finish(network, data, np.arange(24), 1.0, 0.5)
    assert np.allclose(vectors_of(network, data, range(24)), network.out.bias.detach().numpy())


# --- labels -------------------------------------------------------------------------------------------------


def labelled(data, network):
    """Return the tracks, most of them labelled by where they lie along a fine direction of a network's vectors."""
    vectors = vectors_of(network, data, range(24))
    _, _, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    along = vectors @ axes[6]
    labels = (along > np.median(along)).astype(np.int64)
    labels[::8] = -1
    labels[1] = 2  # of one track alone
    return dataclasses.replace(data, labels=labels)


def cosines_within_and_across(vectors, labels, of=(0, 1)):
    unit = vectors - vectors.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    known = np.isin(labels, of)
    cosines, alike = (unit @ unit.T)[known][:, known], labels[known][:, None] == labels[known]
    np.fill_diagonal(alike, False)
    return cosines[alike].mean(), cosines[labels[known][:, None] != labels[known]].mean()


def test_vectors_tell_labels_apart_where_there_are_some(data):
    torch.manual_seed(0)
    network = Contrastive(BANDS, 16)
    known = labelled(data, network)
    before = cosines_within_and_across(vectors_of(network, data, range(24)), known.labels)
    weights = copy.deepcopy(network.state_dict())
    apart = []
    for weight in (0.0, 0.3, 0.6):
        network.load_state_dict(weights)
        used = finish(network, known, np.arange(24), 0.5, weight)
        # of 24, three have none, and one has one of its own
        assert (used.tracks, used.labels) == ((20, 2) if weight else (0, 0))
        within, across = cosines_within_and_across(vectors_of(network, data, range(24)), known.labels)
        apart.append(within - across)
    assert before[0] - before[1] < apart[1] < apart[2]
    assert apart[0] < apart[1]


def test_the_directions_of_labels_get_their_share_of_the_length(data):
    torch.manual_seed(0)
    network = Contrastive(BANDS, 16)
    known = labelled(data, network)
    unstretched = copy.deepcopy(network)
    finish(unstretched, known, np.arange(24), 1.0, 0.0)
    told = finish(network, known, np.arange(24), 1.0, 0.4)
    a, b = (vectors_of(of, data, range(24)).astype(np.float64) for of in (unstretched, network))
    change, *_ = np.linalg.lstsq(a, b, rcond=None)  # symmetric: one direction is stretched, all others alike
    values, axes = np.linalg.eigh((change + change.T) / 2)
    assert np.allclose(change, change.T, atol=1e-3 * values.max())
    assert np.allclose(values[:-1], values[0], rtol=1e-2)
    before, share = (np.square(of @ axes[:, -1]).sum() / np.square(of).sum() for of in (a, b))
    assert share == pytest.approx(0.4 + 0.6 * before, abs=0.01)
    assert (told.share_before, told.share) == pytest.approx((before, share), abs=0.01)
    assert told.stretch == pytest.approx(values[-1] / values[0], rel=0.01)


def test_labels_that_nothing_tells_apart_change_nothing():
    vectors = torch.randn((20, 8), generator=torch.Generator().manual_seed(0), dtype=torch.double)
    labels = torch.arange(20) // 10
    vectors[10:] = vectors[:10]  # two labels of the same sounds
    change, told = _stretch(vectors, labels, 0.4)
    assert torch.equal(change, torch.eye(8, dtype=torch.double))
    assert told == Labelling()
    vectors[10:] += 1
    assert _stretch(vectors, labels, 0.4)[1].share > 0.4


def test_many_labels_get_their_share_too(tmp_path):
    write_warehouse(tmp_path / "w", some_tracks(180))
    known = collect(
        Reader(str(tmp_path / "w"), StorageConfig()), tmp_path / "s", size=180, seed=0, held_out_share=0.3
    )
    torch.manual_seed(0)
    network = Contrastive(BANDS, 40)  # the directions of the labels are nearly all that there are
    vectors = vectors_of(network, known, range(180))
    _, _, axes = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    labels = np.zeros(180, np.int64)
    for axis in axes[[3, 6]]:  # into six along one direction, and each of these into six along another
        labels = 6 * labels + (
            pd.Series(vectors @ axis).groupby(labels).rank(method="first", pct=True) * 5.999
        ).astype(int)
    known = dataclasses.replace(known, labels=labels.to_numpy())
    weights, found = copy.deepcopy(network.state_dict()), []
    for weight in (0.0, 0.15, 0.4):
        network.load_state_dict(weights)
        told = finish(network, known, np.arange(180), 1.0, weight)
        found.append(vectors_of(network, known, range(180)).astype(np.float64))
        if weight:
            change, *_ = np.linalg.lstsq(found[0], found[-1], rcond=None)
            lengths = np.linalg.eigvalsh((change + change.T) / 2) ** 2
            assert lengths[0] == pytest.approx(1 - weight, abs=0.02)  # the rest is the labels'
            assert (told.tracks, told.labels) == (180, 36)
            assert told.share > told.share_before
            assert told.stretch > 1.3
    apart = [np.subtract(*cosines_within_and_across(of, known.labels, range(36))) for of in found]
    assert apart[1] > 1.3 * apart[0]
    assert apart[2] > 1.3 * apart[1]


# --- features -----------------------------------------------------------------------------------------------


def test_the_loss_of_features_teaches_them(data, tmp_path):
    clips = [data.codes[start : start + length] for start, length in zip(data.starts, data.lengths, strict=True)]
    levels = np.stack([clip.mean(axis=0) for clip in clips])  # features that can be heard
    known = dataclasses.replace(data, measured=((levels - levels.mean(axis=0)) / levels.std(axis=0)).astype("f4"))

    def told(distillation, epochs):
        chosen = settings(epochs=epochs, excerpts_per_track=4, learning_rate=0.01, distillation=distillation)
        return train(known, chosen, tmp_path / str(distillation))[0]

    assert told(0.0, 1).teller is None
    objective = told(5.0, 20)
    tracks = np.flatnonzero(~data.held_out)
    with torch.no_grad():
        found = objective.teller(torch.from_numpy(vectors_of(objective.network, data, tracks))).numpy()
    right, wrong = (row_cosines(found, known.measured[of]) for of in (tracks, np.roll(tracks, 1)))
    assert right.mean() > 0.4
    assert wrong.mean() < 0.2


def row_cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


# --- export -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_onnx_gives_what_torch_gives(architecture, data, tmp_path):
    network = train(data, settings(architecture=architecture), tmp_path)[0].network
    path = tmp_path / "model.onnx"
    assert export(network, path, 32, {"tags": "[]"}) <= 1e-4
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,), (out,) = session.get_inputs(), session.get_outputs()
    assert (given.type, len(given.shape), given.shape[1]) == ("tensor(float)", 3, BANDS)
    assert out.shape[1] == 16
    properties = session.get_modelmeta().custom_metadata_map
    # one of any number of frames is given whole clips
    assert properties.get("patch_frames") == ("32" if architecture == "autoencoder" else None)
    assert properties["tags"] == "[]"
    for batch in (1, 2, 7):
        for frames in (32,) if architecture == "autoencoder" else (1, 32, 33, 500):
            mels = np.random.default_rng(batch).random((batch, BANDS, frames), np.float32)
            with torch.no_grad():
                expected = network(torch.from_numpy(mels)).numpy()
            assert np.abs(session.run(None, {given.name: mels})[0] - expected).max() <= 1e-4


# --- the command --------------------------------------------------------------------------------------------


def test_the_command_leaves_a_model_its_card_and_its_curve(root, tmp_path):
    options = ("patch_frames=32", "epochs=2", "threads=1", "batch_size=8", "held_out_share=0.3")
    sets = [part for option in options for part in ("--set", f"encoder.{option}")]
    out = tmp_path / "encoder"
    arguments = ["train-encoder", "--warehouse", str(root), "--out", str(out), *sets]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2  # the spectrograms are of another configuration
    assert "too few to train on" in refused.output
    other = tmp_path / "w"
    from specrec.config import load

    tracks = [of | {"track_genre": "rock" if i % 2 else "pop"} for i, of in enumerate(some_tracks(24))]
    write_warehouse(other, tracks, audio_hash=load(None, ["warehouse=w"], False).audio_hash.current)
    arguments[2] = str(other)
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0, found.output
    card = json.loads((out / "model.json").read_text())
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    import hashlib

    assert card["model"]["sha256"] == hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest()
    assert card["data"]["tracks"] == 24
    assert 0 < card["data"]["held_out_tracks"] < 24
    assert len(card["training"]["losses"]) == len(card["training"]["held_out_losses"]) == card["training"]["epochs"]
    assert card["settings"]["patch_frames"] == 32
    labels = card["data"]["labels"]
    assert (labels["column"], labels["tracks"]) == ("track_genre", 24 - card["data"]["held_out_tracks"])
    assert labels["labels"] == 2
    assert 0.15 <= labels["share"] <= 1
    assert card["training"]["loss"] == "NT-Xent + 1 · (1 - cosine of the features)"
    assert card["data"]["measures_told"] > 100
    assert card["metrics"]["held_out"].keys() == card["metrics"]["trained_on"].keys()
    assert {"torch", "onnx", "specrec"} <= card["versions"].keys()
    assert "too few" not in found.output
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "--resume" in again.output
    assert CliRunner().invoke(main, [*arguments, "--resume"]).exit_code == 0
    mistyped = CliRunner().invoke(main, [*arguments, "--resume", "--set", "encoder.label_column=track_gener"])
    assert mistyped.exit_code == 2
    assert "no track of the sample has a label in 'track_gener'" in mistyped.output

    runs = sorted(Reader(str(other), StorageConfig()).rows("runs"), key=lambda row: row["started_at"])
    assert {row["stage"] for row in runs} == {"train_encoder"}
    assert [row["status"] for row in runs] == ["done", "failed", "done", "failed"]
    assert "track_gener" in runs[-1]["message"]
    assert runs[0]["rows_in"] == 24
    details = dict(runs[0]["details"])
    assert details["mel_spectrograms_version"] == details["tracks_version"] == "0"
    assert details["model"] == card["model"]["sha256"]
    assert not (other / LOCK_NAME).exists()
    assert SparkContext._gateway is None  # no JVM for one worker


def test_no_training_while_a_night_holds_the_warehouse(root, tmp_path):
    with WarehouseLock(str(root), StorageConfig(), "the-night"):
        found = CliRunner().invoke(main, ["train-encoder", "--warehouse", str(root), "--out", str(tmp_path / "e")])
    assert found.exit_code == 2
    assert "held by run the-night" in found.output


def test_a_mistyped_warehouse_stays_absent(tmp_path):
    place = tmp_path / "none"
    found = CliRunner().invoke(main, ["train-encoder", "--warehouse", str(place), "--out", str(tmp_path / "e")])
    assert found.exit_code == 2
    assert "there is no table" in found.output
    assert not place.exists()


def test_without_torch_the_command_says_what_to_install(root, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
    found = CliRunner().invoke(main, ["train-encoder", "--warehouse", str(root), "--out", str(tmp_path / "e")])
    assert found.exit_code == 2
    assert "training needs torch: pip install 'specrec[train]'" in found.output
    assert not (tmp_path / "e").exists()
