import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import specrec.demo
from specrec.cli.demo import save_settings
from specrec.config import Config, fields, load
from specrec.embedding.spaces import models_for, spaces_of
from specrec.embedding.statistics import statistics_artefact
from specrec.errors import ConfigError
from specrec.pipeline.hashes import neighbours_hash, recommend_hash, results_hash
from specrec.settings import SettingsHash

CONF = Path(__file__).parents[2] / "conf"
DEMO = Path(specrec.demo.__file__).with_name("demo.yaml")
NEEDED = ("warehouse=w", "catalogue.path=c.csv")

AUDIO = {"audio"}
LISTS = {"neighbours", "recommend"}  # of the system `features`
FEATURE_SPACE = {"features", "hybrid"}
ALL_SPACES = {"features", "spectrogram", "hybrid"}


def _config(*overrides: str) -> Config:
    return load(None, (*NEEDED, *overrides))


def _hashes(config: Config) -> dict[str, SettingsHash]:
    spaces = {space: spaces_of(config)[space].settings_hash for space in ALL_SPACES}
    made_with = [spaces_of(config)[space].artefact for space in ("features", "spectrogram")]
    artefacts = {of.name: of.settings for of in (*made_with, statistics_artefact(config))}
    own = {
        "audio": config.audio_hash,
        "neighbours": neighbours_hash(config, "features"),
        "recommend": recommend_hash(config, "features"),
        "results": results_hash(config),
    }
    return spaces | artefacts | own


def _changed(*overrides: str) -> set[str]:
    before, after = _hashes(_config()), _hashes(_config(*overrides))
    return {name for name in before if before[name] != after[name]}


# --- loading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*sorted(CONF.glob("*.yaml")), DEMO], ids=lambda path: path.name)
def test_every_shipped_configuration_loads(path):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    needed = [] if "path" in given.get("catalogue", {}) else ["catalogue.path=c.csv"]
    load(path, needed if "warehouse" in given else [*needed, "warehouse=w"])


def test_the_demo_leaves_the_settings_that_it_ran_with(tmp_path):
    config = load(DEMO, [*NEEDED, "audio.clip_seconds=5", "embedding.family_weights.timbre=4"])
    save_settings(config, tmp_path / "demo.yaml")
    assert load(tmp_path / "demo.yaml") == config
    assert "n_mels" not in (tmp_path / "demo.yaml").read_text()  # defaults stay what they are


def test_a_file_and_then_overrides(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("warehouse: w\ncatalogue: {path: c.csv}\naudio: {clip_seconds: 10, n_mels: 64}\n")
    config = load(path, ["audio.clip_seconds=5", "audio.clip_seconds=7", "embedding.family_weights.timbre=4"])
    assert config.audio.clip_seconds == 7
    assert config.audio.n_mels == 64
    assert config.embedding.family_weights == {"timbre": 4}


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("audio.sample_rate=null", lambda c: c.audio.sample_rate is None),
        ("audio.sample_rate=", lambda c: c.audio.sample_rate is None),
        ("storage.path_style=true", lambda c: c.storage.path_style is True),
        ("catalogue.path=s3://bucket/a=b/c.csv", lambda c: c.catalogue.path == "s3://bucket/a=b/c.csv"),
        ("catalogue.path=music: [live", lambda c: c.catalogue.path == os.path.abspath("music: [live")),
        ("embedding.family_weights={timbre: 1}", lambda c: c.embedding.family_weights == {"timbre": 1}),
        ("recommend.hubs=off", lambda c: c.recommend.hubs == "off"),  # which YAML reads as false
        ("recommend.market=NO", lambda c: c.recommend.market == "NO"),
    ],
)
def test_an_override_is_read_as_yaml(override, read):
    assert read(_config(override))


