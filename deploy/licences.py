"""Check the licences of all that specrec needs to run: each must be one that an Apache-2.0 program may use.

``python deploy/licences.py`` fails on a licence that is not among the allowed ones, on one that is unknown, and
where the table in docs/licences.md says otherwise; ``--write`` writes that table anew. Tools of the tests are not
looked at, nor is the extra ``train``: PyTorch brings libraries of NVIDIA's, under its own terms.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "licences.md"
BEGIN = "<!-- written by deploy/licences.py -->\n"

#: Licences that ask no more of a program than to name them, and weaker copyleft, which asks for changes of the
#: library itself alone. What several packages call one licence stands here under all its names.
ALLOWED = frozenset(
    [
        *("MIT", "MIT License", "MIT-0", "MIT-CMU", "0BSD", "Zlib", "CC0-1.0", "ISC", "ISC License (ISCL)"),
        *("BSD", "BSD License", "3-Clause BSD License", "BSD-2-Clause", "BSD-3-Clause"),
        *("Apache-2.0", "Apache Software License", "Apache-2.0 WITH LLVM-exception"),
        *("PSF-2.0", "Python Software Foundation License"),
        *("MPL-2.0", "Mozilla Public License 2.0 (MPL 2.0)", "LGPL-2.1-or-later"),
    ]
)


def main(arguments: list[str]) -> None:
    """Check or write; end with what is wrong."""
    found = licences(needed())
    refused = [f"{name}: {licence}" for name, licence in found.items() if not is_allowed(licence)]
    if refused:
        sys.exit("\n  ".join(["licences that specrec must not depend on:", *refused]))
    text = TABLE.read_text(encoding="utf-8")
    if arguments == ["--write"]:
        TABLE.write_text(text.split(BEGIN)[0] + BEGIN + table(found), encoding="utf-8")
    elif wrong := differences(text.split(BEGIN)[-1], found, pinned()):
        sys.exit("\n  ".join([f"{TABLE.relative_to(ROOT)}: run deploy/licences.py --write", *wrong]))


def is_allowed(licence: str) -> bool:
    """Tell whether a licence is allowed: of several that a user may choose from, one; of several that hold, all.

    Examples
    --------
    >>> is_allowed("MPL-2.0 AND MIT"), is_allowed("GPL-2.0-or-later OR MIT"), is_allowed("GPL-2.0-or-later")
    (True, True, False)
    """
    if licence in ALLOWED:  # some names have brackets of their own
        return True
    while bracketed := re.search(r"\(([^()]*)\)", licence):  # from within, each by what it comes to
        inside = "MIT" if _any_holds(bracketed[1]) else "REFUSED"
        licence = licence[: bracketed.start()] + inside + licence[bracketed.end() :]
    return _any_holds(licence)


def _any_holds(licence: str) -> bool:
    """Tell whether a licence without brackets is allowed."""
    return any(all(term in ALLOWED for term in re.split(r" AND |; ", choice)) for choice in licence.split(" OR "))


def needed() -> set[str]:
    """Return the names of all packages that an installation has, and of those for drawing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names: set[str] = set()
    waiting = [(line, "") for line in project["dependencies"] + project["optional-dependencies"]["plot"]]
    while waiting:
        line, extra = waiting.pop()
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonical(requirement.name)
        if name not in names:
            names.add(name)
            extras = ("", *requirement.extras)
            waiting += [(below, extra) for below in distribution(name).requires or () for extra in extras]
    return names


def licences(names: set[str]) -> dict[str, str]:
    """Return the licence of each package, as pip-licenses finds it."""
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", "--with-system", "--packages"]
    done = subprocess.run([*command, *names], check=True, capture_output=True, text=True)  # noqa: S603
    rows = json.loads(done.stdout)
    found = {canonical(row["Name"]): row["License"] for row in rows}
    return {name: found.get(name, "UNKNOWN") for name in sorted(names)}


def table(found: dict[str, str]) -> str:
    """Return the licences as a table in Markdown."""
    return "".join(["| package | licence |\n|---|---|\n", *(f"| {name} | {found[name]} |\n" for name in found)])


def differences(text: str, found: dict[str, str], names: set[str]) -> list[str]:
    """Return what a table says wrongly of these packages; others come with other systems and versions of Python."""
    said = dict(re.findall(r"^\| ([^ ]+) \| (.+) \|$", text, flags=re.MULTILINE))
    said.pop("package", None)
    wrong = [f"{name}: {found[name]}" for name in found if name in names and said.get(name) != found[name]]
    return wrong + [f"{name}: is needed no more" for name in said if name not in names]


def pinned() -> set[str]:
    """Return the names of the packages that constraints.txt holds fast."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonical(line.split("==")[0]) for line in lines if "==" in line}


def canonical(name: str) -> str:
    """Return a package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(sys.argv[1:])
