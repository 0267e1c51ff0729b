"""docs/sql.md: every line of its tables runs, examples give what the page shows, refusals read as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_examples import Example, examples, shown

from anomaly_app import SqlError, query

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text("utf-8")
EXAMPLES = examples(PAGE)
SUPPORTED, _, REFUSALS = PAGE.partition("## What is refused")
LINES = re.findall(r"^\| (.+?) \| `((?:SELECT|WITH|CREATE) .+)` \|$", SUPPORTED, re.MULTILINE)
REFUSED = re.findall(r"^\| `(SELECT .+)` \| (.*?) ?\|$", REFUSALS, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.heading)
def test_an_example_gives_what_the_page_shows(example: Example) -> None:
    assert shown(example, "flink") == example.result


@pytest.mark.parametrize(("what", "sql"), LINES, ids=[what for what, _ in LINES])
def test_a_line_runs(what: str, sql: str) -> None:
    assert query(sql, EXAMPLES[0].tables).rows, what


@pytest.mark.parametrize(("sql", "problem"), REFUSED)
def test_a_refusal_reads_as_the_page_says(sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=re.escape(problem)):
        query(sql, EXAMPLES[0].tables)


def test_no_line_is_overlooked() -> None:
    assert len(LINES) + len(REFUSED) + 11 == len(re.findall(r"^\| ", PAGE, re.MULTILINE))
