"""Whether explanations are true: each sentence is read again, as a person would, and compared with the tables.

This knows the English of ``phrases.yaml`` and the tables, and nothing of the code that chose the words: what it
holds for true was derived twice. A sentence that it cannot read counts as false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from specrec.arrays import Int64Array

#: Columns of ``audio_features`` that sentences speak of.
FEATURES = (
    "tempo", "key", "mode", "key_strength", "onset_strength_mean", "spectral_centroid_mean",
    "spectral_bandwidth_mean", "rms_mean", "rms_std", "spectral_flatness_mean", "spectral_contrast_mean",
    "mfcc_std",
)  # fmt: skip
ATTRIBUTES = ("energy", "acousticness", "valence", "danceability")

_KEYS = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_REGIONS = {
    "the sub-bass (below 60 Hz": 0,
    "the bass (60–250 Hz": 1,
    "the low mids (250–500 Hz": 2,
    "the mids (500 Hz–2 kHz": 3,
    "the upper mids (2–6 kHz": 4,
    "the treble (above 6 kHz": 5,
}
_STRONGEST = {
    "tone colour": "timbre", "brightness": "brightness", "harmony": "harmony", "rhythm": "rhythm",
    "loudness": "dynamics", "texture": "noisiness", "the sub-bass": "sub_bass", "the bass": "bass",
    "who likes them": "listeners",
    "the low mids": "low_mids", "the mids": "mids", "the upper mids": "presence", "the treble": "brilliance",
}  # fmt: skip
#: What an attribute's statement says is heard: which measure is high (or low), and of which regions there is much
#: (or little).
_HEARD = {
    "bright, dense upper frequencies": ("centre", +1, (4, 5)),
    "dark, sparse upper frequencies": ("centre", -1, (4, 5)),
    "dull in sound": ("centre", -1, ()),
    "smooth in texture": ("noise", -1, ()),
}
_MAJOR = 1
_LONGEST = 200

Values = Mapping[str, float]
Check = Callable[[Values, Values, Sequence[str]], bool]


def values_of(
    features: pd.DataFrame,
    levels: pd.DataFrame,
    attributes: pd.DataFrame,
    tags: pd.DataFrame,
    listeners: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return what sentences may speak of, one row a track, by track_id, in the units of the sentences.

    Parameters
    ----------
    features : DataFrame
        ``track_id`` and :data:`FEATURES`, of the table ``audio_features``.
    levels : DataFrame
        ``track_id`` and ``levels``, of the space ``spectrogram``.
    attributes : DataFrame
        ``track_id`` and :data:`ATTRIBUTES`, of the table ``tracks``.
    tags : DataFrame
        ``track_id``, ``space`` and ``tags``, of ``embeddings``; null where a space has none.
    listeners : DataFrame or None
        ``track_id`` and ``liked``, of ``track_listeners``; of other tracks it is not known that anybody likes them.
        None: nothing is told of listeners.
    """
    rows = features.set_index("track_id")
    found = pd.DataFrame(
        {
            "tempo": rows["tempo"],
            "key": rows["key"],
            "mode": rows["mode"],
            "key strength": rows["key_strength"],
            "attacks": rows["onset_strength_mean"],
            "centre": rows["spectral_centroid_mean"] / 1e3,
            "width": rows["spectral_bandwidth_mean"],
            "loudness": 20 * np.log10(rows["rms_mean"].astype(float).clip(lower=1e-6)),
            "swing": rows["rms_std"] / rows["rms_mean"].clip(lower=1e-6),
            "noise": rows["spectral_flatness_mean"],
            "contrast": rows["spectral_contrast_mean"].map(lambda bands: float(np.mean(bands, dtype=np.float64))),
            "change": rows["mfcc_std"].map(lambda sd: float(np.mean(sd[1:], dtype=np.float64))),
        }
    )
    of_regions = levels.set_index("track_id")["levels"]
    for region in range(len(_REGIONS)):
        found[f"region {region}"] = of_regions.map(lambda row, region=region: row[region])
    by_tag: dict[str, dict[str, float]] = {}
    for track_id, model, own in tags[["track_id", "space", "tags"]].itertuples(index=False):
        for tag in () if own is None else own:
            by_tag.setdefault(f"{tag['name']} by {model}", {})[track_id] = tag["score"]
    if listeners is not None:
        found["liked"] = listeners.set_index("track_id")["liked"].reindex(found.index).fillna(0)
    of_tags = [pd.Series(by_track, name=name) for name, by_track in by_tag.items()]
    found = found.join(attributes.set_index("track_id")[list(ATTRIBUTES)])
    return pd.concat([found, *(of.reindex(found.index) for of in of_tags)], axis=1).astype(float)


