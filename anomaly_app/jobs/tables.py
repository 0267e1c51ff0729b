"""CREATE TABLE to the model: schema, source, sink."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.nodes import Call
from anomaly_app.formats import FORMATS, OptionError, format_options, parse_options
from anomaly_app.formats.check import check_column
from anomaly_app.formats.options import CHANGE_FORMATS
from anomaly_app.jobs.computed import computed_column, watermark_delay
from anomaly_app.jobs.confluent import as_kafka
from anomaly_app.jobs.metadata import metadata_column
from anomaly_app.jobs.options import CONNECTORS, IDLE_CLOCK, INSTEAD, NULLS, SINKS_ONLY, TableOptions
from anomaly_app.jobs.ranges import BEGINNING, begin_of, end_of
from anomaly_app.jobs.topic_tables import Format, Sink, Source
from anomaly_app.jobs.topics import topic_of, topics_of
from anomaly_app.schema import Changelog, Column, Computed, DataType, Kind, Origin, Schema
from anomaly_app.secrecy import resolved
from anomaly_app.sql.statements import ColumnDefinition, CreateTable

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
    create = as_kafka(create) if create.options else create
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
    changelog = changelog_of(create, text)
    schema = Schema(tuple(columns), None, 0, proctime, tuple(create.primary_key), computed, changelog)
    if create.watermark is None:
        return schema
    time, delay = watermark_delay(create.watermark, columns, text)
    return replace(schema, rowtime=time.name, watermark_delay_ms=delay)


def changelog_of(create: CreateTable, text: str) -> Changelog:
    """How the rows of a table change it, as its connector and format have it.

    Args:
        create: the statement.
        text: the whole job file, for errors.

    Raises:
        SqlValidationError: it needs a primary key, and has none.
    """
    said = {option.key: option for option in create.options}
    if "connector" in said and said["connector"].value == "upsert-kafka":
        if not create.primary_key:
            problem = "a table of the connector 'upsert-kafka' needs a PRIMARY KEY: its columns are the record key"
            raise SqlValidationError(f"table {'.'.join(create.path)}: {problem}", text, *said["connector"].span)
        return Changelog.UPSERT
    return Changelog.ALL if _format_name(create) in CHANGE_FORMATS else Changelog.APPEND


def _format_name(create: CreateTable) -> str:
    """Name of the format of the values; "" without."""
    said = {option.key: option.value for option in create.options}
    return said.get("value.format") or said.get("format", "")


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
        definition.name: _column(definition, _format_name(create), text)
        for definition in create.columns
        if definition.name not in nodes
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
    create = as_kafka(create, warnings)
    schema = bind_schema(create, text)
    options = _options(create, text, warnings)
    connector = options.one_of("connector", CONNECTORS)
    if connector in SINKS_ONLY:
        raise options.fail("connector", f"a table of the connector '{connector}' can be written, not read")
    upsert = connector == "upsert-kafka"
    _check_primary_key(create, schema, options)
    key_fields, value_fields, prefix = _parts(schema, options)
    _check_types(create, schema, options, key_fields, value_fields)
    # The key of an upsert table is what its records are by, whatever their values say.
    inside = set(() if upsert else value_fields)
    columns = tuple(
        replace(column, origin=Origin.KEY, field=column.name[len(prefix) :])
        if column.name in key_fields and column.name not in inside
        else column
        for column in schema.columns
    )
    topics = topics_of(options)
    number = None if topics.pattern else len(topics.names)
    nulls = options.one_of(NULLS, ("fail", "skip"), "fail")
    if NULLS in options.values and schema.changelog is not Changelog.APPEND:
        raise options.fail(NULLS, f"'{NULLS}' is for an append-only table: here a record without value has a meaning")
    begin, end = BEGINNING if upsert else begin_of(options, number), end_of(options, number)
    return Source(
        name=options.table,
        schema=replace(schema, columns=columns),
        topic=topics.told,
        topics=topics,
        value_format=_format(options, "value"),
        key_format=_format(options, "key") if key_fields else None,
        key_fields=key_fields,
        value_fields=value_fields,
        begin=begin,
        end=end,
        skips_nulls=nulls == "skip",
        idle_timeout_ms=options.duration_ms("scan.watermark.idle-timeout"),
        idle_clock=_idle_clock(options, schema),
        client=options.client(),
    )


def _idle_clock(options: TableOptions, schema: Schema) -> bool:
    wanted = options.one_of(IDLE_CLOCK, ("false", "true"), "false") == "true"
    if wanted and schema.rowtime is None:
        raise options.fail(IDLE_CLOCK, "it is for a table with a WATERMARK: this one has no event time")
    return wanted


def bind_sink(create: CreateTable, text: str, warnings: list[str]) -> Sink:
    """A table that a query writes; arguments and errors as :func:`bind_source`."""
    create = as_kafka(create, warnings)
    schema = bind_schema(create, text)
    options = _options(create, text, warnings)
    connector = options.one_of("connector", CONNECTORS)
    columns = tuple(column for column in schema.columns if column.origin is Origin.VALUE)
    if connector in SINKS_ONLY:
        return _plain_sink(connector, columns, options)
    upsert = connector == "upsert-kafka"
    client = options.client()
    if client.pop("isolation.level", None) is not None:
        options.warn("properties.isolation.level", "it counts for a table that is read")
    if "properties.auto.offset.reset" in options.values and not upsert:
        options.warn("properties.auto.offset.reset", INSTEAD["auto.offset.reset"])
    _check_primary_key(create, schema, options)
    for definition in create.columns:
        if definition.metadata is not None and not definition.virtual:
            problem = f"METADATA column {definition.name!r} cannot be written: declare it VIRTUAL"
            raise SqlValidationError(problem, text, *definition.span)
    key_fields, value_fields, _ = _parts(schema, options)
    _check_types(create, schema, options, key_fields, value_fields)
    format_ = _format(options, "value")
    if format_.options.get("schema-include", "").strip().lower() == "true":
        key = options.format_prefix("value", format_.name) + "schema-include"
        raise options.fail(key, "events are written without their schema: leave 'schema-include' out")
    return Sink(
        name=options.table,
        columns=columns,
        topic=topic_of(options),
        value_format=format_,
        key_format=_format(options, "key") if key_fields else None,
        key_fields=key_fields,
        value_fields=value_fields,
        connector=connector,
        client=client,
    )


def _plain_sink(connector: str, columns: tuple[Column, ...], options: TableOptions) -> Sink:
    """A table for trying out."""
    said = options.one_of("standard-error", ("true", "false"), "false")
    return Sink(
        options.table,
        columns,
        "",
        Format(""),
        connector=connector,
        label=options.values.get("print-identifier", ""),
        to_stderr=said == "true",
    )


def _check_primary_key(create: CreateTable, schema: Schema, options: TableOptions) -> None:
    if schema.primary_key and schema.changelog is Changelog.APPEND:
        found = options.format("value")
        problem = f"a PRIMARY KEY cannot be held with the format '{found[0] if found else '?'}', whose rows only come"
        raise SqlValidationError(
            f"table {options.table}: {problem}: it needs 'connector' = 'upsert-kafka'", options.text, *create.span
        )


def _near(name: str, columns: list[Column]) -> str:
    near = difflib.get_close_matches(name, [column.name for column in columns], 1)
    return f"; did you mean {near[0]!r}?" if near and near[0] != name else ""


def _column(definition: ColumnDefinition, format_: str, text: str) -> Column:
    if definition.computed is not None:
        return Column(definition.name, _PROCTIME, Origin.PROCTIME)
    assert definition.type is not None, "the parser gives every column a type or an expression"
    if definition.metadata is None:
        return Column(definition.name, definition.type)
    return metadata_column(definition, format_, text)


def _options(create: CreateTable, text: str, warnings: list[str]) -> TableOptions:
    """The table's options, checked: names, formats and the formats' options."""
    table = ".".join(create.path)
    spans: dict[str, tuple[int, int]] = {"": create.span}
    values: dict[str, str] = {}
    for option in create.options:
        if option.key in values:
            raise SqlValidationError(f"table {table}: option '{option.key}' is there twice", text, *option.span)
        try:
            values[option.key], spans[option.key] = resolved(option.value), option.span
        except ValueError as error:
            raise SqlValidationError(f"table {table}: '{option.key}': {error}", text, *option.span) from None
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
        options.require("key.format", "the primary key is the record key")
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
    for part in ("key", "value") if upsert else ("key",):
        found = options.format(part)
        if found is not None and found[0] in CHANGE_FORMATS:
            whose = "a record of 'upsert-kafka'" if part == "value" else "a record key"
            raise options.fail(f"{part}.format", f"the format '{found[0]}' is of changes, and {whose} is a row")
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
