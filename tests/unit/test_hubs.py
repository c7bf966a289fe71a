"""What lists rank by: the formulas of the papers, and that they do tame hubs."""

from __future__ import annotations

from statistics import NormalDist, fmean, pstdev
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import skew

from specrec.recommend.config import Hubs, RecommendConfig
from specrec.recommend.hubs import Nearness, affinity

HUBS = get_args(Hubs)


def nearness(cosines):
    return Nearness(cosines.mean(axis=1), cosines.std(axis=1))


COSINES = st.lists(st.floats(-1, 1), min_size=4, max_size=4)


def _neighbours(tracks=800, dimensions=24, k=30, seed=3):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((tracks, dimensions)) + rng.standard_normal(dimensions)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1)[:, :k]
    return nearest, np.take_along_axis(cosines, nearest, axis=1)


def _ranked(hubs, nearest, cosines):
    near = nearness(cosines)
    own = Nearness(near.mean[:, None], near.std[:, None])
    found = affinity(hubs, cosines, own, Nearness(near.mean[nearest], near.std[nearest]))
    return np.take_along_axis(nearest, np.argsort(-found, axis=1, kind="stable"), axis=1)[:, :10]


def test_the_methods_are_those_that_can_be_configured():
    for hubs in HUBS:
        assert RecommendConfig(hubs=hubs).hubs == hubs


@given(st.floats(-1, 1), COSINES, COSINES)
def test_of_one_pair_by_hand(cosine, of_track, of_other):
    near = [nearness(np.array([cosines])) for cosines in (of_track, of_other)]
    found = {hubs: affinity(hubs, np.array([cosine]), *near).item() for hubs in HUBS}
    assert found["off"] == cosine
    csls = 2 * cosine - fmean(of_track) - fmean(of_other)
    assert found["local_scaling"] == pytest.approx(csls / 2, abs=1e-12)
    both = [NormalDist(fmean(c), max(pstdev(c), 1e-6)).cdf(cosine) for c in (of_track, of_other)]
    assert found["mutual_proximity"] == pytest.approx(both[0] * both[1], abs=1e-6)
    for hubs in HUBS:
        assert affinity(hubs, np.array([cosine]), *near[::-1]).item() == found[hubs]


@pytest.mark.parametrize("hubs", ["local_scaling", "mutual_proximity"])
def test_fewer_hubs_and_fewer_tracks_that_nobody_is_recommended(hubs):
    nearest, cosines = _neighbours()
    occurrences = {
        name: np.bincount(_ranked(name, nearest, cosines).ravel(), minlength=800) for name in ("off", hubs)
    }
    assert skew(occurrences["off"]) > 1.5  # there is something to tame
    assert skew(occurrences[hubs]) < 0.6 * skew(occurrences["off"])
    assert (occurrences[hubs] == 0).sum() < (occurrences["off"] == 0).sum()


@pytest.mark.parametrize("hubs", HUBS)
def test_copies_of_one_recording_have_a_finite_affinity(hubs):
    near = nearness(np.ones((2, 5)))
    assert np.isfinite(affinity(hubs, np.ones(2), near, near)).all()
