"""Every sentence is read again by a checker that knows English and the rows' values, and not the code."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specrec.config import load
from specrec.embedding import features as feature_space
from specrec.embedding import spectrogram as spectrogram_space
from specrec.embedding import statistics
from specrec.embedding.config import BUILT_IN
from specrec.embedding.excerpts import NUMBERS
from specrec.embedding.features import FAMILIES
from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import ATTRIBUTES
from specrec.evaluate import truth
from specrec.recommend import facts
from specrec.recommend.contributions import Families, Regions, Whole, contributions, cosines_of
from specrec.recommend.explain import Explainer, explain_pairs, explainer_of
from specrec.recommend.facts import Usual
from specrec.recommend.pairs import ListedPairs, Side
from specrec.recommend.phrases import phrase
from specrec.warehouse.artefacts import Artefact

LAYOUT = feature_space.layout_of(20)
FAMILY_OF = feature_space.families(LAYOUT)
COMPONENTS = 24
WEIGHTS = {"features": 0.6, "spectrogram": 0.4}
SYSTEMS = ("features", "spectrogram", "encoder", "hybrid")
PARTS = {"features": Families(FAMILY_OF), "spectrogram": Regions(), "encoder": Whole("encoder")}


def explain(explainer, system, pairs, scores):
    """Return the sentences and the reasons as Python's own lists."""
    return tuple(told.to_pylist() for told in explainer.explain(system, pairs, scores))


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
        self.encoder = rng.normal(0, 1, (n, 16)).astype(np.float32)  # the vectors of a model
        # and its tags: one that is common, one of two words, one that only others have
        of_tag = {"vocals": 0.7, "slow and sad": 0.25, "choir": 0.2, "harp": 0.05}
        draws = np.random.default_rng(seed + 1)
        has = {name: draws.random(n) < share for name, share in of_tag.items()}
        self.tags = [{"encoder": [name for name, of in has.items() if of[i]]} for i in range(n)]
        self.columns = {
            "tempo": np.exp2(rng.uniform(5.8, 7.6, n)) * (rng.random(n) > 0.03),
            "key": rng.integers(0, 12, n).astype(float),
            "mode": rng.integers(0, 2, n).astype(float),
            "key_strength": rng.uniform(0.3, 1, n),
            "onset_strength_mean": rng.gamma(4, 0.4, n),
            "spectral_centroid_mean": np.exp(rng.normal(7.5, 0.6, n)),
            "spectral_bandwidth_mean": np.exp(rng.normal(7.5, 0.4, n)),
            "rms_mean": np.exp(rng.normal(-2.5, 0.8, n)) * (rng.random(n) > 0.02),
            "rms_std": np.exp(rng.normal(-3.5, 0.8, n)),
            "spectral_flatness_mean": np.exp(rng.normal(-5, 1.5, n)),
            "spectral_contrast_mean": rng.normal(20, 4, (n, 7)),
            "mfcc_std": rng.gamma(9, 1, (n, 20)),
        }
        if tied:  # many tracks have exactly the same value, as copies have
            for name in ("spectral_centroid_mean", "spectral_flatness_mean", "onset_strength_mean", "rms_mean"):
                values = self.columns[name]
                low, high = np.quantile(values, [0.2, 0.55])
                self.columns[name] = np.where(values >= high, high, np.where(values <= low, low, values))
        self.attributes = {name: np.where(rng.random(n) < 0.4, np.nan, rng.random(n)) for name in ATTRIBUTES}

    @property
    def frame(self):
        """The table ``audio_features``."""
        return pd.DataFrame({name: list(values) for name, values in self.columns.items()}).rename_axis("track_id")

    @property
    def explainer(self):
        names = {name for tags in self.tags for name in tags["encoder"]}
        shares = {("encoder", name): np.mean([name in tags["encoder"] for tags in self.tags]) for name in names}
        fitted = statistics.fit_statistics(statistics.measure(self.frame), self.levels, self.attributes, shares)
        return Explainer(PARTS, shares_by_system(self.shares), BUILT_IN, Usual(fitted))

    @property
    def shares(self):
        return {name: weight / sum(self.weights.values()) for name, weight in self.weights.items()}

    def reader(self):
        """Who checks, with what the tables hold now."""
        levels = pd.DataFrame({"levels": list(self.levels)}).rename_axis("track_id").reset_index()
        attributes = pd.DataFrame(self.attributes).rename_axis("track_id").reset_index()
        own = [[{"name": name, "score": 0.5} for name in of["encoder"]] for of in self.tags]
        tags = pd.DataFrame({"track_id": range(self.n), "space": "encoder", "tags": own})
        values = truth.values_of(self.frame.reset_index(), levels, attributes, tags)
        return truth.TruthChecker(values, values)

    def rows(self, system, a, b, pairs):
        """Rows of ``recommendations``, as far as they concern explanations."""
        scores = self.scores(system, a, b)
        sentences, reasons = explain(self.explainer, system, pairs, scores)
        told = zip(a.tolist(), b.tolist(), sentences, reasons, scores.tolist(), strict=True)
        return [
            {"track_id": i, "recommended_track_id": j, "explanation": sentence, "reasons": row, "score": score}
            for i, j, sentence, row, score in told
        ]

    def side(self, rows):
        return Side(
            {space: getattr(self, space)[rows] for space in PARTS},
            self.levels[rows],
            {name: values[rows] for name, values in statistics.measure(self.frame).items()},
            {name: values[rows] for name, values in self.attributes.items()},
            [self.tags[row] for row in rows],
        )

    def pairs(self, count):
        a = self.rng.integers(0, self.n, count)
        b = (a + self.rng.integers(1, self.n, count)) % self.n
        return a, b, ListedPairs(self.side(a), self.side(b), self.parts[a])

    def vectors(self, system):
        """What is compared, in float64: for `hybrid` the weighted unit vectors, one after the other."""
        spaces = {name: getattr(self, name).astype(np.float64) for name in SYSTEMS if name != "hybrid"}
        if system != "hybrid":
            return spaces[system]
        joined = [
            np.sqrt(share)
            * np.nan_to_num(v / np.where((length := np.linalg.norm(v, axis=1, keepdims=True)) > 0, length, 1))
            for name, share in self.shares.items()
            for v in [spaces[name]]
        ]
        return np.concatenate(joined, axis=1)

    def scores(self, system, a, b):
        v = self.vectors(system).astype(np.float32).astype(np.float64)  # the tables hold float32
        lengths = np.linalg.norm(v[a], axis=1) * np.linalg.norm(v[b], axis=1)
        return np.where(lengths > 0, (v[a] * v[b]).sum(axis=1) / np.where(lengths > 0, lengths, 1), 0.0)


