"""Columns of a file as values of SQL types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anomaly_app.errors import DataError

if TYPE_CHECKING:
    from anomaly_app.cli.files import FileTable


def read_columns(
    table: FileTable, columns: Sequence[tuple[str, str]], what: str
) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Rows of some columns, and what could not be read, in words.

    Args:
        table: a file.
        columns: names and SQL types.
        what: what the table is called in errors.

    Raises:
        DataError: there is no such column, or no row can be read.
    """
    from anomaly_app.expressions.tokens import Span
    from anomaly_app.jobs.binder import BoundTable
    from anomaly_app.operators import COLUMNS
    from anomaly_app.rows import Rows, schema_of, table_rows

    for name, _ in columns:
        table.reach(name)
    rows, rejected = table_rows(
        Rows(columns=list(columns), rows=table), BoundTable(what, schema_of(Rows(columns=list(columns))), Span(0, 0))
    )
    problems = [f"{len(table.unreadable)} lines are no rows"] * bool(table.unreadable)
    if rejected:
        problems.append(
            f"{len(rejected)} rows cannot be read; the first, row {rejected[0].number}: {rejected[0].reason}"
        )
    if not rows:
        raise DataError(f"{what}: no row can be read" + "".join(f"; {problem}" for problem in problems))
    return [row[COLUMNS:] for row in rows], problems
