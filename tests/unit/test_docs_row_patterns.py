"""docs/row-patterns.md: every example runs and gives what the page shows; every refusal reads as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_examples import DIALECTS, examples, shown

from anomaly_app import SqlError, query

PAGE = (Path(__file__).parents[2] / "docs" / "row-patterns.md").read_text("utf-8")

RUNS = [(example, dialect) for example in examples(PAGE) for dialect in example.dialects]
REFUSED = [
    (sql.replace("\\|", "|"), dialect, problem)
    for sql, dialects, problem in re.findall(r"^\| `(.+)` \| (flink|standard|both) \| (.*?) ?\|$", PAGE, re.MULTILINE)
    for dialect in (DIALECTS if dialects == "both" else (dialects,))
]


@pytest.mark.parametrize(("example", "dialect"), RUNS, ids=[f"{e.heading}-{d}" for e, d in RUNS])
def test_example(example, dialect):
    assert shown(example, dialect) == example.result


@pytest.mark.parametrize(("sql", "dialect", "problem"), REFUSED)
def test_refusal(sql, dialect, problem):
    ticks = examples(PAGE)[0].tables["ticks"]
    measures = "" if sql.startswith("MEASURES") else "MEASURES A.id AS id "
    with pytest.raises(SqlError) as caught:
        query(f"SELECT * FROM ticks MATCH_RECOGNIZE (ORDER BY ts {measures}{sql})", {"ticks": ticks}, dialect=dialect)
    assert caught.value.problem == problem.replace("\\|", "|")


def test_there_are_examples_and_refusals():
    assert len(RUNS) > 40
    assert len(REFUSED) > 40


def test_links_within_the_page_lead_somewhere():
    titles = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    headings = {re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) <= headings


def test_other_links_lead_somewhere():
    docs = Path(__file__).parents[2] / "docs"
    assert all((docs / link).exists() for link in re.findall(r"\]\(([^)#]+)\)", PAGE))


def test_the_python_example_prints_what_it_says(capsys):
    (program,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(program, {})
    rows_line, *sql = capsys.readouterr().out.splitlines()
    assert f"# {rows_line}" in program
    assert sql[0] == "SELECT * FROM sales MATCH_RECOGNIZE ("
