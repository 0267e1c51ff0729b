"""``anomaly query``: SQL over files, with the engine of the worker."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from anomaly_app.cli.options import (
    ConfigFile,
    Dialect,
    Json,
    Parameters,
    check_used,
    given_parameters,
    load,
    read_sql,
)
from anomaly_app.cli.output import note, plain, print_csv, print_json, print_table, progress, text

if TYPE_CHECKING:
    from rich.progress import Progress

    from anomaly_app import Result, Rows
    from anomaly_app.cli.files import FileTable
    from anomaly_app.incoming import Chunk
    from anomaly_app.schema import Column
    from anomaly_app.sql.statements import CreateTable

NEVER_LATE_MS = 1 << 60
"""A file is complete: without a bound on disorder no row of it can be late."""


def query(
    sql: Annotated[str, typer.Argument(help="A job file, or the text of a SELECT.", metavar="JOB_OR_SQL")],
    rows: Annotated[
        Path | None, typer.Argument(help="Rows of the query's table, in place of --table.", metavar="FILE")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option(
            "--table", help="Rows of a table: a .csv (with header), .jsonl or .parquet file.", metavar="NAME=FILE"
        ),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Types, such as 'user_id STRING, ts TIMESTAMP(3)'; else inferred.")
    ] = None,
    rowtime: Annotated[str | None, typer.Option(help="Event-time column; else the only TIMESTAMP.")] = None,
    delay: Annotated[
        str | None, typer.Option(help="Bound on disorder, such as 500ms, 1s or 2min; without it no row is late.")
    ] = None,
    proctime: Annotated[str | None, typer.Option(help="Add a processing-time column of this name.")] = None,
    set: Parameters = None,
    dialect: Dialect = "flink",
    json: Json = False,
    config: ConfigFile = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    late: Annotated[bool, typer.Option("--late", help="Print the late rows in place of the result's.")] = False,
    rejected: Annotated[
        bool,
        typer.Option("--rejected", help="Print the rows that could not be read, and why, in place of the result's."),
    ] = False,
    changes: Annotated[
        bool, typer.Option("--changes", help="Print what became of the result's rows: +I, -U, +U, -D.")
    ] = False,
    explain_match: Annotated[
        bool, typer.Option("--explain-match", help="Print which source row was which pattern variable.")
    ] = False,
) -> None:
    """Run a query over files: the same rows as the worker gives. CREATE TABLE statements come before the options.

    Example: anomaly query "SELECT user_id FROM sales WHERE CAST(quantity AS INT) > 9" --table sales=sales.csv

    Example: anomaly query jobs/unusual_sales.sql --table SalesRecordTable=sales.csv --json

    Example: anomaly query spikes.sql sales.csv --explain-match
    """
    from anomaly_app.batch import run
    from anomaly_app.cli.changes import read_changes
    from anomaly_app.cli.files import read_table
    from anomaly_app.errors import SqlError
    from anomaly_app.jobs.tables import changelog_of
    from anomaly_app.schema import Changelog

    if json and csv:
        raise typer.BadParameter("--json or --csv, not both")
    if late and explain_match:
        raise typer.BadParameter("--late or --explain-match, not both: late rows are in no match")
    if rejected and (late or explain_match):
        raise typer.BadParameter("--rejected goes without --late and --explain-match")
    if changes and (late or rejected or explain_match):
        raise typer.BadParameter("--changes goes without --late, --rejected and --explain-match")
    body, name = read_sql(sql)
    given_values = given_parameters(set)
    plain_body = _with_values(body, given_values, name)
    if rows is not None and table:
        raise typer.BadParameter("give the rows as FILE or with --table, not both")
    files: dict[str, FileTable] = {}
    with progress("rows") as bar:
        tables = {}
        for given in [f"{_table_of(plain_body, name)}={rows}"] if rows is not None else table or ():
            known, equals, path = given.partition("=")
            if not equals:
                raise typer.BadParameter(
                    f"{given!r} should be NAME=FILE, such as sales=sales.csv", param_hint="--table"
                )
            create = _declared_tables(plain_body).get(known.replace("`", "").lower())
            changelog = Changelog.APPEND if create is None else changelog_of(create, plain_body)
            kinds: Sequence[str] = ()
            if create is None or changelog is Changelog.APPEND:
                file = read_table(Path(path))
            else:
                file, kinds = read_changes(Path(path), changelog is Changelog.ALL)
            files[known] = file
            tables[known] = _table(file, path, create is not None, columns, rowtime, delay, proctime)
            tables[known].kinds = kinds
            tables[known].rows = _Watched(file, bar, path)
        try:
            connections = load(config, None).settings.connection_options
            result = run(body, tables, dialect=dialect, parameters=given_values, connections=connections)
        except SqlError as error:
            note(f"anomaly: {name}: {error}")
            raise typer.Exit(2) from error
    bad = _bad(result, files)
    if rejected and not json:
        (print_csv if csv else print_table)(["where", "reason", "row"], [list(each) for each in bad])
    else:
        _print(result, json, csv, late, changes, explain_match, bad)
    if bad and not json:
        shown = "" if rejected else f", the first: {bad[0].where}: {bad[0].reason} (--rejected shows all)"
        note(f"rejected: {len(bad):,}{shown}")
    if bad and not result.read:
        note("anomaly: no row can be read")
        raise typer.Exit(2)


def _with_values(body: str, given: Mapping[str, str], name: str) -> str:
    """The text with the values of its parameters."""
    from anomaly_app.errors import SqlError
    from anomaly_app.sql.parameters import substitute

    try:
        made = substitute(body, given)
    except SqlError as error:
        note(f"anomaly: {name}: {error}")
        raise typer.Exit(2) from error
    check_used(given, (parameter.name for parameter in made.parameters))
    return made.text


class _Bad(NamedTuple):
    """A row or line of a file that could not be read."""

    where: str
    reason: str
    row: str


def _bad(result: Result, files: Mapping[str, FileTable]) -> list[_Bad]:
    """All of them, by file in the order of their lines."""
    found: list[_Bad] = []
    others = [row for row in result.rejected if row.table not in files]  # of files that CREATE TABLE names
    several = len({*files, *(row.table for row in others)}) > 1
    for name, file in files.items():
        prefix = f"{name}, " if several else ""
        lines = [(line, _Bad(f"{prefix}line {line}", reason, text)) for line, reason, text in file.unreadable]
        for row in result.rejected:
            if row.table == name:
                values = ",".join("" if value is None else str(value) for value in row.values)
                line = file.lines[row.number - 1] if file.lines else row.number
                lines.append((line, _Bad(prefix + file.place(row.number), row.reason, values)))
        found += [bad for _, bad in sorted(lines, key=lambda each: each[0])]
    for row in others:
        values = ",".join("" if value is None else str(value) for value in row.values)
        found.append(_Bad(f"{row.table}, row {row.number}" if several else f"row {row.number}", row.reason, values))
    return found


class _Watched:
    """A file whose rows are counted by a progress bar as they are read."""

    def __init__(self, file: FileTable, bar: Progress, path: str) -> None:
        self._file, self._bar = file, bar
        self._task = bar.add_task(path, total=len(file))
        self.names, self.absent_is_null = file.names, file.absent_is_null

    def chunks(self, wanted: Sequence[Column], size: int) -> Iterator[Chunk]:
        for chunk in self._file.chunks(wanted, size):
            yield chunk
            self._bar.advance(self._task, len(chunk.positions) + len(chunk.rejected))


def _declared_tables(body: str) -> Mapping[str, CreateTable]:
    """The CREATE TABLE statements of a text, by name; its mistakes are found when it runs."""
    from anomaly_app.errors import SqlError
    from anomaly_app.sql import parse_statements
    from anomaly_app.sql.statements import CreateTable

    try:
        statements = parse_statements(body)
    except SqlError:
        return {}
    return {".".join(each.path).lower(): each for each in statements if isinstance(each, CreateTable)}


def _table_of(body: str, name: str) -> str:
    """The table that the first query of a text reads; the text's other mistakes are found when it runs."""
    from anomaly_app.errors import SqlError
    from anomaly_app.sql import parse_statements
    from anomaly_app.sql.queries import Select
    from anomaly_app.sql.statements import Insert

    try:
        statements = parse_statements(body)
    except SqlError as error:
        note(f"anomaly: {name}: {error}")
        raise typer.Exit(2) from error
    queries = [part.query if isinstance(part, Insert) else part for part in statements]
    return next((part.source.name for part in queries if isinstance(part, Select)), "rows")


