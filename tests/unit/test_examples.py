"""The examples in docstrings run, and each module that needs no Spark has one."""

import ast
import doctest
import importlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Modules without an example, and why.
WITHOUT = {
    "specrec.audio.compiled": "it fills a cache of numba's",
    "specrec.audio.isolated": "it starts a process, which takes seconds",
    "specrec.encoder.card": "it describes a trained encoder",
    "specrec.encoder.finish": "it changes a trained encoder",
    "specrec.encoder.make": "it trains an encoder on a warehouse",
    "specrec.evaluate.sample": "it joins the tables of a night",
    "specrec.evaluate.truth": "it reads the tables of a night",
    "specrec.logs": "it sets up a whole process",
    "specrec.map.fit": "it fits UMAP, which takes seconds",
    "specrec.query.catalogue": "it reads the tables of a night",
    "specrec.recommend.explain": "it reads the tables of a night",
    "specrec.recommend.pairs": "it reads the tables of a night",
    "specrec.storage.s3": "it needs a server",
}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _needs(path: Path, package: str) -> bool:
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return any(
        (isinstance(node, ast.Import) and any(name.name.split(".")[0] == package for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package)
        for node in nodes
    )


SOURCES = {
    _name(path): path
    for path in sorted((ROOT / "specrec").rglob("*.py"))
    if path.name != "__main__.py" and not _needs(path, "pyspark")
}
EXAMPLES = {
    name: path
    for name, path in SOURCES.items()
    if name not in WITHOUT and ">>> " in path.read_text(encoding="utf-8")
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_they_say(name):
    if _needs(EXAMPLES[name], "torch"):
        pytest.importorskip("torch")
    module = importlib.import_module(name)
    assert Path(module.__file__) == EXAMPLES[name]  # and not those of another installation
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0


def test_each_module_that_needs_no_spark_has_an_example():
    with_functions = {
        name
        for name, path in SOURCES.items()
        if any(
            isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
    }
    edges = {name for name in with_functions if name.split(".")[1:2] in (["cli"], ["pipeline"])}
    assert with_functions - edges - EXAMPLES.keys() == WITHOUT.keys()
