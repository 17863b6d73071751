"""The public API: what the documents list is there, and importing the package stays fast."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark

PAGE = Path(__file__).parents[1] / "docs" / "api" / "index.md"


def test_every_public_name_is_listed_in_one_place() -> None:
    listed = re.findall(r"^\| \[`benchmark\.(\w+)`\]", PAGE.read_text(), flags=re.MULTILINE)
    assert {*benchmark.__all__, "metrics", "applications"} == {*listed}


@pytest.mark.parametrize("name", benchmark.__all__)
def test_a_public_name_is_what_its_module_has(name: str) -> None:
    found = getattr(benchmark, name)
    assert getattr(sys.modules[found.__module__], name) is found


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'load_sell'"):
        benchmark.load_sell  # noqa: B018


def test_importing_the_package_loads_nothing_that_is_slow() -> None:
    code = "import sys, benchmark; print(sorted({'polars', 'torch', 'numpy'} & {*sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
