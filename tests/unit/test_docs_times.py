"""Every expression of docs/times.md has the value that stands beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anomaly_app import Rows, query

TEXT = (Path(__file__).parents[2] / "docs" / "times.md").read_text(encoding="utf-8")
CASES = re.findall(r"^\| `(.+)` \| (.+) \|$", TEXT, re.MULTILINE)
ONE = Rows(columns=[("n", "INT")], rows=[(1,)])


def test_there_are_examples() -> None:
    assert len(CASES) > 15


@pytest.mark.parametrize(("expression", "value"), CASES)
def test_value(expression: str, value: str) -> None:
    assert str(query(f"SELECT {expression} AS x FROM t", {"t": ONE}).rows[0][0]) == value