@dataclass(frozen=True)
class Untrue:
    """A statement that the tables do not bear out."""

    track_id: str
    recommended_track_id: str
    statement: str


class TruthChecker:
    """Reads sentences about tracks again, and checks them against what the tables say.

    Parameters
    ----------
    tracks : DataFrame
        What :func:`values_of` returned of the tracks that are spoken of.
    catalogue : DataFrame
        What :func:`values_of` returned of the catalogue, or of a sample of it: shares of tracks are taken of these.
    slack : float
        By how much a share may be off, such as 0.02 where `catalogue` is a sample of some thousand.
    both : mapping of int
        How many people like both of two tracks, by their ids, in either order; of ``also_liked``.
    """

    def __init__(
        self,
        tracks: pd.DataFrame,
        catalogue: pd.DataFrame,
        slack: float = 0.0,
        both: Mapping[tuple[Any, Any], int] | None = None,
    ) -> None:
        self._both = both or {}
        self._tracks: dict[Any, dict[str, float]] = tracks.to_dict("index")
        self._sorted = {name: np.sort(values[values.notna()].to_numpy()) for name, values in catalogue.items()}
        self._slack = slack
        self.seen: set[str] = set()
        share, pair = r"(\d+) in (\d+) tracks", r"\(([+-]?[\d.]+) and ([+-]?[\d.]+) (?:BPM|dB|kHz)\)"
        region, key = "(" + "|".join(map(re.escape, _REGIONS)) + ")", r"(\S+ (?:major|minor))"
        said = r"([\d.]+) and ([\d.]+)"
        levels = r"([+-][\d.]+) and ([+-][\d.]+) dB against their means"
        forms: dict[str, Check] = {
            rf"nearly the same tempo {pair}": self._tempo_ratio(1),
            rf"one at double the other's tempo {pair}": self._tempo_ratio(2),
            rf"both lively \(stronger attacks than {share}\)": self._rank("attacks", +1),
            rf"both calm and sustained \(softer attacks than {share}\)": self._rank("attacks", -1),
            r"no steady beat in at least one of them": lambda a, b, _: min(a["tempo"], b["tempo"]) == 0,
            r"tempo of (\d+) and (\d+) BPM": self._values("tempo"),
            rf"both in {key}": self._keys(same_notes=False),
            rf"in keys of the same notes \({key} and {key}\)": self._keys(same_notes=True),
            rf"keys of {key} and {key}, as far as can be told": self._named_keys,
            rf"both firmly in one key \(more so than {share}\)": self._rank("key strength", +1),
            rf"both without a clear key \(less clear than {share}\)": self._rank("key strength", -1),
            rf"both bright, with dense upper frequencies \(brighter than {share}\)": self._upper(+1),
            rf"both dark, with sparse upper frequencies \(darker than {share}\)": self._upper(-1),
            rf"both bright \(brighter than {share}\)": self._rank("centre", +1),
            rf"both dark \(darker than {share}\)": self._rank("centre", -1),
            r"equally bright \(centred at ([\d.]+) and ([\d.]+) kHz\)": self._equally_bright,
            r"centred at ([\d.]+) and ([\d.]+) kHz": self._values("centre"),
            rf"both spread wide from low to high \(wider than {share}\)": self._rank("width", +1),
            rf"both narrow in range \(narrower than {share}\)": self._rank("width", -1),
            rf"both loud \((-?\d+) and (-?\d+) dB, louder than {share}\)": self._shown_rank("loudness", +1),
            rf"both quiet \((-?\d+) and (-?\d+) dB, quieter than {share}\)": self._shown_rank("loudness", -1),
            rf"equally loud {pair}": self._close("loudness", 1.5),
            rf"both rising and falling in loudness \(more than {share}\)": self._rank("swing", +1),
            rf"both at a steady loudness \(steadier than {share}\)": self._rank("swing", -1),
            r"loudness of (-?\d+) and (-?\d+) dB": self._values("loudness"),
            rf"both noisy in texture \(noisier than {share}\)": self._rank("noise", +1),
            rf"both smooth in texture \(clearer in tone than {share}\)": self._rank("noise", -1),
            r"noisiness of ([\d.]+) and ([\d.]+) \(0: pure tone, 1: noise\)": self._values("noise"),
            rf"both transparent \(tones stand out more than in {share}\)": self._rank("contrast", +1),
            rf"both thick and blended \(tones stand out less than in {share}\)": self._rank("contrast", -1),
            rf"both changing in tone colour \(more than {share}\)": self._rank("change", +1),
            rf"both constant in tone colour \(more so than {share}\)": self._rank("change", -1),
            r"tones standing out by (-?\d+) and (-?\d+) dB": self._values("contrast"),
            rf"both weighted towards {region}; more than {share}\)": self._of_region(lambda n: self._rank(n, +1)),
            rf"both light on {region}; lighter than {share}\)": self._of_region(lambda n: self._rank(n, -1)),
            rf"equally strong in {region}; {levels}\)": self._of_region(lambda n: self._close(n, 1.5)),
            rf"at least one does not reach {region}\)": self._of_region(_is_missing),
            rf"in {region}\), {levels}": self._of_region(self._values),
            rf"both (high-energy|low-energy|acoustic|happy in mood|sad in mood|danceable) by the catalogue "
            rf"\({said}(?:; ({'|'.join(_HEARD)}))?\)": self._attribute,
            r"both (more|less) (energetic|acoustic|danceable) by the catalogue than (\d+) in (\d+) tracks":
            lambda a, b, w: self._attribute_rank(a, b, w[1], w[0] == "more", w[2:]),
            r"both (happier|sadder) in mood by the catalogue than (\d+) in (\d+) tracks":
            lambda a, b, w: self._attribute_rank(a, b, "happy", w[0] == "happier", w[1:]),
            r"both tagged ((?:(?! \(by the model ).)+) \(by the model (\w+)\)": _tagged,
        }  # fmt: skip
        differences: dict[str, Check] = {
            r"(\d+) dB (louder|quieter)": _louder,
            r"(faster|slower) \((\d+) against (\d+) BPM\)": self._against("tempo", "faster"),
            r"(brighter|darker) \(centred at ([\d.]+) against ([\d.]+) kHz\)": self._against("centre", "brighter"),
            r"(livelier|calmer), with (?:stronger|softer) attacks": self._against("attacks", "livelier"),
            r"(noisier|smoother) in texture": self._against("noise", "noisier"),
        }
        self._forms = [(re.compile(form), check) for form, check in forms.items()]
        self._differences = [(re.compile(form), check) for form, check in differences.items()]

    @property
    def forms(self) -> list[str]:
        """All that can be read, as patterns; what was read so far is in `seen`."""
        return [form.pattern for form, _ in (*self._forms, *self._differences)]

    def knows(self, *tracks: str) -> bool:
        """Tell whether tracks are among those that may be spoken of."""
        return set(tracks) <= self._tracks.keys()

    def untrue(self, rows: Iterable[Mapping[str, Any]]) -> list[Untrue]:
        """Return the sentences and statements of rows of ``recommendations`` that are not true."""
        found = []
        for row in rows:
            track, recommended = row["track_id"], row["recommended_track_id"]
            if not self.knows(track, recommended):
                found.append(Untrue(track, recommended, "a track that the tables do not know"))
                continue
            parts = {reason["family"]: reason["contribution"] for reason in row["reasons"]}
            statements = [reason["statement"] for reason in row["reasons"]]
            false = [
                words
                for words in statements
                if not (
                    self.is_true(words, track, recommended)
                    or _model_agrees(words, parts)
                    or self._is_true_of_listeners(words, track, recommended, parts)
                )
            ]
            if not self.sentence_is_true(row["explanation"], track, recommended, parts, row["score"]):
                false.append(row["explanation"])
            found += [Untrue(track, recommended, words) for words in false]
        return found

    def is_true(self, statement: str, track: str, recommended: str) -> bool:
        """Tell whether a statement is true of a track and the one that is recommended to it."""
        return self._read(self._forms, statement, track, recommended)

    def sentence_is_true(
        self, sentence: str, track: str, recommended: str, parts: Mapping[str, float], score: float
    ) -> bool:
        """Tell whether every statement of a sentence is true, and what it says of the pair as a whole.

        Parameters
        ----------
        parts : mapping of float
            The contributions to the score, by family or region.
        """
        if len(sentence) >= _LONGEST:
            return False
        if sentence == "The nearest that this catalogue has, and not alike.":
            return score <= 0
        if of_listeners := re.fullmatch(r"By who likes them: (.*)\.", sentence):
            return self._is_true_of_listeners(of_listeners[1], track, recommended, parts)
        reasons = r"(Sounds alike|The nearest that this catalogue has): (.*?)(?:; but (.*))?\."
        closest = r"(Among the closest in overall sound), (?:and )?in (.*?) above all(?:, but (.*))?\."
        found = re.fullmatch(reasons, sentence) or re.fullmatch(closest, sentence)
        if not found:
            return False
        if found[1].startswith("Among"):
            scored = {family: part for family, part in parts.items() if family != "catalogue"}
            by_model = re.fullmatch(r"what the model (\w+) hears", found[2])
            strongest = by_model[1] if by_model else _STRONGEST.get(found[2], "")
            greatest = max(scored.values(), default=0.0)
            true = scored.get(strongest) == greatest and greatest > 0
        else:
            pieces = self._split(found[2])
            true = bool(pieces) and all(self.is_true(piece, track, recommended) for piece in pieces)
        true &= (score > 0) == (found[1] != "The nearest that this catalogue has")
        return true and (found[3] is None or self._read(self._differences, found[3], track, recommended))

    def _is_true_of_listeners(
        self, statement: str, track: str, recommended: str, parts: Mapping[str, float]
    ) -> bool:
        """Tell whether a statement of who likes the two agrees with the counts, or with its part of the score."""
        guessed = r"who would like (either|it|the track of this list) is guessed from .*"
        if unknown := re.fullmatch(guessed, statement):
            return _nobody_likes(self._tracks[track], self._tracks[recommended], unknown[1])
        if counted := re.fullmatch(r"(\d+) people like both", statement):
            pair = (track, recommended)
            return int(counted[1]) in (self._both.get(pair), self._both.get(pair[::-1]))
        found = re.fullmatch(r"(not )?alike in who likes them", statement)
        return found is not None and "listeners" in parts and (parts["listeners"] > 0) == (found[1] is None)

    def _read(self, forms: list[tuple[re.Pattern[str], Check]], words: str, track: str, recommended: str) -> bool:
        for form, check in forms:
            found = form.fullmatch(words)
            if found:
                self.seen.add(form.pattern)
                return bool(check(self._tracks[track], self._tracks[recommended], found.groups()))
        return False

    def _split(self, joined: str) -> list[str]:
        """Cut an enumeration where each of its pieces is a whole statement."""
        if any(form.fullmatch(joined) for form, _ in self._forms):
            return [joined]
        for cut in re.finditer(", | and ", joined):
            if any(form.fullmatch(joined[: cut.start()]) for form, _ in self._forms):
                rest = self._split(joined[cut.end() :])
                if rest:
                    return [joined[: cut.start()], *rest]
        return []

    def _rank(self, name: str, sign: int) -> Check:
        """Both are above (or below) so many in so many of the other tracks."""
        values = np.sort(sign * self._sorted[name])

        def check(a: Values, b: Values, words: Sequence[str]) -> bool:
            n, m = int(words[-2]), int(words[-1])
            both = [sign * a[name], sign * b[name]]
            below = np.searchsorted(values, both, side="left")
            enough = below / max(len(values) - 1, 1) >= n / m - self._slack - 1e-9
            return bool(np.isfinite(both).all() and enough.all())  # NaN would be sorted above all numbers

        return check

    def _values(self, name: str) -> Check:
        return lambda a, b, words: _shown((a[name], b[name]), words[:2])

    def _shown_rank(self, name: str, sign: int) -> Check:
        shown, rank = self._values(name), self._rank(name, sign)
        return lambda a, b, words: shown(a, b, words) and rank(a, b, words)

    def _close(self, name: str, most: float) -> Check:
        shown = self._values(name)
        return lambda a, b, words: shown(a, b, words) and abs(a[name] - b[name]) <= most + 1e-5

    def _of_region(self, check_of: Callable[[str], Check]) -> Check:
        checks = {name: check_of(f"region {number}") for name, number in _REGIONS.items()}
        return lambda a, b, words: checks[words[0]](a, b, words[1:])

    def _tempo_ratio(self, times: int) -> Check:
        shown = self._values("tempo")

        def check(a: Values, b: Values, words: Sequence[str]) -> bool:
            low, high = sorted((a["tempo"], b["tempo"]))
            return shown(a, b, words) and low > 0 and times / 1.0401 <= high / low <= times * 1.0401

        return check

    def _equally_bright(self, a: Values, b: Values, words: Sequence[str]) -> bool:
        low, high = sorted((a["centre"], b["centre"]))
        return _shown((a["centre"], b["centre"]), words) and high <= 1.12 * low

    def _keys(self, *, same_notes: bool) -> Check:
        def check(a: Values, b: Values, words: Sequence[str]) -> bool:
            sure = min(a["key strength"], b["key strength"]) >= 0.6 - 1e-6
            if not same_notes:
                return sure and _key(a) == _key(b) == words[0]
            notes = [_notes(side) for side in (a, b)]
            return sure and notes[0] == notes[1] and a["mode"] != b["mode"] and self._named_keys(a, b, words)

        return check

    @staticmethod
    def _named_keys(a: Values, b: Values, words: Sequence[str]) -> bool:
        return [_key(a), _key(b)] == list(words)

    def _against(self, name: str, more: str) -> Check:
        def check(a: Values, b: Values, words: Sequence[str]) -> bool:
            true = b[name] > a[name] if words[0] == more else b[name] < a[name]
            return true and (len(words) == 1 or _shown((b[name], a[name]), words[1:]))

        return check

    def _attribute(self, a: Values, b: Values, words: Sequence[str]) -> bool:
        name, bound, above = {
            "high-energy": ("energy", 0.7, True),
            "low-energy": ("energy", 0.3, False),
            "acoustic": ("acousticness", 0.8, True),
            "happy in mood": ("valence", 0.7, True),
            "sad in mood": ("valence", 0.3, False),
            "danceable": ("danceability", 0.7, True),
        }[words[0]]
        pair = a[name], b[name]
        true = _shown(pair, words[1:3]) and all(np.isfinite(v) and (v > bound) == above for v in pair)
        if not words[3]:
            return true
        heard, sign, regions = _HEARD[words[3]]
        in_mind = true and self._rank(heard, sign)(a, b, ("69", "100"))
        return in_mind and all(self._rank(f"region {number}", sign)(a, b, ("49", "100")) for number in regions)

    def _upper(self, sign: int) -> Check:
        """Above (or below) so many tracks in brightness, and half of them in both upper regions."""
        bright, upper = self._rank("centre", sign), [self._rank(f"region {number}", sign) for number in (4, 5)]
        return lambda a, b, words: bright(a, b, words) and all(rank(a, b, ("49", "100")) for rank in upper)

    def _attribute_rank(self, a: Values, b: Values, word: str, more: bool, share: Sequence[str]) -> bool:
        adjectives = {"energetic": "energy", "acoustic": "acousticness", "happy": "valence"}
        return self._rank(adjectives.get(word, "danceability"), +1 if more else -1)(a, b, share)


