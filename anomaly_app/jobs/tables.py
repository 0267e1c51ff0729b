"""CREATE TABLE to the model: schema, source, sink."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.nodes import Call
from anomaly_app.formats import FORMATS, OptionError, format_options, parse_options
from anomaly_app.formats.check import check_column
from anomaly_app.jobs.computed import computed_column, watermark_delay
from anomaly_app.jobs.model import Format, Sink, Source, Startup
from anomaly_app.jobs.options import CONNECTORS, INSTEAD, TableOptions
from anomaly_app.schema import TEXTS, TIMESTAMPS, Column, Computed, DataType, Kind, Origin, Schema
from anomaly_app.sql.statements import ColumnDefinition, CreateTable

METADATA = {
    "timestamp": TIMESTAMPS,
    "partition": frozenset({Kind.INT, Kind.BIGINT}),
    "offset": frozenset({Kind.BIGINT}),
    "topic": TEXTS,
    "timestamp-type": TEXTS,
    "headers": frozenset({Kind.MAP}),
}
"""Metadata keys of a Kafka record that a column may read, and the types that it may have."""

_NOT_READ = ("leader-epoch",)

_HEADERS = "MAP<STRING, BYTES>"

_PROCTIME = DataType(Kind.TIMESTAMP_LTZ, 3, nullable=False)


def bind_schema(create: CreateTable, text: str) -> Schema:
    """Columns, time attribute and primary key of a table.

    Args:
        create: the statement.
        text: the whole job file, for errors.

    Raises:
        SqlValidationError: a column, the watermark or the primary key makes no sense or is not supported.

    Example:
        >>> from anomaly_app.sql import parse_statements
        >>> text = "CREATE TABLE t (a INT, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)"
        >>> schema = bind_schema(parse_statements(text)[0], text)
        >>> schema.rowtime, schema.watermark_delay_ms
        ('ts', 1000)
    """
    columns, computed = _columns(create, text)
    if not columns:
        raise SqlValidationError(f"table {'.'.join(create.path)} has no columns", text, *create.span)
    proctimes = [column.name for column in columns if column.origin is Origin.PROCTIME]
    if len(proctimes) > 1:
        raise SqlValidationError("a table has at most one processing-time column", text, *create.span)
    for name in create.primary_key:
        place = next((number for number, column in enumerate(columns) if column.name == name), None)
        if place is None or columns[place].origin is not Origin.VALUE:
            raise SqlValidationError(
                f"{name!r} in PRIMARY KEY must be a plain column{_near(name, columns)}", text, *create.span
            )
        columns[place] = replace(columns[place], type=columns[place].type.with_nullable(False))
    proctime = proctimes[0] if proctimes else None
    schema = Schema(tuple(columns), None, 0, proctime, tuple(create.primary_key), computed)
    if create.watermark is None:
        return schema
    time, delay = watermark_delay(create.watermark, columns, text)
    return replace(schema, rowtime=time.name, watermark_delay_ms=delay)


def _columns(create: CreateTable, text: str) -> tuple[list[Column], Mapping[str, Computed]]:
    """Columns in order, and the expressions of those that are computed: these read the others, wherever they stand."""
    for number, definition in enumerate(create.columns):
        if any(other.name == definition.name for other in create.columns[:number]):
            raise SqlValidationError(f"column {definition.name!r} is there twice", text, *definition.span)
    nodes = {
        definition.name: definition.computed
        for definition in create.columns
        if definition.computed is not None and not _is_proctime(definition)
    }
    sources = {
        definition.name: _column(definition, text) for definition in create.columns if definition.name not in nodes
    }
    columns: list[Column] = []
    computed: dict[str, Computed] = {}
    for definition in create.columns:
        if definition.name in nodes:
            read = [column for column in sources.values() if column.origin is not Origin.PROCTIME]
            column, computed[definition.name] = computed_column(definition, read, nodes, text)
            columns.append(column)
        else:
            columns.append(sources[definition.name])
    return columns, computed


def _is_proctime(definition: ColumnDefinition) -> bool:
    return isinstance(definition.computed, Call) and definition.computed.name == "PROCTIME"


def bind_source(create: CreateTable, text: str, warnings: list[str]) -> Source:
    """A table that a query reads.

    Args:
        create: the statement.
        text: the whole job file, for errors.
        warnings: takes what is accepted but has no meaning here.

    Raises:
        SqlValidationError: an option is unknown or wrong, or the table cannot be read; points into the text.
    """
    schema = bind_schema(create, text)
    options = _options(create, text, warnings)
    if options.one_of("connector", CONNECTORS) != "kafka":
        problem = "a table of the connector 'upsert-kafka' is a sink here: read its topic with 'connector' = 'kafka'"
        raise options.fail("connector", problem)
    if schema.primary_key:
        problem = "a PRIMARY KEY is for tables of the connector 'upsert-kafka': this one is append-only"
        raise SqlValidationError(f"table {options.table}: {problem}", text, *create.span)
    key_fields, value_fields, prefix = _parts(schema, options)
    _check_types(create, schema, options, key_fields, value_fields)
    inside = set(value_fields)
    columns = tuple(
        replace(column, origin=Origin.KEY, field=column.name[len(prefix) :])
        if column.name in key_fields and column.name not in inside
        else column
        for column in schema.columns
    )
    startup = Startup(options.one_of("scan.startup.mode", _STARTUP, "group-offsets"))
    timestamp = options.whole_number("scan.startup.timestamp-millis")
    if (timestamp is None) is (startup is Startup.TIMESTAMP):
        problem = "'scan.startup.timestamp-millis' and 'scan.startup.mode' = 'timestamp' need each other"
        raise options.fail("scan.startup.mode" if timestamp is None else "scan.startup.timestamp-millis", problem)
    return Source(
        name=options.table,
        schema=replace(schema, columns=columns),
        topic=_topic(options),
        value_format=_format(options, "value"),
        key_format=_format(options, "key") if key_fields else None,
        key_fields=key_fields,
        value_fields=value_fields,
        startup=startup,
        startup_timestamp_ms=timestamp,
        bounded=options.one_of("scan.bounded.mode", ("unbounded", "latest-offset"), "unbounded") == "latest-offset",
        idle_timeout_ms=options.duration_ms("scan.watermark.idle-timeout"),
        group_reset=_group_reset(options, startup),
        client=options.client(),
    )


def bind_sink(create: CreateTable, text: str, warnings: list[str]) -> Sink:
    """A table that a query writes; arguments and errors as :func:`bind_source`."""
    schema = bind_schema(create, text)
    options = _options(create, text, warnings)
    upsert = options.one_of("connector", CONNECTORS) == "upsert-kafka"
    client = options.client()
    if client.pop("isolation.level", None) is not None:
        options.warn("properties.isolation.level", "it counts for a table that is read")
    if "properties.auto.offset.reset" in options.values and not upsert:
        options.warn("properties.auto.offset.reset", INSTEAD["auto.offset.reset"])
    if schema.primary_key and not upsert:
        raise SqlValidationError(
            f"table {options.table}: a PRIMARY KEY needs 'connector' = 'upsert-kafka'", text, *create.span
        )
    for definition in create.columns:
        if definition.metadata is not None and not definition.virtual:
            problem = f"METADATA column {definition.name!r} cannot be written: declare it VIRTUAL"
            raise SqlValidationError(problem, text, *definition.span)
    key_fields, value_fields, _ = _parts(schema, options)
    _check_types(create, schema, options, key_fields, value_fields)
    return Sink(
        name=options.table,
        columns=tuple(column for column in schema.columns if column.origin is Origin.VALUE),
        topic=_topic(options),
        value_format=_format(options, "value"),
        key_format=_format(options, "key") if key_fields else None,
        key_fields=key_fields,
        value_fields=value_fields,
        upsert=upsert,
        client=client,
    )


def _group_reset(options: TableOptions, startup: Startup) -> str:
    key = "properties.auto.offset.reset"
    reset = options.one_of(key, ("earliest", "latest", "none"), "earliest")
    if key in options.values and startup is not Startup.GROUP:
        options.warn(key, f"'scan.startup.mode' = '{startup.value}' says where to begin")
    return reset


_STARTUP = tuple(startup.value for startup in Startup)


def _near(name: str, columns: list[Column]) -> str:
    near = difflib.get_close_matches(name, [column.name for column in columns], 1)
    return f"; did you mean {near[0]!r}?" if near and near[0] != name else ""


def _column(definition: ColumnDefinition, text: str) -> Column:
    name = definition.name
    if definition.computed is not None:
        return Column(name, _PROCTIME, Origin.PROCTIME)
    type_ = definition.type
    assert type_ is not None, "the parser gives every column a type or an expression"
    if definition.metadata is None:
        return Column(name, type_)
    key = definition.metadata
    if key not in METADATA:
        known = ", ".join(f"'{name}'" for name in METADATA)
        what = "is not supported" if key in _NOT_READ or key.startswith("value.") else "does not exist"
        near = difflib.get_close_matches(key, list(METADATA), 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise SqlValidationError(f"metadata '{key}' {what}: there are {known}{hint}", text, *definition.span)
    fits = type_.kind in METADATA[key]
    if key == "headers" and fits:
        fits = type_.key is not None and type_.key.kind in TEXTS
        fits = fits and type_.element is not None and type_.element.kind is Kind.BYTES
    if not fits:
        wanted = _HEADERS if key == "headers" else " or ".join(sorted(kind.value for kind in METADATA[key]))
        raise SqlValidationError(f"metadata '{key}' cannot be read as {type_}: use {wanted}", text, *definition.span)
    return Column(name, type_, Origin.METADATA, key)


def _options(create: CreateTable, text: str, warnings: list[str]) -> TableOptions:
    """The table's options, checked: names, formats and the formats' options."""
    table = ".".join(create.path)
    spans: dict[str, tuple[int, int]] = {"": create.span}
    values: dict[str, str] = {}
    for option in create.options:
        if option.key in values:
            raise SqlValidationError(f"table {table}: option '{option.key}' is there twice", text, *option.span)
        values[option.key], spans[option.key] = option.value, option.span
    if not values:
        raise SqlValidationError(
            f"table {table} has no WITH options: 'connector', 'topic' and a format are needed", text, *create.span
        )
    options = TableOptions(table, values, spans, text, format_options, tuple(FORMATS), warnings)
    options.validate()
    for part in ("key", "value"):
        found = options.format(part)
        if found is None:
            continue
        try:
            parse_options(*found)
        except OptionError as error:
            key = options.format_prefix(part, found[0]) + error.key
            raise options.fail(key, f"'{key}': {error.problem}") from None
    return options


def _topic(options: TableOptions) -> str:
    topic = options.require("topic")
    if ";" in topic:
        raise options.fail("topic", "a list of topics is not supported: make one table for each")
    if not topic or len(topic) > 249 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in topic):
        raise options.fail("topic", f"{topic!r} is not a topic name (letters, digits, '.', '_' and '-')")
    return topic


def _format(options: TableOptions, part: str) -> Format:
    found = options.format(part)
    if found is None:
        raise options.fail(None, f"option '{part}.format' is missing; the formats are {', '.join(FORMATS)}")
    return Format(*found)


def _parts(schema: Schema, options: TableOptions) -> tuple[tuple[str, ...], tuple[str, ...], str]:
    """Names of the columns in the key and in the value, and the prefix of the key's."""
    plain = [column.name for column in schema.columns if column.origin is Origin.VALUE]
    upsert = options.values["connector"] == "upsert-kafka"
    if upsert:
        if not schema.primary_key:
            raise options.fail("connector", "a table of the connector 'upsert-kafka' needs a PRIMARY KEY")
        options.require("key.format", "upsert-kafka writes the primary key as the record key")
        options.require("value.format")
        key_fields = list(schema.primary_key)
    else:
        if "format" in options.values and "value.format" in options.values:
            raise options.fail("format", "'format' and 'value.format' say the same: give one of them")
        key_fields = [name.strip() for name in options.values.get("key.fields", "").split(";") if name.strip()]
        if key_fields and "key.format" not in options.values:
            raise options.fail("key.fields", "'key.fields' needs a 'key.format'")
        if "key.format" in options.values and not key_fields:
            raise options.fail("key.format", "'key.format' needs 'key.fields' (names joined by ';')")
    _format(options, "value")
    include = options.one_of("value.fields-include", ("ALL", "EXCEPT_KEY"), "ALL")
    prefix = options.values.get("key.fields-prefix", "")
    if prefix and include == "ALL":
        raise options.fail("key.fields-prefix", "'key.fields-prefix' needs 'value.fields-include' = 'EXCEPT_KEY'")
    for name in key_fields:
        place = "connector" if upsert else "key.fields"
        if name not in plain:
            hint = _near(name, [column for column in schema.columns if column.name in plain])
            raise options.fail(place, f"key field {name!r} is not a plain column of the table{hint}")
        if not name.startswith(prefix):
            raise options.fail("key.fields-prefix", f"key field {name!r} does not begin with {prefix!r}")
    value_fields = tuple(name for name in plain if include == "ALL" or name not in key_fields)
    for part, names in (("key", key_fields), ("value", value_fields)):
        found = options.format(part)
        if found and found[0] == "raw" and len(names) != 1:
            raise options.fail(f"{part}.format", f"the format 'raw' is for one column, and the {part} has {len(names)}")
    return tuple(key_fields), value_fields, prefix


def _check_types(
    create: CreateTable,
    schema: Schema,
    options: TableOptions,
    key_fields: tuple[str, ...],
    value_fields: tuple[str, ...],
) -> None:
    """Refuse columns that the format of their part cannot hold."""
    spans = {definition.name: definition.span for definition in create.columns}
    for part, names in (("key", key_fields), ("value", value_fields)):
        found = options.format(part)
        if found is None:
            continue
        for column in schema.columns:
            if column.name not in names:
                continue
            try:
                check_column(column, parse_options(*found))
            except TypeError as error:
                problem = f"table {options.table}: column {column.name!r} in the format '{found[0]}': {error}"
                raise SqlValidationError(problem, options.text, *spans[column.name]) from None
