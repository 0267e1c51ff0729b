"""Tables of the connector ``filesystem``: their options, and the file that they are."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from anomaly_app.errors import SqlValidationError
from anomaly_app.filesystem import FILE_FORMATS, FileTable
from anomaly_app.formats import format_options
from anomaly_app.formats.check import check_column
from anomaly_app.formats.options import OptionError, parse_options
from anomaly_app.jobs.options import FILESYSTEM, TableOptions
from anomaly_app.jobs.tables import bind_schema
from anomaly_app.schema import Origin, Schema
from anomaly_app.sql.statements import CreateTable

DEFAULT_INTERVAL_MS = 1_000
"""Between two looks at a file, if 'source.monitor-interval' does not say it."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """A table in a file.

    Args:
        name: the table's path, dotted.
        schema: all columns.
        table: the file.
        interval_ms: between two looks whether it has changed; 0 for never.
        place: of the path in the text, for errors.
        text: the whole text.
    """

    name: str
    schema: Schema
    table: FileTable
    interval_ms: int
    place: tuple[int, int]
    text: str


def is_file(create: CreateTable) -> bool:
    """Whether a table is one in a file."""
    return any(option.key == "connector" and option.value == FILESYSTEM for option in create.options)


def bind_file(create: CreateTable, warnings: list[str]) -> FileSource:
    """A table of the connector ``filesystem``.

    Args:
        create: the statement.
        warnings: takes what is accepted but has no meaning here.

    Raises:
        SqlValidationError: an option is unknown or wrong, or a column cannot be read from a file.

    Example:
        >>> from anomaly_app.sql import parse_statements
        >>> text = '''CREATE TABLE t (k STRING, v INT)
        ...     WITH ('connector' = 'filesystem', 'path' = 'file:///data/t.csv', 'format' = 'csv')'''
        >>> source = bind_file(parse_statements(text)[0], [])
        >>> str(source.table.path), source.table.names, source.interval_ms
        ('/data/t.csv', ['k', 'v'], 1000)
    """
    text = create.text
    schema = bind_schema(create, text)
    options = _options(create, warnings)
    format_ = options.one_of("format", FILE_FORMATS)
    prefix = f"{format_}."
    said = {key[len(prefix) :]: value for key, value in options.values.items() if key.startswith(prefix)}
    try:
        parsed = parse_options(format_, said) if format_ != "parquet" else None
    except OptionError as error:
        key = f"{format_}.{error.key}"
        raise options.fail(key, f"'{key}': {error.problem}") from None
    spans = {definition.name: definition.span for definition in create.columns}
    for column in schema.columns:
        if column.origin is Origin.METADATA:
            problem = f"table {options.table}: column {column.name!r}: a file has no metadata to read"
            raise SqlValidationError(problem, text, *spans[column.name])
        if column.origin is Origin.VALUE and parsed is not None:
            try:
                check_column(column, parsed)
            except TypeError as error:
                problem = f"table {options.table}: column {column.name!r} in the format '{format_}': {error}"
                raise SqlValidationError(problem, text, *spans[column.name]) from None
    columns = tuple(column for column in schema.columns if column.origin is Origin.VALUE)
    interval = options.duration_ms("source.monitor-interval")
    return FileSource(
        options.table, schema, FileTable(_path(options), format_, columns, said),
        DEFAULT_INTERVAL_MS if interval is None else interval, options.spans["path"], text,
    )  # fmt: skip


def _options(create: CreateTable, warnings: list[str]) -> TableOptions:
    """The table's options, by name: those that Flink knows and that mean nothing here are told."""
    text = create.text
    spans: dict[str, tuple[int, int]] = {"": create.span}
    values: dict[str, str] = {}
    table = ".".join(create.path)
    for option in create.options:
        if option.key in values:
            raise SqlValidationError(f"table {table}: option '{option.key}' is there twice", text, *option.span)
        values[option.key], spans[option.key] = option.value, option.span
    options = TableOptions(table, values, spans, text, _options_of, FILE_FORMATS, warnings)
    options.require("format", f"the formats of a file are {', '.join(FILE_FORMATS)}")
    format_ = options.one_of("format", FILE_FORMATS)
    valid = _MEANINGFUL | {f"{format_}.{name}" for name in _options_of(format_)}
    for key in values:
        if key in valid:
            continue
        if key == "source.path.regex-pattern":
            raise options.fail(key, f"option '{key}' is not supported: name the file")
        if not key.startswith(_IGNORED):
            near = difflib.get_close_matches(key, sorted(valid), 1, cutoff=0.75)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise options.fail(key, f"unknown option '{key}' of the connector '{FILESYSTEM}'{hint}")
        warnings.append(f"table {table}: option '{key}' has no meaning here and is ignored")
    return options


_MEANINGFUL = frozenset({"connector", "path", "format", "source.monitor-interval"})
_IGNORED = ("sink.", "partition.", "auto-compaction", "compaction.", "source.report-statistics", "parquet.")
"""How options of Flink's begin that are about writing files, or change no row."""


def _options_of(name: str) -> frozenset[str]:
    return frozenset() if name == "parquet" else format_options(name)


def _path(options: TableOptions) -> Path:
    said = options.require("path")
    parts = urlsplit(said)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if "://" in said:
        raise options.fail("path", f"{said!r} is not on this machine: a table in a file has a path, or file:///…")
    if not said:
        raise options.fail("path", "'path' is empty: name the file")
    return Path(said)
