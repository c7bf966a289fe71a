"""Each fact holds just where its definition says, no more and no less: against plain loops, at the bounds too."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from specrec.embedding.spectrogram import REGIONS
from specrec.embedding.statistics import ATTRIBUTES, LEVELS, MEASURES
from specrec.recommend import facts
from specrec.recommend.facts import Fact, Trait, Usual
from specrec.recommend.pairs import ListedPairs, Side

PERCENT = np.arange(101.0)  # of a measure whose value is its rank in the catalogue, 0 to 100
STATISTICS = dict.fromkeys([*MEASURES, *LEVELS, *ATTRIBUTES], PERCENT) | {"keys": np.arange(24) / 276}


def side(n, levels=None, tags=None, **values):
    """Tracks of which all that is not given is usual."""
    measures = {name: np.full(n, 50.0) for name in (*MEASURES, "key", "mode")}
    attributes = {name: np.full(n, np.nan) for name in ATTRIBUTES}
    for name, of in values.items():
        (attributes if name in ATTRIBUTES else measures)[name] = np.asarray(of, np.float64)
    levels = np.full((n, len(REGIONS)), 50.0) if levels is None else np.asarray(levels, np.float64)
    return Side({}, levels, measures, attributes, [{}] * n if tags is None else tags)


def pairs_with(a, b):
    """Pairs of which both sides are given as :func:`side` takes them."""
    n = len(next(iter(a.values())))
    return ListedPairs(side(n, **a), side(n, **b), np.zeros((n, len(REGIONS), 1), np.float32))


def grid(name, values):
    """Pairs of each value with each."""
    a, b = (axis.ravel() for axis in np.meshgrid(values, values))
    return a, b, pairs_with({name: a}, {name: b})


def named(found, phrase):
    return [fact for fact in found if fact.phrase == phrase]


def of_family(name, pairs, statistics=STATISTICS):
    (trait,) = facts.families([name], pairs, Usual(statistics))
    return trait.facts


# --- how rare --------------------------------------------------------------------------------------------------


def test_a_rank_is_told_in_the_largest_step_that_both_surpass():
    a, b = (axis.ravel() for axis in np.meshgrid([*np.arange(0, 101, 0.5), np.nan], [1, 29.5, 80, 99.5, np.nan]))
    steps = [(7, 10), (8, 10), (9, 10), (19, 20), (49, 50), (99, 100)]
    high, low = Usual(STATISTICS).ranked("tempo", (a, b), "rhythm.busy", "rhythm.sustained", also="said")
    assert (high.phrase, low.phrase, high.feature, low.feature) == (
        "rhythm.busy",
        "rhythm.sustained",
        "tempo",
        "tempo",
    )
    for fact, sign in ((high, 1), (low, -1)):
        np.testing.assert_array_equal(fact.a, a)
        np.testing.assert_array_equal(fact.b, b)
        assert fact.words["also"] == "said"
        for i, values in enumerate(zip(a, b, strict=True)):
            # of a hundred other tracks, so many lie surely below (or above)
            beaten = min(max(np.sum(sign * PERCENT < sign * value) - 1, 0) for value in values)
            reached = [(n, m) for n, m in steps if Fraction(int(beaten), 100) >= Fraction(n, m)]
            assert fact.holds[i] == (bool(reached) and not np.isnan(values).any())
            if fact.holds[i]:
                assert (fact.words["n"][i], fact.words["m"][i]) == reached[-1]
                assert fact.chance[i] == pytest.approx(1 - reached[-1][0] / reached[-1][1])


def test_what_lies_between_has_the_chance_of_the_catalogues_share_there():
    a, b = np.array([10.0, 10, 10, 10, 10]), np.array([7.9, 8, 10, 12, 12.1])
    fact = Usual(STATISTICS).between("tempo", (a, b), a - 2, a + 2, "rhythm.same_tempo")
    assert fact.holds.tolist() == [False, True, True, True, False]
    assert fact.chance.tolist() == [pytest.approx(5 / 101)] * 5
    assert (fact.phrase, fact.feature, fact.a is a, fact.b is b) == ("rhythm.same_tempo", "tempo", True, True)


def test_ranks_are_shares_of_the_catalogue():
    found = Usual(STATISTICS).ranks("tempo", (np.array([0.0, 50, 100]), np.array([25.5, 75.5, -1])))
    np.testing.assert_allclose(found, [[0.005, 0.5, 0.995], [0.255, 0.755, 0]], atol=0.006)


def test_the_rarest_fact_that_holds_is_told():
    nothing = np.zeros(3)

    def fact(holds, chance):
        return Fact("region.close", "tempo", nothing, nothing, np.array(holds), np.array(chance))

    trait = Trait(
        "t", "t", [fact([True, True, False], [0.5, 0.2, 0.1]), fact([True, True, False], [0.4, 0.3, 0.1])]
    )
    best, chance = trait.rarest()
    assert (best.tolist(), chance.tolist()) == ([1, 0, 0], [0.4, 0.2, np.inf])


def test_a_statement_names_its_values():
    fact = Fact(
        "harmony.same_notes",
        "key",
        np.array([1.0, 2]),
        np.array([3.0, 4]),
        np.zeros(2, bool),
        np.ones(2),
        {"key": np.array(["C major", "D minor"], object), "other": "all"},
    )
    assert fact.told(np.array([1, 0])) == [
        "in keys of the same notes (D minor and all)",
        "in keys of the same notes (C major and all)",
    ]


# --- families --------------------------------------------------------------------------------------------------

SCALE = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10))  # major, natural minor


def test_keys_are_the_same_or_have_the_same_notes_where_both_are_sure():
    keys = [(tonic, mode) for mode in (1, 0) for tonic in range(12)]
    rows = [(one, other, sure) for one in keys for other in keys for sure in ((0.6, 0.6), (0.59, 1), (1, 0.59))]
    a, b = ({"key": [], "mode": [], "key_strength": []} for _ in range(2))
    for one, other, sure in rows:
        for of, (tonic, mode), strength in ((a, one, sure[0]), (b, other, sure[1])):
            of["key"].append(tonic)
            of["mode"].append(mode)
            of["key_strength"].append(strength)
    found = of_family("harmony", pairs_with(a, b))
    ((same,), (notes,)) = named(found, "harmony.same_key"), named(found, "harmony.same_notes")
    for i, (one, other, sure) in enumerate(rows):
        both = [{(tonic + step) % 12 for step in SCALE[0 if mode else 1]} for tonic, mode in (one, other)]
        is_sure = min(sure) >= 0.6
        assert same.holds[i] == (one == other and is_sure)
        assert notes.holds[i] == (one != other and both[0] == both[1] and is_sure)
        if same.holds[i]:
            assert same.chance[i] == STATISTICS["keys"][keys.index(one)]
        if notes.holds[i]:
            assert notes.chance[i] == STATISTICS["keys"][keys.index(other)]
    assert notes.told(np.array([3 * keys.index((9, 0))])) == ["in keys of the same notes (C major and A minor)"]
    assert found[-1].phrase == "harmony.values"
    assert found[-1].holds.all()
    assert (found[-1].chance == 1).all()


def test_tempos_are_the_same_or_double_within_four_per_cent():
    a, b, pairs = grid("tempo", [0.0, 0.9, 60, 62.3, 62.5, 115, 115.5, 120, 124, 124.7, 125, 240, 249, 250])
    found = of_family("rhythm", pairs)
    (same,), double, (none,) = (named(found, f"rhythm.{of}") for of in ("same_tempo", "double_tempo", "no_tempo"))
    beat = (a > 0) & (b > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        octaves = np.log2(b / a)
    close = np.log2(1.04)
    np.testing.assert_array_equal(none.holds, ~beat)
    assert (none.chance == 0.9).all()
    np.testing.assert_array_equal(same.holds, beat & (np.abs(octaves) < close))
    np.testing.assert_array_equal(double[0].holds | double[1].holds, beat & (np.abs(np.abs(octaves) - 1) < close))
    row = int(np.flatnonzero((a == 60) & (b == 60))[0])
    assert same.chance[row] == pytest.approx(5 / 101)  # 57.7 to 62.4: 58 to 62
    assert {fact.chance[row].round(6) for fact in double} == {round(3 / 101, 6), 0.0}  # 29 to 31; none near 120


@pytest.mark.parametrize(
    ("family", "phrase", "measure", "near"),
    [
        ("dynamics", "dynamics.close", "rms_mean", lambda a: (a - 1.5, a + 1.5)),
        ("brightness", "brightness.close", "spectral_centroid_mean", lambda a: (a / 2**0.15, a * 2**0.15)),
    ],
)
def test_what_is_equally_loud_or_bright_is_close(family, phrase, measure, near):
    a, b, pairs = grid(measure, [1.0, 9, 10, 10.5, 11, 11.09, 11.11, 11.5, 11.51, 80])
    (fact,) = named(of_family(family, pairs), phrase)
    low, high = near(a)
    np.testing.assert_array_equal(fact.holds, (low <= b) & (b <= high))
    inside = [sum(x <= at <= y for at in PERCENT) for x, y in zip(low, high, strict=True)]
    np.testing.assert_allclose(fact.chance, np.array(inside) / 101)


def test_bright_tracks_are_dense_where_both_have_more_of_both_upper_regions():
    presence, brilliance = (LEVELS.index(f"level_{name}") for name in ("presence", "brilliance"))
    rng = np.random.default_rng(0)
    centroids, levels = rng.choice([5.0, 50, 95], (2, 9000)), rng.choice([20.0, 50, 80, np.nan], (2, 9000, 6))
    a, b = ({"spectral_centroid_mean": centroids[i], "levels": levels[i]} for i in range(2))
    found = of_family("brightness", pairs_with(a, b))
    upper = levels[:, :, [presence, brilliance]]
    high, low = (centroids == 95).all(axis=0), (centroids == 5).all(axis=0)
    for phrase, holds in (
        ("high", high),
        ("low", low),
        ("dense", high & (upper == 80).all(axis=(0, 2))),
        ("sparse", low & (upper == 20).all(axis=(0, 2))),
    ):
        (fact,) = named(found, f"brightness.{phrase}")
        np.testing.assert_array_equal(fact.holds, holds)
        assert holds.any()
    unknown = {name: of for name, of in STATISTICS.items() if name not in LEVELS}
    for phrase in ("dense", "sparse"):  # what is usual is not known
        (fact,) = named(of_family("brightness", pairs_with(a, b), unknown), f"brightness.{phrase}")
        assert not fact.holds.any()


def test_each_family_speaks_of_its_measures_and_always_has_something_to_say():
    measures = {
        "timbre": ["spectral_contrast"] * 2 + ["mfcc_variation"] * 2 + ["spectral_contrast"],
        "brightness": ["spectral_centroid_mean"] * 5 + ["spectral_bandwidth_mean"] * 2 + ["spectral_centroid_mean"],
        "harmony": ["key"] * 2 + ["key_strength"] * 2 + ["key"],
        "rhythm": ["tempo"] * 4 + ["onset_strength_mean"] * 2 + ["tempo"],
        "dynamics": ["rms_mean"] * 3 + ["rms_variation"] * 2 + ["rms_mean"],
        "noisiness": ["spectral_flatness_mean"] * 3,
    }
    rng = np.random.default_rng(0)
    values = [{name: rng.integers(1, 12, 3) for name in (*MEASURES, "key")} for _ in range(2)]
    pairs = pairs_with(*values)
    for trait in facts.families(list(measures), pairs, Usual(STATISTICS)):
        assert [fact.feature for fact in trait.facts] == measures[trait.name]
        assert trait.facts[-1].phrase == f"{trait.name}.values"
        assert trait.facts[-1].holds.all()
        assert (trait.facts[-1].chance == 1).all()
        assert trait.group == ("treble" if trait.name == "brightness" else trait.name)
        assert trait.strongest.startswith("in ")
        for fact in trait.facts:
            np.testing.assert_array_equal(fact.a, values[0][fact.feature])
            np.testing.assert_array_equal(fact.b, values[1][fact.feature])
            told = fact.told(np.arange(3))  # each has its words
            assert len(told) == 3
            assert not any("{" in words for words in told)


# --- regions, models, attributes -------------------------------------------------------------------------------


def test_regions_are_compared_where_both_have_them():
    levels = np.array([[np.nan, 10, 10, 90, 50, 50]] * 4), np.array([[1, 11.5, 11.6, 95, np.nan, 50]] * 4)
    levels[1][1, 1] = 9
    pairs = pairs_with({"levels": levels[0]}, {"levels": levels[1]})
    traits = facts.regions(pairs, Usual({n: of for n, of in STATISTICS.items() if n != LEVELS[5]}))
    assert [trait.name for trait in traits] == [region.name for region in REGIONS]
    assert [trait.group for trait in traits] == ["bass", "bass", "low_mids", "mids", "treble", "treble"]
    said = [{fact.phrase.partition(".")[2] for fact in trait.facts if fact.holds.all()} for trait in traits]
    assert said == [
        {"missing", "values"},
        {"close", "values", "low"},
        {"values", "low"},
        {"values", "high"},
        {"missing", "values"},
        {"values"},
    ]
    for i, trait in enumerate(traits):
        assert {fact.feature for fact in trait.facts} == {LEVELS[i]}
        assert len(trait.facts) == (2 if i == 5 else 5)  # nothing is known of the last
        assert (trait.facts[0].chance == 0.9).all()
    (close,) = named(traits[1].facts, "region.close")
    np.testing.assert_allclose(close.chance, 3 / 101)  # 9, 10 and 11 of the catalogue's percentiles
    assert close.told(np.array([0])) == [
        "equally strong in the bass (60–250 Hz; +10.0 and +11.5 dB against their means)"
    ]


def test_a_models_tags_are_told_rarest_first_two_at_most_and_no_long_ones():
    shares = {
        "rare": 0.05,
        "rarer": 0.04,
        "also rare": 0.05,
        "usual": 0.31,
        "half": 0.3,
        "x" * 40: 0.2,
        "y" * 41: 0.01,
    }
    usual = Usual(STATISTICS | {f"tag model {tag}": np.asarray(share) for tag, share in shares.items()})
    both = [["rare", "rarer", "also rare"], ["usual"], ["half", "x" * 40], ["y" * 41], ["rare", "unknown"], []]
    tags = [{"model": names, "another": ["rare"]} for names in both]
    cosines = np.array([0.5, 0.0, -0.5, 1e-9, 1, -1e-9])
    pairs = pairs_with({"tags": tags}, {"tags": tags})
    trait = facts.model("model", pairs, cosines, usual)
    told, alike, unlike = trait.facts
    assert told.words["tags"].tolist() == ["rarer and also rare", "", "x" * 40 + " and half", "", "rare", ""]
    assert told.holds.tolist() == [True, False, True, False, True, False]
    assert told.chance.tolist() == [0.04, np.inf, 0.2, np.inf, 0.05, np.inf]
    assert alike.holds.tolist() == [True, False, False, True, True, False]
    assert unlike.holds.tolist() == [False, True, True, False, False, True]
    assert (alike.phrase, unlike.phrase) == ("model.alike", "model.unlike")
    assert (trait.name, trait.group, trait.strongest) == ("model", "model", "in what the model model hears")
    for fact in trait.facts:
        assert np.isnan([fact.a, fact.b]).all()
    other = facts.model("model", pairs_with({"tags": tags}, {"tags": tags[::-1]}), cosines, usual)
    assert not other.facts[0].holds.any()


RULES = [
    ("energy", "energy_high", 0.7, 1, "spectral_centroid_mean", 1),
    ("energy", "energy_low", 0.3, -1, "spectral_centroid_mean", -1),
    ("acousticness", "acousticness_high", 0.8, 1, "spectral_flatness_mean", -1),
    ("valence", "valence_high", 0.7, 1, None, 0),
    ("valence", "valence_low", 0.3, -1, "spectral_centroid_mean", -1),
    ("danceability", "danceability_high", 0.7, 1, None, 0),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule[1])
def test_an_attribute_is_high_or_low_beyond_its_bound_and_may_be_heard(rule):
    name, phrase, bound, sign, heard_in, heard = rule
    rng = np.random.default_rng(0)
    values = bound + rng.choice([-0.1, 0.0, 0.01, 0.1, np.nan], (2, 4000))
    measured = rng.choice([2.0, 28, 29, 71, 72, 95], (2, 4000))
    levels = rng.choice([20.0, 80], (2, 4000))[..., None] * np.ones(len(REGIONS))
    sides = [
        {name: values[i], "levels": levels[i]} | ({heard_in: measured[i]} if heard_in else {}) for i in range(2)
    ]
    statistics = STATISTICS | dict.fromkeys(ATTRIBUTES, np.linspace(0, 1, 101))
    traits = facts.attributes(pairs_with(*sides), Usual(statistics))
    (trait,) = [trait for trait in traits if trait.facts[0].feature == name]
    assert (trait.name, trait.group) == ("catalogue", name)
    (plain,) = named(trait.facts, f"catalogue.{phrase}")
    beyond = (sign * values > sign * bound).all(axis=0)
    np.testing.assert_array_equal(plain.holds, beyond)
    share = np.mean(sign * np.linspace(0, 1, 101) >= sign * bound)
    np.testing.assert_allclose(plain.chance, share, atol=0.011)
    confirmed = named(trait.facts, f"catalogue.{phrase}_heard")
    assert len(confirmed) == bool(heard_in)
    for fact in confirmed:
        # more than 70 of a hundred other tracks lie below (or above) both
        beaten = [[np.sum(heard * PERCENT < heard * value) - 1 for value in of] for of in measured]
        is_heard = np.min(beaten, axis=0) > 70
        if name == "energy":
            is_heard &= (levels[:, :, 0] == (80 if heard > 0 else 20)).all(axis=0)
        np.testing.assert_array_equal(fact.holds, beyond & is_heard)
        assert fact.holds.any()
        np.testing.assert_allclose(fact.chance, np.minimum(plain.chance, 0.3))
        assert trait.facts.index(fact) < trait.facts.index(plain)


# --- differences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "group", "more", "less"),
    [
        ("rms_mean", "dynamics", "louder", "quieter"),
        ("tempo", "rhythm", "faster", "slower"),
        ("spectral_centroid_mean", "treble", "brighter", "darker"),
        ("onset_strength_mean", "rhythm", "busier", "calmer"),
        ("spectral_flatness_mean", "noisiness", "noisier", "smoother"),
    ],
)
def test_tracks_differ_where_they_are_far_apart_and_one_would_hear_it(measure, group, more, less):
    # seven in ten between 10 and 15: there 2.9 dB are far apart in the order
    quantiles = np.concatenate([np.linspace(10, 15, 71), np.linspace(16, 60, 15), np.linspace(61, 400, 15)])
    a, b, pairs = grid(measure, [0.0, 10, 11, 12.9, 13, 14, 16, 25, 25.5, 26, 27, 28.1, 31, 36, 43, 60, 90, 120])
    found = facts.differences(pairs, Usual(STATISTICS | {measure: quantiles}))
    assert len(found) == 10
    assert len({(one.fact.feature, one.fact.phrase) for one in found}) == 10
    above, below = (one for one in found if one.fact.feature == measure)
    assert (above.fact.phrase, below.fact.phrase) == (f"difference.{more}", f"difference.{less}")
    assert above.group == below.group == group

    def rank(value):  # half of what equals it counts
        return (
            np.clip(np.sum(quantiles < value) - 1, 0, 100) + 100 - np.clip(np.sum(quantiles > value) - 1, 0, 100)
        ) / 200

    far = np.array([abs(rank(x) - rank(y)) for x, y in zip(a, b, strict=True)])
    known = (a > 0) & (b > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        octaves = np.where(known, np.abs(np.log2(b / a)), 0)
    clear = {
        "rms_mean": np.abs(a - b) >= 3,
        "tempo": known & (octaves >= 0.25) & ((octaves < 0.75) | (octaves > 1.25)),
        "spectral_centroid_mean": octaves >= 0.3,
    }.get(measure, a > -1)
    for one, holds in ((above, b > a), (below, b < a)):
        np.testing.assert_array_equal(one.fact.holds, clear & (far >= 0.3) & holds)
        np.testing.assert_allclose(one.distance, far, atol=1e-12)
        np.testing.assert_allclose(one.fact.chance, 1 - far, atol=1e-12)
        np.testing.assert_array_equal(one.fact.words["d"], np.abs(b - a))
        assert one.fact.holds.any()
