"""docs/joins.md: every example and every refusal reads as it runs; the pictures are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_examples import Example, examples, shown

from anomaly_app import SqlError, query

PLACE = Path(__file__).parents[2] / "docs" / "joins.md"
PAGE = PLACE.read_text("utf-8")
EXAMPLES = examples(PAGE)
REFUSED = re.findall(r"^\| `(SELECT .+)` \| (.*?) ?\|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.heading)
def test_an_example_gives_what_the_page_shows(example: Example) -> None:
    for dialect in example.dialects:
        assert shown(example, dialect) == example.result


@pytest.mark.parametrize(("sql", "problem"), REFUSED)
def test_a_refusal_reads_as_the_page_says(sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=re.escape(problem)):
        query(sql, EXAMPLES[-1].tables)


def test_there_are_examples_and_pictures() -> None:
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", PAGE)
    assert len(EXAMPLES) >= 6 and len(REFUSED) >= 4 and len(pictures) == 4
    for picture in pictures:
        assert (PLACE.parent / picture).read_text("utf-8").startswith("<svg")