def _table(
    file: FileTable,
    path: str,
    declared: bool,
    columns: str | None,
    rowtime: str | None,
    delay: str | None,
    proctime: str | None,
) -> Rows:
    """The rows of a file with types and event time, where a CREATE TABLE has not ``declared`` them."""
    from anomaly_app import Rows

    bound = NEVER_LATE_MS if delay is None else _milliseconds(delay)
    if declared:
        return Rows()
    said = {} if columns is None else _declared(columns, file, path)
    types = {name: said.get(name) or file.type_of(name) for name in file.names}
    if proctime is None or rowtime is not None:
        rowtime = _event_time(file, types, said, rowtime)
    return Rows(list(types.items()), (), rowtime, bound if rowtime else 0, proctime)


def _event_time(file: FileTable, types: dict[str, str], said: Mapping[str, str], rowtime: str | None) -> str | None:
    """The event-time column: ``rowtime``, or else the only TIMESTAMP; its type too if some of its values are no times.

    A column is a column of times if most values are: the others cost their rows, and not the type of all.
    """
    from anomaly_app.cli.inference import mostly_times

    if rowtime is not None:
        if types.get(rowtime) == "STRING" and rowtime not in said:
            types[rowtime] = mostly_times(file.values(rowtime)) or "TIMESTAMP(3)"
        return rowtime
    times = {name: type_ for name, type_ in types.items() if type_.startswith("TIMESTAMP")}
    if not times:
        texts = [name for name, type_ in types.items() if type_ == "STRING" and name not in said]
        mostly = {name: mostly_times(file.values(name)) for name in texts}
        times = {name: type_ for name, type_ in mostly.items() if type_ is not None}
    if len(times) != 1:
        return None
    types.update(times)
    return next(iter(times))


