import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "licences.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("licences", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "licence",
    ["MIT", "ISC License (ISCL)", "MPL-2.0 AND MIT", "BSD-2-Clause AND Apache-2.0 WITH LLVM-exception",
     "GPL-3.0-only OR MIT", "(MIT AND Zlib) OR GPL-2.0-only", "Apache Software License; BSD License",
     "MIT AND (GPL-2.0-only OR (MIT AND Zlib))"],
)  # fmt: skip
def test_licences_that_ask_for_little_are_allowed(script, licence):
    assert script.is_allowed(licence)


@pytest.mark.parametrize(
    "licence",
    ["UNKNOWN", "", "GPL-2.0-or-later", "AGPL-3.0-only", "MIT AND GPL-3.0-only", "LicenseRef-NVIDIA-Proprietary",
     "GNU General Public License v2 or later (GPLv2+)", "Apache Software License; GPL-2.0-only",
     "GPL-3.0-only AND (MIT OR BSD-3-Clause)", "(MIT OR Apache-2.0) AND GPL-2.0-only"],
)  # fmt: skip
def test_unknown_ones_and_the_gpl_are_not(script, licence):
    assert not script.is_allowed(licence)


def test_what_the_table_lacks_or_has_too_much_is_said(script):
    found = {"numpy": "BSD-3-Clause", "rich": "MIT"}
    assert script.differences(script.table(found), found, set(found)) == []
    assert script.differences(script.table({"rich": "GPL"}), found, set(found)) == [
        "numpy: BSD-3-Clause",
        "rich: MIT",
    ]
    assert script.differences(script.table(found | {"mutagen": "GPL"}), found, set(found)) == [
        "mutagen: is needed no more"
    ]
    assert (
        script.differences(script.table(found), found | {"colorama": "BSD"}, set(found)) == []
    )  # of another system