def shares_by_system(shares):
    joined = {space: shares.get(space, 0.0) for space in dict.fromkeys((*BUILT_IN, *shares))}
    return {system: {system: 1.0} for system in PARTS} | {"hybrid": joined}


CATALOGUES = {
    "usual": {},
    "no band in the sub-bass nor in the treble": {"bands": (0, 3, 4, 12, 10, 0)},
    "copies": {"tied": True},
    "few tracks": {"n": 12},
    "features alone": {"weights": {"features": 1.0, "spectrogram": 0.0}},
    "a model in the hybrid": {"weights": {"features": 0.4, "spectrogram": 0.2, "encoder": 0.4}},
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
    _, reasons = explain(catalogue.explainer, system, pairs, scores)
    sums = [sum(reason["contribution"] for reason in row) for row in reasons]
    np.testing.assert_allclose(sums, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_contribution_is_that_of_its_family_or_region(catalogue, system):
    a, b, pairs = catalogue.pairs(200)
    share = catalogue.shares if system == "hybrid" else dict.fromkeys(SYSTEMS, 1.0)
    _, reasons = explain(catalogue.explainer, system, pairs, catalogue.scores(system, a, b))
    features, spectrogram = catalogue.features.astype(np.float64), catalogue.spectrogram.astype(np.float64)
    for i, j, row in zip(a, b, reasons, strict=True):
        for reason in row:
            name = reason["family"]
            if name in FAMILIES and system != "encoder":
                cut = np.where(FAMILIES.index(name) == FAMILY_OF, 0.0, features[i])
                expected = share["features"] * _lost(features[i], cut, features[j])
            elif name == "catalogue" or (system == "encoder" and name != "encoder"):
                expected = 0.0
            elif name == "encoder":
                a_vector, b_vector = catalogue.encoder[i].astype(float), catalogue.encoder[j].astype(float)
                expected = share["encoder"] * _lost(a_vector, 0 * a_vector, b_vector)
            else:
                region = [r.name for r in REGIONS].index(name)
                cut = spectrogram[i] - catalogue.parts[i, region]
                expected = share["spectrogram"] * _lost(spectrogram[i], cut, spectrogram[j])
            assert reason["contribution"] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("space", PARTS)
def test_what_a_part_contributes_is_what_it_is_of_the_vector(catalogue, space):
    a, b, pairs = catalogue.pairs(100)
    stored = catalogue.parts.reshape(catalogue.n, -1).astype(np.float64) if space == "spectrogram" else None
    vectors, parts = catalogue.vectors(space), PARTS[space]
    split = [parts.part(i, vectors, stored) for i in range(len(parts.names))]
    np.testing.assert_allclose(sum(split), vectors, atol=1e-4)
    products = np.stack([(part[a] * vectors[b]).sum(axis=1) for part in split], axis=1)
    np.testing.assert_allclose(parts.products(pairs), products, rtol=1e-6, atol=1e-6)


def test_parts_must_add_up_and_what_rounding_leaves_goes_to_the_greatest():
    catalogue = Catalogue()
    a, b, pairs = catalogue.pairs(20)
    cosines, scores = cosines_of("features", PARTS["features"], pairs), catalogue.scores("features", a, b)
    exact = contributions([cosines], {"features": 1.0}, pairs, scores)
    np.testing.assert_allclose(exact, cosines, atol=1e-6)
    np.testing.assert_allclose(exact.sum(axis=1), scores, atol=1e-12)
    shifted = contributions([cosines], {"features": 1.0}, pairs, scores + 9e-6) - exact
    greatest = np.abs(cosines).argmax(axis=1)
    np.testing.assert_allclose(shifted, np.where(np.arange(6) == greatest[:, None], 9e-6, 0), atol=1e-12)
    for wrong in (1.2e-5, -1.2e-5):
        off = scores + wrong * (np.arange(20) == 7)
        with pytest.raises(
            ValueError, match=r"contributions miss the score by 1\.[12]e-05: vectors and scores disagree"
        ):
            contributions([cosines], {"features": 1.0}, pairs, off)
    _, _, none = catalogue.pairs(0)
    assert contributions([np.zeros((0, 6))], {"features": 1.0}, none, np.zeros(0)).shape == (0, 6)
    with pytest.raises(ValueError, match="zip"):
        contributions([cosines], {"features": 0.5, "spectrogram": 0.5}, pairs, scores)


def test_the_parts_by_region_must_be_given():
    with pytest.raises(ValueError, match="the parts by region of these vectors are needed, and are not given"):
        Regions().part(0, np.zeros((2, 3)), None)


def test_what_explains_a_configuration_is_what_its_lists_are_made_of():
    models = "{ours: {path: ours.onnx}, theirs: {path: theirs.onnx}}"
    settings = [f"embedding.models={models}", "embedding.hybrid_weights={features: 1, ours: 3}"]
    config = load(None, ["warehouse=w", *settings], needs_catalogue=False)
    explainer = explainer_of(config, Artefact("s", 1, {"tempo": np.arange(101.0)}, 9))
    assert explainer.shares == {
        "features": {"features": 1.0},
        "spectrogram": {"spectrogram": 1.0},
        "ours": {"ours": 1.0},
        "theirs": {"theirs": 1.0},
        "hybrid": {"features": 0.25, "spectrogram": 0.0, "ours": 0.75},
    }
    assert {space: type(of) for space, of in explainer.parts.items()} == {
        "features": Families,
        "spectrogram": Regions,
        "ours": Whole,
        "theirs": Whole,
    }
    assert explainer.parts["ours"] == Whole("ours")
    np.testing.assert_array_equal(explainer.parts["features"].of_dimensions, FAMILY_OF)
    assert explainer.beside == ["features", "spectrogram"]
    assert [explainer.needed(system) for system in ("features", "theirs", "hybrid")] == [
        ["features"],
        ["features", "spectrogram"],
        ["features", "spectrogram", "ours"],
    ]
    assert explainer.usual.statistics["tempo"][7] == 7


def test_rows_are_explained_as_their_pairs_are_and_say_which_excerpts_match():
    catalogue, n = Catalogue(n=30), 12
    a, b, pairs = catalogue.pairs(n)
    scores = catalogue.scores("hybrid", a, b)
    codes = np.zeros((30, 4, NUMBERS), np.int8)
    codes[np.arange(30)[:, None], np.arange(4), np.arange(30)[:, None] % 7 + np.arange(4)] = (
        127  # one direction each
    )
    columns = {name: list(values) for name, values in catalogue.columns.items()}
    columns |= {f"catalogue_{name}": values for name, values in catalogue.attributes.items()}
    columns |= {f"vector_{space}": list(getattr(catalogue, space)) for space in ("features", "spectrogram")}
    columns |= {
        "levels": list(catalogue.levels),
        "tags": catalogue.tags,
        "excerpts": [of.tobytes() for of in codes],
    }
    profile = pd.DataFrame(columns | {"parts": [of.ravel() for of in catalogue.parts]})
    chosen = pd.DataFrame(
        {"system": "hybrid", "track_id": a, "rank": np.arange(n), "recommended_track_id": b, "score": scores}
    ).assign(affinity=scores / 2)
    of_both = [
        profile.iloc[rows].reset_index(drop=True).add_prefix(prefix) for rows, prefix in ((a, "a_"), (b, "b_"))
    ]
    settings = ["warehouse=w", "audio.offset_seconds=7", "recommend.excerpt_seconds=6"]
    config = load(None, settings, needs_catalogue=False)
    found = explain_pairs(pd.concat([chosen, *of_both], axis=1), "hybrid", catalogue.explainer, config)
    sentences, reasons = explain(catalogue.explainer, "hybrid", pairs, scores)
    assert list(found)[6:] == ["explanation", "reasons", "track_seconds", "recommended_seconds"]
    pd.testing.assert_frame_equal(found[list(chosen)], chosen)
    assert found["explanation"].tolist() == sentences
    assert found["reasons"].tolist() == reasons
    for i, j, ours, theirs in zip(a, b, found["track_seconds"], found["recommended_seconds"], strict=True):
        directions = [{int(np.argmax(excerpt)): k for k, excerpt in enumerate(codes[t])} for t in (i, j)]
        shared = directions[0].keys() & directions[1].keys()
        match = min(((directions[0][d], directions[1][d]) for d in shared), default=(0, 0))
        assert (ours, theirs) == (7 + 3 * match[0], 7 + 3 * match[1])


def test_a_new_space_is_one_part_and_needs_no_other_code():
    catalogue = Catalogue()
    shares = {"features": 0.5, "listeners": 0.5}
    own = {"listeners": {"listeners": 1.0}, "hybrid": shares}
    explainer = replace(catalogue.explainer, parts=PARTS | {"listeners": Whole("listeners")}, shares=own)
    a, b, pairs = catalogue.pairs(50)
    sides = [
        replace(of, vectors={**of.vectors, "listeners": of.vectors["encoder"]})
        for of in vars(pairs).values()
        if isinstance(of, Side)
    ]
    pairs = replace(pairs, track=sides[0], recommended=sides[1])
    cosines = catalogue.scores("encoder", a, b)
    for system, share, scores in (
        ("listeners", 1, cosines),
        ("hybrid", 0.5, (cosines + catalogue.scores("features", a, b)) / 2),
    ):
        sentences, reasons = explain(explainer, system, pairs, scores)
        assert all(sentences)
        for cosine, row in zip(cosines, reasons, strict=True):
            (own,) = [reason for reason in row if reason["family"] == "listeners"]
            assert own["contribution"] == pytest.approx(share * cosine, abs=1e-6)


def test_of_every_family_something_can_be_said_and_an_unknown_one_is_refused():
    catalogue = Catalogue()
    _, _, pairs = catalogue.pairs(5)
    assert [trait.name for trait in facts.families(FAMILIES, pairs, catalogue.explainer.usual)] == list(FAMILIES)
    with pytest.raises(ValueError, match="nothing can be said of the family 'swing': add it to FAMILY_FACTS in"):
        facts.families((*FAMILIES, "swing"), pairs, catalogue.explainer.usual)
    with pytest.raises(ValueError, match=r"phrases.yaml has no phrase 'strongest.swing'"):
        phrase("strongest.swing")


def _lost(whole, cut, other):
    """What of the cosine goes when a part of a vector is blanked, its length being held."""
    return (np.dot(whole, other) - np.dot(cut, other)) / (np.linalg.norm(whole) * np.linalg.norm(other))


@pytest.mark.parametrize("system", SYSTEMS)
def test_zero_vectors_are_explained_without_division_by_zero(system):
    catalogue = Catalogue(n=40)
    catalogue.features[:10] = 0
    catalogue.spectrogram[5:15] = 0
    catalogue.parts[5:15] = 0
    catalogue.encoder[10:20] = 0
    a, b, pairs = catalogue.pairs(300)
    scores = catalogue.scores(system, a, b)
    sentences, reasons = explain(catalogue.explainer, system, pairs, scores)
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
    _, reasons = explain(catalogue.explainer, "hybrid", pairs, scores)
    sums = [sum(reason["contribution"] for reason in row) for row in reasons]
    np.testing.assert_allclose(sums, scores, rtol=0, atol=1e-9)


@pytest.mark.parametrize("system", SYSTEMS)
def test_reasons_are_ordered_and_complete(catalogue, system):
    a, b, pairs = catalogue.pairs(100)
    _, reasons = explain(catalogue.explainer, system, pairs, catalogue.scores(system, a, b))
    allowed = set(FAMILIES) if system != "spectrogram" else set()
    allowed |= {region.name for region in REGIONS} if system != "features" else set()
    if system == "encoder" or (system == "hybrid" and "encoder" in catalogue.weights):
        allowed.add("encoder")
    for row in reasons:
        parts = [reason["contribution"] for reason in row if reason["family"] != "catalogue"]
        assert (np.diff(parts) <= 0).all()
        assert [reason["family"] for reason in row][len(parts) :] == ["catalogue"] * (len(row) - len(parts))
        assert {reason["family"] for reason in row} <= allowed | {"catalogue"}
        assert all(reason["statement"] for reason in row)


# --- truth ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_statement_and_no_sentence_is_false(catalogue, system):
    a, b, pairs = catalogue.pairs(600 if catalogue.n > 100 else 200)
    rows = catalogue.rows(system, a, b, pairs)
    assert catalogue.reader().untrue(rows) == []
    for row in rows:
        words = " ".join([row["explanation"], *(reason["statement"] for reason in row["reasons"])])
        assert not re.search(r"\b(nan|none|inf)\b|[{}]", words, re.I)


def test_every_form_of_statement_is_met():
    met = set()
    for seed, kind in enumerate(CATALOGUES.values()):
        catalogue = Catalogue(seed, **kind)
        reader = catalogue.reader()
        rows = catalogue.rows("hybrid", *catalogue.pairs(2000))
        assert reader.untrue(rows) == []
        met |= reader.seen
    assert set(reader.forms) - met == set()


@pytest.mark.parametrize(
    ("statement", "spoilt"),
    [
        ("nearly the same tempo", {"tempo": 90.0}),
        ("both in", {"key_strength": 0.2}),
        ("both bright", {"spectral_centroid_mean": 700.0}),
        ("equally loud", {"rms_mean": 1.0}),
        ("both constant", {"mfcc_std": 99.0}),
        ("both at a steady", {"rms_std": 0.9}),
        ("in keys of the same notes", {"mode": 0.5}),
    ],
)
def test_what_is_false_is_found(statement, spoilt):
    catalogue = Catalogue()
    rows = catalogue.rows("features", *catalogue.pairs(3000))
    row = next(row for row in rows if any(r["statement"].startswith(statement) for r in row["reasons"]))
    reader = catalogue.reader()
    assert reader.untrue([row]) == []
    for name, value in spoilt.items():
        catalogue.columns[name][row["recommended_track_id"]] = value
    found = catalogue.reader().untrue([row])
    assert any(untrue.statement.startswith(statement) for untrue in found)


def test_a_sentence_that_nobody_can_read_is_false():
    catalogue = Catalogue()
    [row] = catalogue.rows("features", *catalogue.pairs(1))
    for words in (
        "Sounds alike: because I say so.",
        "Sounds alike: .",
        "",
        "Sounds alike: both great; but 3 dB louder.",
    ):
        assert catalogue.reader().untrue([row | {"explanation": words}])


# --- what else is promised ----------------------------------------------------------------------------------


def test_a_sentence_speaks_only_of_what_makes_the_score():
    catalogue = Catalogue()
    a, b, pairs = catalogue.pairs(500)
    for system in ("features", "spectrogram", "hybrid"):  # the score of a model has no parts
        sentences, reasons = explain(catalogue.explainer, system, pairs, catalogue.scores(system, a, b))
        for sentence, row in zip(sentences, reasons, strict=True):
            scored = [r for r in row if r["family"] != "catalogue"]
            usual = sum(max(r["contribution"], 0) for r in scored) / len(scored)
            light = [r["statement"] for r in scored if r["contribution"] < usual / 2 or r["contribution"] <= 0]
            assert not any(statement in sentence for statement in light)
            named = [r["family"] for r in row if r["statement"] in sentence]
            assert named.count("catalogue") < max(len(named), 2)  # never alone, and never two
            assert named.count("catalogue") <= 1


def test_a_model_s_list_tells_what_the_two_share_beside_its_score():
    catalogue = Catalogue()
    a, b, pairs = catalogue.pairs(500)
    scores = catalogue.scores("encoder", a, b)
    sentences, reasons = explain(catalogue.explainer, "encoder", pairs, scores)
    for score, row in zip(scores, reasons, strict=True):
        (of_model,) = [reason for reason in row if reason["family"] == "encoder"]
        assert of_model["contribution"] == score
        if not of_model["statement"].startswith("both tagged "):
            assert of_model["statement"] == ("" if score > 0 else "not ") + "alike to the model encoder"
        assert all(reason["contribution"] == 0 for reason in row if reason is not of_model)
    assert sum("(" in sentence for sentence in sentences) > 400  # a measured value, or how rare it is
    row = catalogue.rows("encoder", a[:1], b[:1], catalogue_pairs(catalogue, a[:1], b[:1]))[0]
    lie = row["reasons"][0] | {"family": "encoder", "statement": "alike to the model another"}
    assert catalogue.reader().untrue([row | {"reasons": [lie]}])


def test_of_a_model_s_tags_the_rare_ones_that_both_have_are_told():
    catalogue = Catalogue()
    common, sad, choir, harp = "vocals", "slow and sad", "choir", "harp"
    for row, tags in enumerate([[common, sad, choir], [sad, common, choir], [common, harp], [harp, choir, sad]]):
        catalogue.tags[row] = {"encoder": tags, "another": [harp, choir]}
    catalogue.encoder[:4] = 1
    a, b = np.array([0, 0, 2, 1]), np.array([1, 2, 3, 3])
    rows = catalogue.rows("encoder", a, b, catalogue_pairs(catalogue, a, b))
    told = [next(r["statement"] for r in row["reasons"] if r["family"] == "encoder") for row in rows]
    assert told == [
        "both tagged choir and slow and sad (by the model encoder)",  # the rarest first, and not what most have
        "alike to the model encoder",
        "both tagged harp (by the model encoder)",
        "both tagged choir and slow and sad (by the model encoder)",
    ]
    assert rows[2]["explanation"].startswith("Sounds alike: both tagged harp (by the model encoder)")
    assert catalogue.reader().untrue(rows) == []
    catalogue.tags[3] = {"encoder": [choir]}
    found = catalogue.reader().untrue(rows)
    assert {(one.track_id, one.recommended_track_id) for one in found} == {(2, 3), (1, 3)}
    assert any(one.statement == told[2] for one in found)


def catalogue_pairs(catalogue, a, b):
    return ListedPairs(catalogue.side(a), catalogue.side(b), catalogue.parts[a])


def test_tracks_without_attributes_get_no_statement_of_the_catalogue():
    catalogue = Catalogue()
    for values in catalogue.attributes.values():
        values[:] = np.nan
    a, b, pairs = catalogue.pairs(500)
    for system in SYSTEMS:
        sentences, reasons = explain(catalogue.explainer, system, pairs, catalogue.scores(system, a, b))
        assert not any("by the catalogue" in sentence for sentence in sentences)
        assert not any(reason["family"] == "catalogue" for row in reasons for reason in row)


def test_what_is_typical_of_the_catalogue_is_no_reason():
    catalogue = Catalogue()
    catalogue.columns["key"][:], catalogue.columns["mode"][:], catalogue.columns["key_strength"][:] = 9, 0, 0.9
    catalogue.columns["tempo"] = np.where(np.arange(catalogue.n) % 10 < 9, 120.0, 80.0)
    rows = catalogue.rows("hybrid", *catalogue.pairs(1000))
    assert catalogue.reader().untrue(rows) == []
    said = [row["explanation"] for row in rows]
    assert not any("A minor" in sentence or "120 and 120 BPM" in sentence for sentence in said)
    assert any("80 and 80 BPM" in sentence for sentence in said)


def test_the_rarest_of_what_is_true_comes_first():
    catalogue = Catalogue()
    usual = np.sort(catalogue.columns["spectral_flatness_mean"])[catalogue.n * 3 // 4]
    catalogue.columns["spectral_flatness_mean"][:2] = usual
    catalogue.columns["onset_strength_mean"][:2] = 99.0
    catalogue.features[:2] = 1.0
    a, b = np.array([0]), np.array([1])
    [row] = catalogue.rows("features", a, b, ListedPairs(catalogue.side(a), catalogue.side(b), catalogue.parts[a]))
    assert row["explanation"].startswith("Sounds alike: both lively (stronger attacks than ")


def test_only_what_is_similar_is_said_to_sound_alike():
    catalogue = Catalogue()
    reader = catalogue.reader()
    for system in SYSTEMS:
        for row in catalogue.rows(system, *catalogue.pairs(500)):
            alike = row["explanation"].startswith(("Sounds alike", "Among the closest"))
            assert alike == (row["score"] > 0)
            assert reader.untrue([row | {"score": -row["score"]}])


def test_what_is_not_known_is_above_and_below_nothing():
    catalogue = Catalogue()
    for values in catalogue.attributes.values():
        values[:2] = np.nan
    reader = catalogue.reader()
    for word in ("more", "less"):
        assert not reader.is_true(f"both {word} energetic by the catalogue than 7 in 10 tracks", 0, 1)


def test_a_track_that_the_tables_do_not_know_makes_a_row_untrue():
    catalogue = Catalogue()
    [row] = catalogue.rows("features", *catalogue.pairs(1))
    assert catalogue.reader().untrue([row | {"recommended_track_id": "gone"}])


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_region_that_one_track_lacks_is_not_compared(system):
    catalogue = Catalogue()
    catalogue.levels[::2, 5] = np.nan  # as where the files' own sample rates differ
    rows = catalogue.rows(system, *catalogue.pairs(400))
    assert catalogue.reader().untrue(rows) == []
    for row in rows:
        tracks = [row["track_id"], row["recommended_track_id"]]
        told = "treble (above" in row["explanation"] and "reach" not in row["explanation"]
        assert not told or np.isfinite(catalogue.levels[tracks, 5]).all()


@pytest.mark.parametrize("system", SYSTEMS)
def test_explaining_is_deterministic_and_row_by_row(catalogue, system):
    a, b, pairs = catalogue.pairs(60)
    scores = catalogue.scores(system, a, b)
    sentences, reasons = explain(catalogue.explainer, system, pairs, scores)
    assert explain(catalogue.explainer, system, pairs, scores) == (sentences, reasons)
    for k in range(0, 60, 7):
        rows = slice(k, k + 1)
        alone = ListedPairs(catalogue.side(a[rows]), catalogue.side(b[rows]), catalogue.parts[a[rows]])
        sentence, (row,) = explain(catalogue.explainer, system, alone, scores[rows])
        assert sentence == sentences[rows]
        assert [r["statement"] for r in row] == [r["statement"] for r in reasons[k]]
        for one, other in zip(row, reasons[k], strict=True):
            assert one["contribution"] == pytest.approx(other["contribution"], abs=1e-12)


def test_what_it_needs_is_declared():
    assert {name for name, _ in LAYOUT} >= set(statistics.COLUMNS) - {"key", "mode", "key_strength"}
    assert set(truth.FEATURES) == set(statistics.COLUMNS)
    assert set(truth.ATTRIBUTES) == set(ATTRIBUTES)


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_no_vector_has_no_part(parts):
    none = np.zeros((0, len(FAMILY_OF)))
    assert parts.part(0, none, np.zeros((0, len(parts.names) * len(FAMILY_OF)))).shape == none.shape