def _declared(columns: str, file: FileTable, path: str) -> dict[str, str]:
    """Types of ``--columns``, for columns of the file; those that it does not name are inferred."""
    from anomaly_app.errors import SqlError
    from anomaly_app.sql import parse_statements
    from anomaly_app.sql.statements import CreateTable

    try:
        statement = parse_statements(f"CREATE TABLE t ({columns})")[0]
    except SqlError as error:
        raise typer.BadParameter(error.problem, param_hint="--columns") from error
    if not isinstance(statement, CreateTable):
        raise typer.BadParameter("expected names and types of columns", param_hint="--columns")
    declared = {column.name: str(column.type) for column in statement.columns}
    for name in declared:
        if name not in file.names:
            have = ", ".join(file.names)
            raise typer.BadParameter(f"{path} has no column {name!r}; it has {have}", param_hint="--columns")
    return declared


_UNITS_MS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}


def _milliseconds(delay: str) -> int:
    found = re.fullmatch(r"(\d+)\s*(ms|s|min|h)", delay.strip())
    if found is None:
        raise typer.BadParameter(f"{delay!r} should be a duration such as 500ms, 1s or 2min", param_hint="--delay")
    return int(found[1]) * _UNITS_MS[found[2]]


def _print(
    result: Result, json: bool, csv: bool, late: bool, changes: bool, explain_match: bool, bad: Sequence[_Bad]
) -> None:
    if json:
        described = [{"name": name, "type": type_} for name, type_ in result.columns]
        rows = [_object(result.columns, row) for row in result.rows]
        lates = [_object(result.late_columns, row) for row in result.late]
        inside = [{"node": late.node, "row": _object(late.columns, late.row)} for late in result.late_inside]
        document = {
            "columns": described, "rows": rows, "late": lates, "late_inside": inside,
            "rejected": [each._asdict() for each in bad],
        }  # fmt: skip
        if changes:
            told = [{"op": kind, "row": _object(result.columns, row)} for kind, row in result.changes]
            document = {**document, "changes": told}
        print_json(document | (_matches(result) if explain_match else {}))
        return
    columns, table = (result.late_columns, result.late) if late else (result.columns, result.rows)
    show = print_csv if csv else print_table
    cells = [[text(value, type_) for value, (_, type_) in zip(row, columns, strict=True)] for row in table]
    names = [name for name, _ in columns]
    if changes:
        names = ["op", *names]
        cells = [
            [kind, *(text(value, type_) for value, (_, type_) in zip(row, columns, strict=True))]
            for kind, row in result.changes
        ]
    show(names, cells)
    if explain_match:
        print()
        show(["row", "variable", *(name for name, _ in result.late_columns)], _bindings(result))
    if not csv:
        count = len(result.rows)
        note(
            f"{count:,} row{'s' * (count != 1)}" + (f"; late and dropped: {len(result.late):,}" if result.late else "")
        )
    for node, dropped in Counter(one.node for one in result.late_inside).items():
        note(f"rows of the query itself that were late, and dropped, at {node}: {dropped:,} (--json shows them)")


def _matches(result: Result) -> dict[str, Any]:
    """For each row of the result the rows that it used."""
    columns = result.late_columns
    return {
        "matches": [
            [{"variable": variable, "row": _object(columns, row)} for variable, row in match]
            for match in result.matches
        ]
    }


def _bindings(result: Result) -> list[list[str]]:
    """Which source row was which variable: a line for each, below each other for the rows of one match.

    The first cell tells the row of the result, counted from 1; the first and the last if one match gave several.
    """
    lines = []
    first = 0
    for match, same in groupby(result.matches):
        last = first + len(list(same))
        shown = str(last) if last == first + 1 else f"{first + 1}-{last}"
        for variable, row in match:
            cells = [text(value, type_) for value, (_, type_) in zip(row, result.late_columns, strict=True)]
            lines.append([shown, variable, *cells])
        first = last
    return lines


def _object(columns: Sequence[tuple[str, str]], row: Sequence[Any]) -> dict[str, Any]:
    return {name: plain(value, type_) for (name, type_), value in zip(columns, row, strict=True)}
