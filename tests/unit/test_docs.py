"""The documents say what the code says."""

import re
from pathlib import Path

import pytest

from specrec.pipeline.stages import STAGES
from specrec.warehouse.describe import MARK, describe, with_tables
from specrec.warehouse.schemas import TABLES

ROOT = Path(__file__).parents[2]
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DIAGRAM = re.search(r"```mermaid\n(.*?)```", ARCHITECTURE, re.DOTALL)[1]


def test_the_tables_are_described_as_they_are():
    assert MARK in ARCHITECTURE
    assert with_tables(ARCHITECTURE) == ARCHITECTURE, (
        "run python -m specrec.warehouse.describe docs/architecture.md"
    )


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_column_is_described_with_its_type_and_its_comment(table):
    text = describe(table)
    for field in table.schema.fields:
        assert re.search(rf"^\| `{field.name}` \| [^|]+ \| \S.* \|$", text, re.MULTILINE), field.name
    assert all(f"`{name}`" in text.splitlines()[2] for name in table.key)


def test_fields_of_a_struct_are_described_too():
    assert "| `reasons.statement` | string | the same in words |" in describe(TABLES["recommendations"])


def test_the_diagram_has_every_table_and_every_stage():
    assert set(re.findall(r"\[\((\w+)\)\]", DIAGRAM)) == set(TABLES)
    assert set(re.findall(r"\(\[(\w+)\]\)", DIAGRAM)) == {*STAGES, "evaluate"}


def test_every_package_is_in_the_layout_and_in_no_more_than_one_layer():
    packages = {path.parent.name for path in (ROOT / "specrec").glob("*/__init__.py")}
    layout = ARCHITECTURE.split("## The packages")[1].split("The rules")[0]
    assert packages == set(re.findall(r"^    (\w+)/ ", layout, re.MULTILINE))
    layers = re.findall(r"^   \| [\w ]+ \| (`.*`) \|$", ARCHITECTURE, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(layers))
    assert sorted(named) == sorted({*packages, "settings", "errors"})


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("d*/*.md")), ids=lambda path: path.name
)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target
