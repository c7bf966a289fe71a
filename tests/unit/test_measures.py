"""What follows from the declaration of a feature: its columns, and its place in the embedding."""

from __future__ import annotations

import subprocess
import sys

from specrec.audio.extraction import EXTRACTED
from specrec.audio.measures import CLIP_FEATURES, FEATURES, TABLE_COLUMNS, Feature, columns, table_columns
from specrec.warehouse.schemas import TABLES

#: Declares one feature more, as somebody who adds a line to measures.py does, before anything else is imported.
_WITH_ONE_MORE = """
import importlib.util, sys
spec = importlib.util.find_spec("specrec.audio.measures")
source = spec.loader.get_source(spec.name)
head, mark, rest = source.partition("CLIP_FEATURES: tuple[Feature, ...] = (")
assert mark
line = 'Feature("brass_level", "brass", 1, "dB", "level of the brass"),'
module = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = module
exec(compile(head + mark + line + rest, spec.origin, "exec"), module.__dict__)

from specrec.audio.extraction import EXTRACTED
from specrec.audio.measures import FAMILIES
from specrec.embedding.features import families, layout_of
from specrec.warehouse.schemas import AUDIO_FEATURES

field = AUDIO_FEATURES["brass_level"]
assert (field.dataType.simpleString(), field.metadata) == ("float", {"comment": "level of the brass (dB; brass)"})
assert EXTRACTED["brass_level"] == "float"
assert FAMILIES == ("timbre", "brightness", "harmony", "rhythm", "dynamics", "noisiness", "brass")
layout = layout_of(20)
assert ("brass_level", 1) in layout
assert (families(layout) == FAMILIES.index("brass")).sum() == 1
"""


def test_a_scalar_feature_of_a_clip_in_a_family_of_its_own_needs_its_declaration_alone():
    done = subprocess.run([sys.executable, "-c", _WITH_ONE_MORE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_feature_has_its_columns_in_the_table_in_the_order_of_the_embedding():
    declared = {column.name: column.kind for column in TABLE_COLUMNS}
    assert list(declared) == list(columns(20))
    table = {field.name: field.dataType.simpleString() for field in TABLES["audio_features"].schema.fields}
    assert {name: table[name] for name in declared} == declared
    assert [name for name in table if name in declared] == list(declared)
    whole = {name for name, kind in declared.items() if kind == "int"}
    assert whole == {"key", "mode"}
    assert all((kind == "array<float>") == (columns(20)[name] > 1) for name, kind in declared.items())


def test_comments_tell_statistic_unit_and_family():
    of_frames = [Feature("rms", "dynamics", 1, "full scale", "loudness")]
    found = table_columns(of_frames, [Feature("key", "harmony", 1, "", "pitch class", is_whole=True)])
    assert [(column.name, column.kind, column.comment) for column in found] == [
        ("rms_mean", "float", "loudness: mean over frames (full scale; dynamics)"),
        ("rms_std", "float", "loudness: standard deviation over frames (full scale; dynamics)"),
        ("key", "int", "pitch class (harmony)"),
    ]


def test_what_is_extracted_has_the_types_of_the_tables_it_goes_to():
    written_later = {"run_id", "computed_at"}
    for name in ("audio_features", "mel_spectrograms"):
        fields = {field.name: field.dataType.simpleString() for field in TABLES[name].schema.fields}
        assert {of: EXTRACTED.get(of) for of in fields if of not in written_later} == {
            of: kind for of, kind in fields.items() if of not in written_later
        }
    assert {"code", "message"} < EXTRACTED.keys()
    assert len({feature.name for feature in (*FEATURES, *CLIP_FEATURES)}) == len(FEATURES) + len(CLIP_FEATURES)
