"""docs/detectors.md names every function, option and result field, with the default that it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from anomaly_app.forecasting import FUNCTIONS
from anomaly_app.forecasting.functions import RESULT

PAGE = (Path(__file__).parents[3] / "docs" / "detectors.md").read_text("utf-8")


def section(name: str) -> str:
    """The text under a heading of the second level."""
    return re.split(r"^## ", PAGE.split(f"\n## {name}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def shown(default: Any) -> str:
    return (
        str(default).upper()
        if isinstance(default, bool)
        else f"`{default}`"
        if isinstance(default, str)
        else str(default)
    )


@pytest.mark.parametrize("name", ["ML_DETECT_ANOMALIES", "ML_DETECT_ANOMALIES_ROBUST"])
def test_every_option_is_in_the_table_with_its_default(name: str) -> None:
    function = next(function for function in FUNCTIONS if function.name == name)
    rows = {
        option: cells[1].strip()
        for cells in (line.strip("|").split("|") for line in section(name).splitlines() if line.startswith("| `"))
        for option in re.findall(r"`(\w+)`", cells[0])
    }
    for option in function.options:
        assert option.name in rows, f"{option.name} is not in the table of {name}"
        if option.default is not None:
            assert rows[option.name] == shown(option.default), option.name


def test_every_field_is_named() -> None:
    text = section("ML_DETECT_ANOMALIES")
    assert all(f"`{name}`" in text for name, _ in RESULT.fields)


def test_every_function_has_a_section() -> None:
    assert all(section(function.name) for function in FUNCTIONS)