def test_norway_in_a_file_must_be_quoted(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("recommend: {market: NO}\n")
    with pytest.raises(ConfigError, match='write "NO" in quotes'):
        load(path, NEEDED)


def test_a_section_whose_every_setting_is_commented_out_has_its_defaults(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("warehouse: w\ncatalogue:\n  # path: c.csv\naudio:\n  # n_mels: 64\n")
    assert load(path, ["catalogue.path=c.csv", "audio.n_mfcc=13"]) == _config("audio.n_mfcc=13")


def test_overriding_leaves_defaults_of_others_alone():
    _config("embedding.family_weights.timbre=9", "spark.conf={spark.x: '1'}")
    assert _config().embedding.family_weights["timbre"] == 3
    assert _config().spark.conf == {}


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("audio.clip_second=3", "audio.clip_seconds"),
        ("audoi.clip_seconds=3", "audio"),
        ("neighbours.blockrows=3", "neighbours.block_rows"),
        ("wharehouse=x", "warehouse"),
        ("embedding.family_weights.timbr=1", "timbre"),
        ("clip_seconds=3", "audio.clip_seconds"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_valid_name(override, nearest):
    with pytest.raises(ConfigError) as refused:
        _config(override)
    assert f"did you mean {nearest!r}?" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_key_that_nothing_is_near_lists_the_valid_ones():
    with pytest.raises(ConfigError, match=r"unknown configuration key 'qqqq'; valid are: .*audio\.clip_seconds"):
        _config("qqqq=1")


@pytest.mark.parametrize(
    "override",
    [
        "audio.clip_seconds=-1",
        "audio.clip_seconds=soon",
        "audio.clip_seconds=.nan",
        "audio.min_seconds=31",
        "audio.hop_length=4096",
        "audio.n_mfcc=129",
        "audio.fmax=12000",
        "audio.offset_seconds=.inf",
        "audio.silence_db=.nan",
        "embedding.family_weights.timbre=.inf",
        "extract.max_failed_share=1.5",
        "recommend.top_n=31",
        "recommend.hubs=true",
        "recommend.max_per_artist=0",
        "recommend.market=de",
        "recommend={min_duration_seconds: 2, max_duration_seconds: 1}",
        "neighbours.method=guess",
        "embedding.family_weights={timbre: 0}",
        "embedding.family_weights={timbre: -1}",
        "embedding.hybrid_weights={features: 0, spectrogram: 0}",
        "embedding.models={encoder: {}}",
        "embedding.models={hybrid: {path: model.onnx}}",
        "embedding.models={My model: {path: model.onnx}}",
        "embedding.hybrid_weights={}",
        "embedding.hybrid_weights={features: 1, spectrogram: 1, taste: 1}",
        "audio",
        "=3",
        "audio..n_mels=3",
        "warehouse.path=x",
    ],
)
def test_a_bad_value_is_refused_in_one_line(override):
    with pytest.raises(ConfigError) as refused:
        _config(override)
    assert "\n" not in str(refused.value)
    assert "pydantic" not in str(refused.value)


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"lacks 'catalogue'|lacks 'catalogue\.path'"):
        load(None, ["warehouse=w"])
    with pytest.raises(ConfigError, match="lacks 'warehouse'"):
        load(None, ["catalogue.path=c"])


@pytest.mark.parametrize("text", ["a: [", "- a", "just text", "\xff"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"c\.yaml") as refused:
        load(path, NEEDED)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_absent_or_empty(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "none.yaml", NEEDED)
    (tmp_path / "empty.yaml").write_text("")
    assert load(tmp_path / "empty.yaml", NEEDED) == _config()


def test_values_never_change_after_loading():
    with pytest.raises(ValueError, match="frozen"):
        _config().audio.n_mels = 3


def test_every_setting_is_described_and_its_default_valid():
    config = _config()
    names = set()
    for name, description, default in fields():
        names.add(name)
        assert description, name
        section, _, key = name.rpartition(".")
        value = getattr(getattr(config, section) if section else config, key)
        assert name in {"warehouse", "catalogue.path"} or value == default
    assert {"warehouse", "audio.clip_seconds", "embedding.family_weights"} <= names


def test_the_file_of_all_settings_says_of_each_what_its_description_says():
    described, commented, section, words = {name: text for name, text, _ in fields()}, {}, "", []
    for line in (CONF / "local.yaml").read_text(encoding="utf-8").splitlines():
        text, is_inner = line.strip(), line.startswith(" ")
        if text.startswith("#") and not text.startswith("# path:"):  # which each user has to say
            words.append(text.removeprefix("# "))
            continue
        if text:
            key, _, value = text.removeprefix("# ").partition(":")
            if not is_inner and not value:
                section = f"{key}."
            else:
                commented[f"{section}{key}" if is_inner else key] = " ".join(words)
        words = []
    assert commented.keys() == described.keys()
    for name, text in described.items():
        assert commented[name].startswith(text), name  # the file may say more


def test_secrets_have_no_key():
    words = ("secret", "password", "token", "credential", "access_key", "api_key")
    for name, _, _ in fields():
        assert not any(word in name.lower() for word in words), name
    for key in ("storage.secret_access_key", "storage.access_key", "storage.session_token"):
        with pytest.raises(ConfigError, match="unknown configuration key"):
            _config(f"{key}=AKIA")


# --- what a change recomputes -------------------------------------------------------------------------------

ARTEFACTS = {"features_scaler", "spectrogram_pca", "catalogue_statistics"}


@pytest.mark.parametrize(
    "override",
    ["audio.clip_seconds=29", "audio.n_mels=64", "audio.sample_rate=null", "audio.pad_mode=reflect",
     "audio.silence_db=-70", "audio.offset_seconds=1", "audio.n_mfcc=13", "audio.window=hamming"],
)  # fmt: skip
def test_the_audio_settings_change_everything_that_is_made_from_audio(override):
    assert _changed(override) == {"audio", "results"} | ARTEFACTS | ALL_SPACES | LISTS


@pytest.mark.parametrize(
    "override",
    ["extract.commit_every=1", "extract.files_per_task=1", "extract.batch_rows=1", "extract.max_failed_share=1",
     "extract.max_file_mb=1", "neighbours.block_rows=7", "spark.shuffle_partitions=9", "spark.driver_memory=9g",
     "spark.conf={spark.sql.ansi.enabled: 'false'}", "storage.max_attempts=2", "storage.endpoint_url=http://x",
     "log.level=debug", "evaluate.seed=1", "warehouse=elsewhere", "catalogue.path=d.csv",
     "catalogue.max_removed_share=1"],
)  # fmt: skip
def test_what_only_changes_how_it_is_computed_changes_no_hash(override):
    assert _changed(override) == set()


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("embedding.family_weights.timbre=4", FEATURE_SPACE | LISTS),
        ("embedding.clip_sd=3", FEATURE_SPACE | LISTS),
        ("embedding.hybrid_weights={features: 1, spectrogram: 1}", {"hybrid"}),
        ("embedding.pca_components=32", {"spectrogram_pca"}),
        ("fit.seed=1", ARTEFACTS),
        ("fit.sample_tracks=10", ARTEFACTS),
        ("fit.max_drift=1", set()),
        ("neighbours.top_n=31", LISTS),
        ("recommend.top_n=9", {"recommend"}),
        ("recommend.excerpt_seconds=4", {"spectrogram", "hybrid", "recommend"}),
        ("recommend.hubs=off", {"recommend"}),
        ("recommend.max_per_artist=null", {"recommend"}),
        ("recommend.market=DE", {"recommend"}),
    ],
)
def test_a_setting_changes_the_hash_of_what_depends_on_it_alone(override, changed):
    assert _changed(override) == changed | {"results"}


def test_the_hash_is_of_the_values_not_of_how_they_are_written():
    assert _changed("audio.clip_seconds=30", "audio.fmin=0", "embedding.clip_sd=4") == set()
    weights = "{noisiness: 1, dynamics: 1, rhythm: 3, harmony: 3, brightness: 1, timbre: 3}"
    assert _changed(f"embedding.family_weights={weights}") == set()


def test_hashes_are_the_same_in_another_process():
    code = (
        "from specrec.config import load; from specrec.pipeline.hashes import results_hash; "
        "print(results_hash(load(None, ['warehouse=w', 'catalogue.path=c.csv'])))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == results_hash(_config())


def test_a_query_of_a_system_runs_its_models_alone():
    models = "embedding.models={a: {path: a.onnx}, b: {path: b.onnx}, c: {path: c.onnx}}"
    config = load(None, (*NEEDED, models, "embedding.hybrid_weights={features: 1, a: 1, c: 0, b: 2}"))
    assert {system: models_for(system, config) for system in config.systems} == {
        "features": [],
        "spectrogram": [],
        "a": ["a"],
        "b": ["b"],
        "c": ["c"],
        "hybrid": ["a", "b"],
    }
