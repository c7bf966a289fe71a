"""The tables in words: what docs/architecture.md says of them, drawn from :mod:`specrec.warehouse.schemas`.

``python -m specrec.warehouse.describe docs/architecture.md`` writes them anew below the line that marks them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from pyspark.sql import types as T

from specrec.warehouse.schemas import TABLES, Table

#: What is below this line of a document is written by this module.
MARK = "<!-- below: python -m specrec.warehouse.describe docs/architecture.md -->\n"


def with_tables(document: str) -> str:
    """Return a document with every table described below its mark, whatever was there before."""
    return document.partition(MARK)[0] + MARK + "".join(f"\n{describe(table)}" for table in TABLES.values())


def describe(table: Table) -> str:
    """Return a table's name, key, and columns with their types and comments, in Markdown."""
    of = f"`{table.key[0]}`" if len(table.key) == 1 else "(" + ", ".join(f"`{name}`" for name in table.key) + ")"
    parts = [f"### `{table.name}`\n\nOne row per {of}"]
    if table.partitioned_by:
        parts.append(", partitioned by " + ", ".join(f"`{name}`" for name in table.partitioned_by))
    parts.append(".\n\n| column | type | says |\n|---|---|---|\n")
    parts += [f"| `{name}` | {kind} | {comment} |\n" for name, kind, comment in _rows(table.schema)]
    return "".join(parts)


def _rows(schema: T.StructType, within: str = "") -> Iterator[tuple[str, str, str]]:
    for field in schema.fields:
        name, kind = within + field.name, field.dataType
        inner = kind.elementType if isinstance(kind, T.ArrayType) else kind
        fields = isinstance(inner, T.StructType)
        said = kind.simpleString() if not fields else "array of" if inner is not kind else "struct of"
        comment = field.metadata.get("comment", "").replace("|", "\\|")
        yield name, said if field.nullable or within else f"{said}, never null", comment
        if isinstance(inner, T.StructType):
            yield from _rows(inner, f"{name}.")


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