def _model_agrees(statement: str, parts: Mapping[str, float]) -> bool:
    """Tell whether a statement of what a model hears agrees with its part of the score."""
    found = re.fullmatch(r"(not )?alike to the model (\w+)", statement)
    if found is None or found[2] not in parts:
        return False
    return (parts[found[2]] > 0) == (found[1] is None)


def _tagged(a: Values, b: Values, words: Sequence[str]) -> bool:
    """Tell whether a model gives both the tag, or the two tags, that are named."""
    named, model = words

    def have(tag: str) -> bool:
        return all(np.isfinite(side.get(f"{tag} by {model}", np.nan)) for side in (a, b))

    # every "and" may join two tags or be a part of one
    cuts = re.finditer(" and ", named)
    return have(named) or any(have(named[: cut.start()]) and have(named[cut.end() :]) for cut in cuts)


def _nobody_likes(a: Values, b: Values, which: str) -> bool:
    """Tell whether nobody was known to like either, or the recommended one alone, or the one whose list it is."""
    unliked = [side.get("liked", np.nan) == 0 for side in (a, b)]
    return unliked == {"either": [True, True], "it": [False, True]}.get(which, [True, False])


def _is_missing(name: str) -> Check:
    return lambda a, b, _: bool(np.isnan(a[name]) or np.isnan(b[name]))


def _louder(a: Values, b: Values, words: Sequence[str]) -> bool:
    change = b["loudness"] - a["loudness"]
    return abs(abs(change) - int(words[0])) <= 0.5001 and (change > 0) == (words[1] == "louder")


def _shown(values: Sequence[float], texts: Sequence[str]) -> bool:
    """Tell whether numbers of a sentence are the values, rounded to the digits that are shown."""
    digits = [len(text.partition(".")[2]) for text in texts]
    return all(abs(v - float(t)) <= 0.501 * 10.0**-d for v, t, d in zip(values, texts, digits, strict=True))


def _key(values: Values) -> str:
    return f"{_KEYS[int(values['key'])]} {'major' if values['mode'] == _MAJOR else 'minor'}"


def _notes(values: Values) -> frozenset[int]:
    """Return the seven pitch classes of a key."""
    steps: Int64Array = np.array([0, 2, 4, 5, 7, 9, 11] if values["mode"] == _MAJOR else [0, 2, 3, 5, 7, 8, 10])
    return frozenset(((int(values["key"]) + steps) % 12).tolist())
