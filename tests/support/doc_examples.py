"""Pages of docs/ whose examples run: tables as csv blocks, queries as sql blocks, results as text blocks."""

from __future__ import annotations

import re
from typing import NamedTuple

from anomaly_app import Rows, query
from anomaly_app.cli.output import text

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
    """A table whose first line has names and types, and perhaps the event time ts; an empty field is NULL."""
    head, *lines = body.splitlines()
    columns = [(name, type_) for name, _, type_ in (column.partition(" ") for column in head.split(","))]
    cells = [[cell or None for cell in line.split(",")] for line in lines]
    return Rows(columns, cells, rowtime="ts" if "ts" in dict(columns) else None, watermark_delay_ms=1_000)


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
