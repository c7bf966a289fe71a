"""Hashes of settings: what they are of, and which of the release before this one are accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from golden.record import NOT_HASHED, SECTIONS
from pydantic import Field

from specrec.audio.config import AudioConfig, ModelMelConfig
from specrec.config import Config, fields, load
from specrec.embedding.config import ModelConfig
from specrec.embedding.spaces import spaces_of
from specrec.embedding.statistics import statistics_artefact
from specrec.map.config import MapConfig
from specrec.neighbours.cells import cells_artefact
from specrec.neighbours.config import NeighboursConfig
from specrec.pipeline.hashes import duplicates_hash, map_hash, neighbours_hash, recommend_hash
from specrec.recommend.config import RecommendConfig
from specrec.settings import UNKNOWN, Section, SettingsHash, as_recorded, hash_of, settings_hash

#: What the commit that last raised a version of what is computed wrote beside its results, of three configurations.
PREVIOUS = json.loads((Path(__file__).parent / "golden" / "previous_hashes.json").read_text(encoding="utf-8"))


NEEDED = ("warehouse=w", "catalogue.path=c.csv")


def _hashes(config: Config) -> dict[str, SettingsHash]:
    found = {"audio": config.audio_hash, "duplicates": duplicates_hash(config), "map": map_hash(config)}
    found["catalogue_statistics"] = statistics_artefact(config).settings
    for name, space in spaces_of(config).items():
        found[f"space {name}"] = space.settings_hash
        found[f"cells {name}"] = cells_artefact(
            name, space.settings_hash, config.neighbours, config.fit.seed
        ).settings
        found[f"neighbours {name}"] = neighbours_hash(config, name)
        found[f"lists {name}"] = recommend_hash(config, name)
        if space.artefact is not None:
            found[space.artefact.name] = space.artefact.settings
    return found


@pytest.mark.parametrize("name", PREVIOUS)
def test_what_the_release_before_wrote_is_accepted(name: str) -> None:
    found = _hashes(load(None, [*NEEDED, *PREVIOUS[name]["settings"]]))
    written = PREVIOUS[name]["hashes"]
    assert found.keys() == written.keys()
    assert {of: written[of] for of in found if written[of] not in found[of].accepted} == {}


def test_configurations_that_differ_have_no_hash_in_common() -> None:
    plain, odd = (
        {
            name
            for of in _hashes(load(None, [*NEEDED, *PREVIOUS[name]["settings"]])).values()
            for name in of.accepted
        }
        for name in ("plain", "odd")
    )
    assert plain
    assert not plain & odd


OTHER: dict[str, object] = {
    "embedding.family_weights": {"timbre": 9.0},
    "embedding.hybrid_weights": {"features": 1.0},
    "embedding.models": {"own": ModelConfig(path="a.onnx")},
    "audio.sample_rate": 8_000,
    "map.space": "features",
    "recommend.market": "DE",
}


def _other(name: str, value: object) -> object:
    """Return a value of a setting that is not its default."""
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    return value + "x" if isinstance(value, str) else 17.0 if isinstance(value, float) else 17


@pytest.mark.parametrize(
    "name", [name for name, _, _ in fields() if name.partition(".")[0] in SECTIONS and "." in name]
)
def test_each_setting_is_hashed_or_said_to_change_no_result(name: str) -> None:
    config = load(None, ["warehouse=w", "catalogue.path=c.csv"])
    section, _, setting = name.partition(".")
    old = getattr(config, section)
    new = old.model_copy(update={setting: _other(name, getattr(old, setting))})
    before, after = (
        (
            _hashes(of),
            of.listeners.preferences_hash,
            of.listeners.fit_hash,
            of.listeners.blend_hash(),
            of.listeners.lists_hash(),
        )
        for of in (config, config.model_copy(update={section: new}))
    )
    assert (before != after) == (name not in NOT_HASHED), "hash it, or name it in tests/unit/golden/record.py"


# --- a setting that is added ----------------------------------------------------------------------------------


class NewerAudio(AudioConfig):
    loudness: str | None = Field(default=None, description="a setting of the next release, which is neutral")


class NewerNeighbours(NeighboursConfig):
    metric: str = "cosine"


class NewerRecommend(RecommendConfig):
    newest_first: bool = False


class NewerMap(MapConfig):
    spread: float = 1.0


SPACE = settings_hash("space", previous=["space of before"])
NEWER = {
    "audio": (AudioConfig, NewerAudio, {"loudness": "ebu"}, lambda of: of.settings_hash),
    "neighbours": (NeighboursConfig, NewerNeighbours, {"metric": "dot"}, lambda of: of.settings_hash(SPACE)),
    "recommend": (RecommendConfig, NewerRecommend, {"newest_first": True}, lambda of: of.settings_hash(SPACE)),
    "map": (MapConfig, NewerMap, {"spread": 2.0}, lambda of: of.settings_hash(SPACE, 0)),
}
ODD = {
    "audio": {"clip_seconds": 7.5},
    "neighbours": {"top_n": 12},
    "recommend": {"market": "DE"},
    "map": {"min_clusters": 2},
}


@pytest.mark.parametrize("name", NEWER)
@pytest.mark.parametrize("is_odd", [False, True])
def test_a_new_setting_with_a_neutral_default_changes_no_hash(name: str, is_odd: bool) -> None:
    section, newer, _, hash_section = NEWER[name]
    values = ODD[name] if is_odd else {}
    assert hash_section(newer(**values)) == hash_section(section(**values))
    assert name == "audio" or hash_section(newer(**values)).previous is not None  # its version was raised since


@pytest.mark.parametrize("name", NEWER)
def test_a_new_setting_in_use_was_known_to_no_release_before(name: str) -> None:
    section, newer, used, hash_section = NEWER[name]
    found = hash_section(newer(**used))
    assert found.previous is None
    assert found.accepted == (found.current,)
    assert found.current not in hash_section(section()).accepted


def test_what_never_was_hashed_is_no_reason_to_refuse_an_old_hash() -> None:
    assert NeighboursConfig(block_rows=7).settings_hash(SPACE) == NeighboursConfig().settings_hash(SPACE)
    assert MapConfig(refit_share=0.1).settings_hash(SPACE, 0) == MapConfig().settings_hash(SPACE, 0)


# --- how a hash is made ---------------------------------------------------------------------------------------


class Own(Section):
    a: int = 1
    weights: dict[str, float] = Field(default_factory=lambda: {"x": 1.0})


def test_only_what_differs_from_its_default_is_hashed() -> None:
    assert Own().differing() == Own(a=1, weights={"x": 1.0}).differing() == {}
    assert Own(a=2).differing() == Own(a=2).differing("a") == {"a": 2}
    assert Own(a=2, weights={"x": 3}).differing("weights") == {"weights": {"x": 3.0}}


def test_what_the_release_before_hashed_is_all_that_it_had() -> None:
    assert Own(a=2).former("a", "weights") == {"a": 2, "weights": {"x": 1.0}}
    assert Own(a=2).former("a") == {"a": 2}
    assert Own(weights={}).former("a") is UNKNOWN
    assert Own(weights={}).former("a", beside={"weights"}) == {"a": 1}


def test_a_hash_is_of_the_hashes_that_it_depends_on() -> None:
    one, other = settings_hash(1, previous=["one"]), settings_hash(2, previous=["two"])
    both = settings_hash([one, other], {"x": 1}, previous=[[one, other], 1])
    assert both.current == hash_of([one.current, other.current], {"x": 1})
    assert both.previous == hash_of([one.previous, other.previous], 1)
    assert str(both) == both.current
    assert len(both.current) == 16


def test_what_depends_on_what_had_no_hash_before_has_none_either() -> None:
    new = settings_hash("new")
    assert new.previous is None
    assert settings_hash(new, previous=[new, 1]).previous is None
    assert settings_hash(1, previous=[[1, [UNKNOWN]]]).previous is None
    assert settings_hash(settings_hash(new, previous=[new]), previous=[[new]]).previous is None
    assert settings_hash(1, previous=[{"mel": UNKNOWN}]).previous is None


def test_a_newer_setting_of_a_model_s_own_mel_spectrogram_is_told_apart() -> None:
    class Newer(ModelMelConfig):
        centre: bool = True

    mel = {"sample_rate": 16_000, "n_fft": 512, "hop_length": 256, "n_mels": 96, "scaling": "log"}
    assert Newer(**mel).as_before() == ModelMelConfig(**mel).as_before()
    assert Newer(**mel, centre=False).as_before() is UNKNOWN


def test_a_state_stays_as_the_table_remembers_it() -> None:
    assert as_recorded("old", "new", "old") == "old"
    assert as_recorded("new", "new", "old") == "new"
    assert as_recorded("else", "new", "old") == "new"
    assert as_recorded(None, "new") == "new"
