"""docs/windows.md: every example runs and gives what the page shows; every refusal reads as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_examples import Example, examples, shown

from anomaly_app import Rows, SqlError, query
from anomaly_app.windows import SigmaRule

PAGE = (Path(__file__).parents[2] / "docs" / "windows.md").read_text("utf-8")
EXAMPLES = examples(PAGE)
REFUSED = re.findall(r"^\| `(SELECT .+)` \| (.*?) ?\|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.heading)
def test_an_example_gives_what_the_page_shows(example: Example) -> None:
    assert shown(example, "flink") == example.result


@pytest.mark.parametrize(("sql", "problem"), REFUSED)
def test_a_refusal_reads_as_the_page_says(sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=re.escape(problem)):
        query(sql, EXAMPLES[0].tables)


def test_there_are_examples_and_the_text_of_the_alert_is_right() -> None:
    assert len(EXAMPLES) >= 8 and len(REFUSED) >= 5
    rows = [("user001", 5_000.0 if n == 9 else 100.0, f"2026-01-01 09:00:0{n}") for n in range(10)]
    table = Rows([("userId", "STRING"), ("amount", "DOUBLE"), ("ts", "TIMESTAMP(3)")], rows, rowtime="ts")
    (row,) = query(SigmaRule("amount", by="userId", time="ts", size_ms=300_000), {"transactions": table}).rows
    assert row[-1] in PAGE.replace("\n", " ")
