"""Every sentence is read again by a checker that knows English and the rows' values, and not the code."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding import statistics
from specrec.embedding.features import FAMILIES
from specrec.embedding.spectrogram import REGIONS
from specrec.recommend.explain import ATTRIBUTES, MEASURES, Explainer, Pairs, Side

LAYOUT = feature_space.layout_of(20)
FAMILY_OF = feature_space.families(LAYOUT)
COMPONENTS = 24
WEIGHTS = {"features": 0.6, "spectrogram": 0.4}
SYSTEMS = ("features", "spectrogram", "hybrid")
KEYS = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
REGION_NAMES = {
    "the sub-bass (below 60 Hz)": 0,
    "the bass (60–250 Hz)": 1,
    "the low mids (250–500 Hz)": 2,
    "the mids (500 Hz–2 kHz)": 3,
    "the upper mids (2–6 kHz)": 4,
    "the treble (above 6 kHz)": 5,
}


# --- a random catalogue and pairs of it ---------------------------------------------------------------------


class Catalogue:
    """Tracks with random vectors and values; the statistics are fitted on all of them."""

    def __init__(self, seed=0, *, n=200, bands=(1, 3, 4, 12, 10, 6), tied=False, weights=WEIGHTS, families=None):
        rng = np.random.default_rng(seed)
        self.n, self.rng, self.weights = n, rng, weights
        regions = np.repeat(np.arange(len(REGIONS)), bands)
        descriptions = rng.normal(0, 6, (n, 1, len(regions))) + rng.normal(0, 8, (n, 1, len(REGIONS)))[..., regions]
        descriptions = np.concatenate([descriptions, rng.normal(0, 3, (n, 5, len(regions)))], axis=1)
        pca = spectrogram_space.fit_pca(descriptions, COMPONENTS)
        self.spectrogram, self.parts = spectrogram_space.embed(descriptions, pca, regions)
        self.levels = spectrogram_space.region_levels(descriptions, regions)
        scale = dict.fromkeys(FAMILIES, 1.0) | (families or {})
        self.features = (
            rng.normal(0, 1, (n, len(FAMILY_OF))) * np.sqrt([scale[FAMILIES[f]] for f in FAMILY_OF])
        ).astype(np.float32)
        self.measures = {
            "tempo": np.exp2(rng.uniform(5.8, 7.6, n)) * (rng.random(n) > 0.03),
            "key": rng.integers(0, 3, n).astype(float) * 4,
            "mode": rng.integers(0, 2, n).astype(float),
            "key_strength": rng.uniform(0.3, 1, n),
            "spectral_centroid_mean": np.exp(rng.normal(7.5, 0.6, n)),
            "rms_mean": np.exp(rng.normal(-2.5, 0.8, n)) * (rng.random(n) > 0.02),
            "spectral_flatness_mean": np.exp(rng.normal(-5, 1.5, n)),
            "onset_strength_mean": rng.gamma(4, 0.4, n),
        }
        if tied:  # many tracks have exactly the same value, as copies have
            for name in ("spectral_centroid_mean", "spectral_flatness_mean", "onset_strength_mean", "rms_mean"):
                values = self.measures[name]
                low, high = np.quantile(values, [0.2, 0.55])
                self.measures[name] = np.where(values >= high, high, np.where(values <= low, low, values))
        self.attributes = {name: np.where(rng.random(n) < 0.4, np.nan, rng.random(n)) for name in ATTRIBUTES}
        self.quantiles = statistics.fit_statistics(pd.DataFrame(self.measures), self.levels)
        self.explainer = Explainer(FAMILY_OF, self.quantiles, weights)

    def side(self, rows):
        return Side(
            self.features[rows],
            self.spectrogram[rows],
            self.levels[rows],
            {name: values[rows] for name, values in self.measures.items()},
            {name: values[rows] for name, values in self.attributes.items()},
        )

    def pairs(self, count):
        a = self.rng.integers(0, self.n, count)
        b = (a + self.rng.integers(1, self.n, count)) % self.n
        return a, b, Pairs(self.side(a), self.side(b), self.parts[a])

    def vectors(self, system):
        """What is compared, in float64: for `hybrid` the weighted unit vectors, one after the other."""
        features, spectrogram = self.features.astype(np.float64), self.spectrogram.astype(np.float64)
        if system != "hybrid":
            return features if system == "features" else spectrogram
        total = sum(self.weights.values())
        joined = [
            np.sqrt(self.weights[name] / total)
            * np.nan_to_num(v / np.where((length := np.linalg.norm(v, axis=1, keepdims=True)) > 0, length, 1))
            for name, v in (("features", features), ("spectrogram", spectrogram))
        ]
        return np.concatenate(joined, axis=1)

    def scores(self, system, a, b):
        v = self.vectors(system).astype(np.float32).astype(np.float64)  # the tables hold float32
        lengths = np.linalg.norm(v[a], axis=1) * np.linalg.norm(v[b], axis=1)
        return np.where(lengths > 0, (v[a] * v[b]).sum(axis=1) / np.where(lengths > 0, lengths, 1), 0.0)


CATALOGUES = {
    "usual": {},
    "no band in the sub-bass nor in the treble": {"bands": (0, 3, 4, 12, 10, 0)},
    "copies": {"tied": True},
    "few tracks": {"n": 12},
    "features alone": {"weights": {"features": 1.0, "spectrogram": 0.0}},
    "families without weight": {"families": {"timbre": 0.0, "brightness": 0.0, "rhythm": 0.0}},
}


@pytest.fixture(scope="module", params=CATALOGUES, ids=lambda name: name.replace(" ", "_"))
def catalogue(request):
    return Catalogue(seed=sorted(CATALOGUES).index(request.param), **CATALOGUES[request.param])


# --- contributions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_contributions_add_up_to_the_score(catalogue, system):
    a, b, pairs = catalogue.pairs(500)
    scores = catalogue.scores(system, a, b)
    _, reasons = catalogue.explainer.explain(system, pairs, scores)
    sums = [sum(reason["contribution"] for reason in row) for row in reasons]
    np.testing.assert_allclose(sums, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_contribution_is_that_of_its_family_or_region(catalogue, system):
    a, b, pairs = catalogue.pairs(200)
    total = sum(catalogue.weights.values())
    share = {name: weight / total if system == "hybrid" else 1.0 for name, weight in catalogue.weights.items()}
    _, reasons = catalogue.explainer.explain(system, pairs, catalogue.scores(system, a, b))
    features, spectrogram = catalogue.features.astype(np.float64), catalogue.spectrogram.astype(np.float64)
    for i, j, row in zip(a, b, reasons, strict=True):
        for reason in row:
            name = reason["family"]
            if name in FAMILIES:
                cut = np.where(FAMILIES.index(name) == FAMILY_OF, 0.0, features[i])
                expected = share["features"] * _lost(features[i], cut, features[j])
            elif name == "catalogue":
                expected = 0.0
            else:
                region = [r.name for r in REGIONS].index(name)
                cut = spectrogram[i] - catalogue.parts[i, region]
                expected = share["spectrogram"] * _lost(spectrogram[i], cut, spectrogram[j])
            assert reason["contribution"] == pytest.approx(expected, abs=2e-6)


def _lost(whole, cut, other):
    """What of the cosine goes when a part of a vector is blanked, its length being held."""
    return (np.dot(whole, other) - np.dot(cut, other)) / (np.linalg.norm(whole) * np.linalg.norm(other))


@pytest.mark.parametrize("system", SYSTEMS)
def test_zero_vectors_are_explained_without_division_by_zero(system):
    catalogue = Catalogue(n=40)
    catalogue.features[:10] = 0
    catalogue.spectrogram[5:15] = 0
    catalogue.parts[5:15] = 0
    a, b, pairs = catalogue.pairs(300)
    scores = catalogue.scores(system, a, b)
    sentences, reasons = catalogue.explainer.explain(system, pairs, scores)
    sums = [sum(reason["contribution"] for reason in row) for row in reasons]
    np.testing.assert_allclose(sums, scores, rtol=0, atol=1e-9)
    assert all("nan" not in sentence for sentence in sentences)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1 << 30), share=st.floats(0, 1), scale=st.sampled_from([1e-6, 1.0, 1e4]))
def test_hybrid_contributions_add_up_for_any_weights_and_lengths(seed, share, scale):
    catalogue = Catalogue(seed, n=12, weights={"features": share * 7, "spectrogram": (1 - share) * 7})
    catalogue.features *= np.float32(scale)
    a, b, pairs = catalogue.pairs(5)
    scores = catalogue.scores("hybrid", a, b)
    _, reasons = catalogue.explainer.explain("hybrid", pairs, scores)
    sums = [sum(reason["contribution"] for reason in row) for row in reasons]
    np.testing.assert_allclose(sums, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("system", SYSTEMS)
def test_reasons_are_ordered_and_complete(catalogue, system):
    a, b, pairs = catalogue.pairs(100)
    _, reasons = catalogue.explainer.explain(system, pairs, catalogue.scores(system, a, b))
    allowed = set(FAMILIES) if system != "spectrogram" else set()
    allowed |= {region.name for region in REGIONS} if system != "features" else set()
    for row in reasons:
        parts = [reason["contribution"] for reason in row if reason["family"] != "catalogue"]
        assert (np.diff(parts) <= 0).all()
        assert [reason["family"] for reason in row][len(parts) :] == ["catalogue"] * (len(row) - len(parts))
        assert {reason["family"] for reason in row} <= allowed | {"catalogue"}
        assert all(reason["statement"] for reason in row)


# --- the checker --------------------------------------------------------------------------------------------


def _decibels(full_scale):
    return 20 * np.log10(max(full_scale, 1e-6))


class Checker:
    """Reads a statement of track `i` and recommended track `j`, and asserts that it is true of them."""

    def __init__(self, catalogue):
        self.c, self.seen = catalogue, set()
        n, pair, trait = r"(\d) in 10 tracks", r"\(([+-]?\d+) and ([+-]?\d+) (BPM|dB)\)", "|".join(self.VAGUE)
        centroid, region = "spectral_centroid_mean", "(" + "|".join(map(re.escape, REGION_NAMES)) + ")"
        self.forms = [
            (rf"nearly the same tempo {pair}", self.same_tempo),
            (rf"one at double the other's tempo {pair}", self.double_tempo),
            (rf"both busy, with more attacks than {n}", self.rank("onset_strength_mean", +1)),
            (rf"both calm and sustained, with fewer attacks than {n}", self.rank("onset_strength_mean", -1)),
            (r"both in (\S+) (major|minor)", self.same_key),
            (rf"both bright, with dense upper frequencies \(brighter than {n}\)", self.rank(centroid, +1)),
            (rf"both dark, with sparse upper frequencies \(darker than {n}\)", self.rank(centroid, -1)),
            (r"equally bright \(centred at ([\d.]+) and ([\d.]+) kHz\)", self.equally_bright),
            (rf"both loud \((-?\d+) and (-?\d+) dB, louder than {n}\)", self.loudness(+1)),
            (rf"both quiet \((-?\d+) and (-?\d+) dB, quieter than {n}\)", self.loudness(-1)),
            (rf"equally loud {pair}", self.equally_loud),
            (rf"both noisy in texture \(noisier than {n}\)", self.rank("spectral_flatness_mean", +1)),
            (rf"both smooth in texture \(clearer in tone than {n}\)", self.rank("spectral_flatness_mean", -1)),
            (rf"both weighted towards {region} \(more than {n}\)", self.region_rank(+1)),
            (rf"both light on {region} \(lighter than {n}\)", self.region_rank(-1)),
            (rf"equally strong in {region} {pair}", self.region_levels(0, 1.5)),
            (rf"similar in {region}", self.region_levels(0, 6)),
            (rf"different in {region} {pair}", self.region_levels(6, np.inf)),
            (rf"only one of them reaches {region}", self.region_missing),
            (rf"different rhythm {pair}", self.different_tempo),
            (rf"different loudness {pair}", self.different_loudness),
            (r"different brightness \(([\d.]+) and ([\d.]+) kHz\)", self.different_brightness),
            (rf"(very similar|somewhat similar|similar|different) ({trait})", self.alike),
            (r"both (high-energy|low-energy|acoustic|happy in mood|sad in mood|danceable) by the catalogue "
             r"\(([\d.]+) and ([\d.]+)\)(?:: (.+))?", self.attribute),
        ]  # fmt: skip
        self.forms = [(re.compile(form), holds) for form, holds in self.forms]

    VAGUE = {  # noqa: RUF012
        "tone colour": "timbre",
        "brightness": "brightness",
        "harmony": "harmony",
        "rhythm": "rhythm",
        "loudness": "dynamics",
        "texture": "noisiness",
    }

    def check(self, statement, i, j):
        for number, (form, holds) in enumerate(self.forms):
            found = form.fullmatch(statement)
            if found:
                self.seen.add(number)
                assert holds(i, j, *found.groups()), (
                    f"{statement!r} is false of {self.values(i)} and {self.values(j)}"
                )
                return
        raise AssertionError(f"not understood: {statement!r}")

    def check_difference(self, text, i, j):
        found = re.fullmatch(r"(\d+) dB (louder|quieter)", text)
        if found:
            change = _decibels(self.c.measures["rms_mean"][j]) - _decibels(self.c.measures["rms_mean"][i])
            assert abs(abs(change) - int(found[1])) <= 0.5
            assert (change > 0) == (found[2] == "louder")
            return
        found = re.fullmatch(r"(faster|slower) \((\d+) against (\d+) BPM\)", text)
        assert found, f"not understood: {text!r}"
        of_track, of_recommended = self.c.measures["tempo"][i], self.c.measures["tempo"][j]
        assert self.shown((of_recommended, of_track), found.groups()[1:])
        assert (of_recommended > of_track) == (found[1] == "faster")
        assert abs(of_recommended - of_track) > 0.1 * of_track

    def check_sentence(self, sentence, i, j):
        assert len(sentence) < 200
        assert sentence.endswith(".")
        found = re.fullmatch(r"Sounds alike: (.*?)(?:; but (.*))?\.", sentence)
        if not found:
            found = re.fullmatch(
                r"Among the closest matches in this catalogue, though no single trait stands out()"
                r"(?:, and it is (.*))?\.",
                sentence,
            )
            assert found, f"not understood: {sentence!r}"
        elif found[1]:
            for part in self.split(found[1]):
                self.check(part, i, j)
        if found[2]:
            self.check_difference(found[2], i, j)

    def split(self, joined):
        """Cut an enumeration where each of its pieces is a whole statement."""
        if any(form.fullmatch(joined) for form, _ in self.forms):
            return [joined]
        for cut in re.finditer(", | and ", joined):
            if any(form.fullmatch(joined[: cut.start()]) for form, _ in self.forms):
                return [joined[: cut.start()], *self.split(joined[cut.end() :])]
        raise AssertionError(f"not understood: {joined!r}")

    def values(self, i):
        return {name: values[i] for name, values in (self.c.measures | self.c.attributes).items()}, self.c.levels[i]

    @staticmethod
    def shown(values, texts):
        """Whether the numbers of a sentence are the values, rounded to the digits that are shown."""
        digits = [len(text.partition(".")[2]) for text in texts]
        return all(abs(v - float(t)) <= 0.5001 * 10.0**-d for v, t, d in zip(values, texts, digits, strict=True))

    def of(self, name, i, j):
        return self.c.measures[name][i], self.c.measures[name][j]

    def exceeds(self, values, pair, n, sign):
        """Whether both values are above (or below) n in 10 tracks of the catalogue, to one track in a hundred."""
        values = values[np.isfinite(values)]
        slack = 0.01 + 1 / len(values)  # the statistics hold percentiles; a track does not exceed itself
        return all(np.isfinite(v) and np.mean(sign * values < sign * v) >= int(n) / 10 - slack for v in pair)

    def rank(self, name, sign):
        return lambda i, j, n: self.exceeds(self.c.measures[name], self.of(name, i, j), n, sign)

    def region_rank(self, sign):
        def holds(i, j, name, n):
            levels = self.c.levels[:, REGION_NAMES[name]]
            return self.exceeds(levels, (levels[i], levels[j]), n, sign)

        return holds

    def region_levels(self, least, most):
        def holds(i, j, name, *shown):
            levels = self.c.levels[i, REGION_NAMES[name]], self.c.levels[j, REGION_NAMES[name]]
            return least <= abs(levels[0] - levels[1]) <= most and (not shown or self.shown(levels, shown[:2]))

        return holds

    def region_missing(self, i, j, name):
        return np.isnan(self.c.levels[i, REGION_NAMES[name]]) != np.isnan(self.c.levels[j, REGION_NAMES[name]])

    def loudness(self, sign):
        def holds(i, j, a, b, n):
            pair = [_decibels(v) for v in self.of("rms_mean", i, j)]
            return self.shown(pair, (a, b)) and self.rank("rms_mean", sign)(i, j, n)

        return holds

    def same_tempo(self, i, j, a, b, unit):
        one, other = self.of("tempo", i, j)
        return unit == "BPM" and self.shown((one, other), (a, b)) and max(one, other) <= 1.0401 * min(one, other)

    def double_tempo(self, i, j, a, b, unit):
        one, other = self.of("tempo", i, j)
        ratio = max(one, other) / min(one, other)
        return unit == "BPM" and self.shown((one, other), (a, b)) and 2 / 1.0401 <= ratio <= 2 * 1.0401

    def different_tempo(self, i, j, a, b, unit):
        one, other = self.of("tempo", i, j)
        return unit == "BPM" and self.shown((one, other), (a, b)) and not one == other > 0

    def same_key(self, i, j, tonic, mode):
        strong = min(self.of("key_strength", i, j)) >= 0.6
        keys = {(self.c.measures["key"][k], self.c.measures["mode"][k]) for k in (i, j)}
        return strong and keys == {(KEYS.index(tonic), float(mode == "major"))}

    def equally_bright(self, i, j, a, b):
        one, other = (v / 1000 for v in self.of("spectral_centroid_mean", i, j))
        return self.shown((one, other), (a, b)) and max(one, other) <= 1.2 * min(one, other)

    def different_brightness(self, i, j, a, b):
        values = [v / 1000 for v in self.of("spectral_centroid_mean", i, j)]
        return self.shown(values, (a, b)) and self.alike(i, j, "different", "brightness")

    def equally_loud(self, i, j, a, b, unit):
        pair = [_decibels(v) for v in self.of("rms_mean", i, j)]
        return unit == "dB" and self.shown(pair, (a, b)) and abs(pair[0] - pair[1]) <= 1.5

    def different_loudness(self, i, j, a, b, unit):
        pair = [_decibels(v) for v in self.of("rms_mean", i, j)]
        return unit == "dB" and self.shown(pair, (a, b)) and abs(pair[0] - pair[1]) > 1.5

    def alike(self, i, j, word, trait):
        family = FAMILIES.index(self.VAGUE[trait]) == FAMILY_OF
        a, b = (self.c.features[k][family].astype(np.float64) for k in (i, j))
        if not a.any() or not b.any():
            return False  # such a family was not compared
        cosine = np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
        if word == "different":
            return cosine <= 1e-9
        return cosine > (0 if word == "somewhat similar" else 0.5 - 1e-9)

    def attribute(self, i, j, word, *shown_and_confirmed):
        *texts, confirmed = shown_and_confirmed
        name, bound, above = {
            "high-energy": ("energy", 0.7, True),
            "low-energy": ("energy", 0.3, False),
            "acoustic": ("acousticness", 0.8, True),
            "happy in mood": ("valence", 0.7, True),
            "sad in mood": ("valence", 0.3, False),
            "danceable": ("danceability", 0.7, True),
        }[word]
        pair = self.c.attributes[name][i], self.c.attributes[name][j]
        true = self.shown(pair, texts) and all((v > bound) == above and np.isfinite(v) for v in pair)
        if confirmed is None:
            return true
        measure, half = {
            "bright, dense upper frequencies": ("spectral_centroid_mean", +1),
            "sparse and dark": ("spectral_centroid_mean", -1),
            "smooth textures": ("spectral_flatness_mean", -1),
        }[confirmed]
        middle, values = np.median(self.c.measures[measure]), self.of(measure, i, j)
        return true and all(half * v >= half * middle * (1 - 0.02 * half) for v in values)


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_statement_and_no_sentence_is_false(catalogue, system):
    a, b, pairs = catalogue.pairs(600 if catalogue.n > 100 else 200)
    checker = Checker(catalogue)
    sentences, reasons = catalogue.explainer.explain(system, pairs, catalogue.scores(system, a, b))
    for i, j, sentence, row in zip(a, b, sentences, reasons, strict=True):
        for reason in row:
            checker.check(reason["statement"], i, j)
        checker.check_sentence(sentence, i, j)
        assert not re.search(r"\b(nan|none|inf)\b|[{}]", " ".join([sentence, *(r["statement"] for r in row)]), re.I)


def test_the_checker_meets_every_form_of_statement():
    seen = set()
    for seed in range(3):
        catalogue = Catalogue(seed)
        checker = Checker(catalogue)
        a, b, pairs = catalogue.pairs(1000)
        _, reasons = catalogue.explainer.explain("hybrid", pairs, catalogue.scores("hybrid", a, b))
        for i, j, row in zip(a, b, reasons, strict=True):
            for reason in row:
                checker.check(reason["statement"], i, j)
        seen |= checker.seen
    unseen = [form.pattern for number, (form, _) in enumerate(checker.forms) if number not in seen]
    assert all("brightness" in form or "only one" in form for form in unseen), unseen


@pytest.mark.parametrize(
    ("statement", "spoilt"),
    [
        ("nearly the same tempo", {"tempo": 90.0}),
        ("both in", {"key_strength": 0.2}),
        ("both bright", {"spectral_centroid_mean": 700.0}),
        ("equally loud", {"rms_mean": 1.0}),
    ],
)
def test_the_checker_finds_what_is_false(statement, spoilt):
    catalogue = Catalogue()
    a, b, pairs = catalogue.pairs(1500)
    _, reasons = catalogue.explainer.explain("features", pairs, catalogue.scores("features", a, b))
    i, j, text = next(
        (i, j, reason["statement"])
        for i, j, row in zip(a, b, reasons, strict=True)
        for reason in row
        if reason["statement"].startswith(statement)
    )
    checker = Checker(catalogue)
    checker.check(text, i, j)
    for name, value in spoilt.items():
        catalogue.measures[name][j] = value
    with pytest.raises(AssertionError, match="is false of"):
        checker.check(text, i, j)


# --- what else is promised ----------------------------------------------------------------------------------


def test_a_sentence_speaks_only_of_what_makes_the_score():
    catalogue = Catalogue()
    a, b, pairs = catalogue.pairs(500)
    for system in SYSTEMS:
        sentences, reasons = catalogue.explainer.explain(system, pairs, catalogue.scores(system, a, b))
        for sentence, row in zip(sentences, reasons, strict=True):
            against = [r["statement"] for r in row if r["contribution"] <= 0 and r["family"] != "catalogue"]
            assert not any(statement in sentence for statement in against if statement.startswith("both"))


def test_tracks_without_attributes_get_no_statement_of_the_catalogue():
    catalogue = Catalogue()
    for values in catalogue.attributes.values():
        values[:] = np.nan
    a, b, pairs = catalogue.pairs(500)
    for system in SYSTEMS:
        sentences, reasons = catalogue.explainer.explain(system, pairs, catalogue.scores(system, a, b))
        assert not any("by the catalogue" in sentence for sentence in sentences)
        assert not any(reason["family"] == "catalogue" for row in reasons for reason in row)


def test_a_bimodal_catalogue_has_no_equally_bright_tracks_from_both_of_its_halves():
    catalogue = Catalogue()
    half = np.arange(catalogue.n) < catalogue.n / 2
    catalogue.measures["spectral_centroid_mean"] = np.where(half, 900.0, 4000.0) + np.arange(catalogue.n)
    catalogue.quantiles.update(statistics.fit_statistics(pd.DataFrame(catalogue.measures), catalogue.levels))
    a, b, pairs = catalogue.pairs(1500)
    checker = Checker(catalogue)
    _, reasons = catalogue.explainer.explain("features", pairs, catalogue.scores("features", a, b))
    for i, j, row in zip(a, b, reasons, strict=True):
        for reason in row:
            if reason["statement"].startswith("equally bright"):
                checker.check(reason["statement"], i, j)


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_region_that_one_track_lacks_is_not_compared(system):
    catalogue = Catalogue()
    catalogue.levels[::2, 5] = np.nan  # as where the files' own sample rates differ
    catalogue.quantiles.update(statistics.fit_statistics(pd.DataFrame(catalogue.measures), catalogue.levels))
    a, b, pairs = catalogue.pairs(400)
    sentences, reasons = catalogue.explainer.explain(system, pairs, catalogue.scores(system, a, b))
    checker = Checker(catalogue)
    for i, j, sentence, row in zip(a, b, sentences, reasons, strict=True):
        assert "nan" not in sentence
        assert "treble" not in sentence or np.isfinite(catalogue.levels[[i, j], 5]).all()
        for reason in row:
            checker.check(reason["statement"], i, j)


@pytest.mark.parametrize("system", SYSTEMS)
def test_explaining_is_deterministic_and_row_by_row(catalogue, system):
    a, b, pairs = catalogue.pairs(60)
    scores = catalogue.scores(system, a, b)
    sentences, reasons = catalogue.explainer.explain(system, pairs, scores)
    assert catalogue.explainer.explain(system, pairs, scores) == (sentences, reasons)
    for k in range(0, 60, 7):
        rows = slice(k, k + 1)
        alone = Pairs(catalogue.side(a[rows]), catalogue.side(b[rows]), catalogue.parts[a[rows]])
        sentence, (row,) = catalogue.explainer.explain(system, alone, scores[rows])
        assert sentence == sentences[rows]
        assert [r["statement"] for r in row] == [r["statement"] for r in reasons[k]]
        for one, other in zip(row, reasons[k], strict=True):
            assert one["contribution"] == pytest.approx(other["contribution"], abs=1e-12)


def test_what_it_needs_is_declared():
    catalogue = Catalogue(n=12)
    assert set(MEASURES) == set(catalogue.measures)
    assert set(statistics.MEASURES) <= set(MEASURES)
    assert {name for name, _ in LAYOUT} >= set(MEASURES) - {"key", "mode", "key_strength"}
