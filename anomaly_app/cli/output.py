"""What commands print: tables for people, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from anomaly_app.formats.plain import plain as plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

WIDE = 10_000
"""Columns of an output that is no terminal: nothing is wrapped or cut there."""


def console(*, stderr: bool = False) -> Console:
    """A console that respects NO_COLOR and does not wrap what goes to a file or a pipe."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else WIDE, highlight=False)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on standard output."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(value) for value in row))
    console().print(table)


def print_json(value: Any) -> None:
    """A JSON document on standard output."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """CSV with a header on standard output."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)


def progress(unit: str) -> Progress:
    """Progress on standard error, only if that is a terminal.

    Args:
        unit: what is counted, such as ``records``.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    to = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=to, transient=True, disable=not to.is_terminal)


def note(text: str) -> None:
    """A line on standard error."""
    print(text, file=sys.stderr)


def text(value: Any, type_: str, null: str = "") -> str:
    """A value of a result as a cell of a table.

    Args:
        value: as :func:`anomaly_app.query` returns it.
        type_: its SQL type.
        null: what stands for NULL.
    """
    value = plain(value, type_)
    if value is None:
        return null
    if isinstance(value, bool):
        return str(value).upper()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else str(value)
