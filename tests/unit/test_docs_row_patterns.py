"""docs/row-patterns.md: every example runs and gives what the page shows; every refusal reads as it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from anomaly_app import Rows, SqlError, query
from anomaly_app.cli.output import text

PAGE = (Path(__file__).parents[2] / "docs" / "row-patterns.md").read_text("utf-8")
DIALECTS = ("flink", "standard")


class Example(NamedTuple):
    """A query of the page.

    Args:
        heading: it stands under.
        dialects: in which it gives the result.
        sql: the query.
        tables: rows by name.
        result: as shown.
    """

    heading: str
    dialects: tuple[str, ...]
    sql: str
    tables: dict[str, Rows]
    result: str


def examples(page: str) -> list[Example]:
    found: list[Example] = []
    heading, tables, waiting = "", {}, ("", "")
    for title, info, body in re.findall(r"^#+ ([^\n]+)$|^```(\w[^\n]*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        language, _, name = info.partition(" ")
        if title:
            heading = title
        elif language == "csv":
            tables = {**tables, name: rows(body)}
        elif language == "sql":
            waiting = (body, name)
        elif language == "text":
            sql, dialect = waiting
            found.append(Example(heading, (dialect,) if dialect else DIALECTS, sql, tables, body))
    return found


def rows(body: str) -> Rows:
    """A table whose first line has names and types."""
    head, *lines = body.splitlines()
    columns = [(name, type_) for name, _, type_ in (column.partition(" ") for column in head.split(","))]
    return Rows(columns, [line.split(",") for line in lines], rowtime="ts", watermark_delay_ms=1_000)


def shown(example: Example, dialect: str) -> str:
    """The result as the page shows it: aligned columns."""
    result = query(example.sql, example.tables, dialect=dialect)
    lines = [[name for name, _ in result.columns]]
    lines += [
        [text(value, type_, "NULL") for value, (_, type_) in zip(row, result.columns, strict=True)]
        for row in result.rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


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
