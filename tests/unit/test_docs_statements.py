"""docs/statements.md: every example and every statement runs; every refusal reads as it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_examples import Example, examples, rows

from anomaly_app import Result, Session, SqlError
from anomaly_app.cli.output import text

PAGE = (Path(__file__).parents[2] / "docs" / "statements.md").read_text("utf-8")
EXAMPLES = examples(PAGE)
SALES = rows(re.findall(r"^```csv sales\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
DONE, REFUSED = (
    re.findall(r"^\| `(.+?)` \| ?(.*?) ?\|$", part, re.MULTILINE)
    for part in PAGE.partition("## All statements")[2].split("## What there is not")
)


def _session() -> Session:
    return Session({"sales": SALES}, function_modules=["math_functions"])


def _shown(result: Result) -> str:
    lines = [[name for name, _ in result.columns]]
    for row in result.rows:
        cells = [text(value, type_, "NULL") for value, (_, type_) in zip(row, result.columns, strict=True)]
        if "\n" in cells[0]:
            return "\n".join(cells).rstrip("\n") + "\n"
        lines.append(
            [
                cell.upper() if type_ == "BOOLEAN" else cell
                for cell, (_, type_) in zip(cells, result.columns, strict=True)
            ]
        )
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.heading)
def test_an_example_gives_what_the_page_shows(example: Example) -> None:
    assert _shown(_session().run(example.sql)[-1]) == example.result


def test_all_statements_run_one_behind_the_other() -> None:
    session = _session()
    for statement, remark in DONE:
        if "refused unless" in remark:
            with pytest.raises(SqlError, match=r"functions\.modules allows no module 'math': it has math_functions"):
                session.execute(statement)
        else:
            result = session.execute(statement)
            assert result.rows or statement in ("SET", "SHOW USER FUNCTIONS")


@pytest.mark.parametrize(("sql", "problem"), REFUSED)
def test_a_refusal_reads_as_the_page_says(sql: str, problem: str) -> None:
    with pytest.raises(SqlError, match=re.escape(problem)):
        _session().execute(sql)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 5 and len(DONE) >= 45 and len(REFUSED) >= 12
