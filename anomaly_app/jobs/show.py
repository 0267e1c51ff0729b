"""What SHOW and DESCRIBE print, column by column as Flink does."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.functions import FUNCTIONS
from anomaly_app.expressions.text_values import like_matcher
from anomaly_app.expressions.tokens import Span
from anomaly_app.jobs import model_show
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.plan.analysis.analyzer import Analyzer
from anomaly_app.schema import Column, DataType, Kind, Origin, Schema
from anomaly_app.secrecy import MASK, is_secret
from anomaly_app.sql.commands import Describe, Show
from anomaly_app.sql.statements import ColumnDefinition, CreateTable, WatermarkDefinition
from anomaly_app.words import nearest

NOWHERE = Span(0, 0)
_NEVER_LATE_MS = 1 << 60  # as of a frame, which is complete: its rows cannot be late


class Told(NamedTuple):
    """What a statement tells.

    Args:
        columns: name and SQL type of each column.
        rows: their values.
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[Any, ...]]


OK = Told([("result", "STRING")], [("OK",)])
"""What statements give that only change something."""

_DESCRIBED = [("name", "STRING"), ("type", "STRING"), ("null", "BOOLEAN")]
_DESCRIBED += [("key", "STRING"), ("extras", "STRING"), ("watermark", "STRING")]


def show(statement: Show, catalog: Catalog, analyzer: Analyzer) -> Told:
    """Rows of SHOW.

    Args:
        statement: the statement.
        catalog: whose names.
        analyzer: of views, to know their columns.

    Raises:
        SqlError: a name is unknown, or a view is wrong.
    """
    what = statement.what
    if what == "COLUMNS":
        told = describe(Describe(statement.span, statement.path, statement.place), catalog, analyzer)
        return Told(told.columns, [row for row in told.rows if _fits(statement, row[0])])
    if what in ("CREATE MODEL", "CREATE CONNECTION"):
        return Told([("result", "STRING")], [(model_show.statement(statement, catalog),)])
    if what in ("CREATE TABLE", "CREATE VIEW"):
        return Told([("result", "STRING")], [(_create(statement, catalog, analyzer),)])
    if what.startswith("CURRENT"):
        place = catalog.current[what == "CURRENT DATABASE"]
        return Told([(f"{what.lower()} name", "STRING")], [(place,)])
    heading = {"USER FUNCTIONS": "function name"}.get(what, f"{what.lower()[:-1]} name")
    names = sorted(name for name in _names(statement, catalog) if _fits(statement, name))
    return Told([(heading, "STRING")], [(name,) for name in names])


def _names(statement: Show, catalog: Catalog) -> Iterable[str]:
    what, path, place = statement.what, statement.path, statement.place
    if what == "USER FUNCTIONS":
        return [name.lower() for name in catalog.functions]
    if what == "FUNCTIONS":
        return [name.lower() for name in [*FUNCTIONS, *catalog.functions]]
    if what == "CATALOGS":
        return catalog.catalogs()
    if what == "CONNECTIONS":
        return sorted({*catalog.models.connections, *catalog.models.given})
    if what == "DATABASES":
        if path and path[0] not in catalog.catalogs():
            raise catalog.fail(f"unknown catalog {path[0]!r}{nearest(path[0], catalog.catalogs())}", place)
        return catalog.databases(path[0] if path else None)
    where = ((catalog.current[0], *path) if len(path) == 1 else path) if path else catalog.current
    if where[-1] not in catalog.databases(where[0]):
        hint = nearest(where[-1], catalog.databases(where[0]))
        raise catalog.fail(f"unknown database {where[-1]!r}{hint}", place)
    kinds: Mapping[str, Iterable[str]] = {"TABLES": [*catalog.tables, *catalog.views], "MODELS": catalog.models.models}
    every = kinds.get(what, catalog.views)
    return [catalog.place(name)[2] for name in every if catalog.place(name)[:2] == where]


def _fits(statement: Show, name: str) -> bool:
    if statement.like is None:
        return True
    pattern = statement.like.lower() if statement.fold else statement.like
    return like_matcher(pattern, "", False)(name.lower() if statement.fold else name) is not statement.negated


# --- DESCRIBE ------------------------------------------------------------------------------------------


def describe(statement: Describe, catalog: Catalog, analyzer: Analyzer) -> Told:
    """Rows of DESCRIBE; arguments and errors as :func:`show`."""
    if statement.what == "MODEL":
        return Told(*model_show.describe_model(statement, catalog))
    if statement.what == "CONNECTION":
        return Told(*model_show.describe_connection(statement, catalog))
    name = catalog.find(statement.path, statement.place)
    if name in catalog.views:
        node = analyzer.view(catalog.views[name])
        rows = [
            _described(column, column.name in node.rowtimes, column.name in node.proctimes) for column in node.columns
        ]
        return Told(_DESCRIBED, rows)
    schema, create = catalog.tables[name], statement_of(name, catalog)
    definitions = {definition.name: definition for definition in create.columns}
    rows = []
    for column in schema.columns:
        is_time, is_proctime = column.name == schema.rowtime, column.name == schema.proctime
        definition, strategy = definitions.get(column.name), _strategy(create) if is_time else None
        rows.append(_described(column, is_time, is_proctime, schema.primary_key, definition, strategy))
    return Told(_DESCRIBED, rows)


def _described(
    column: Column,
    rowtime: bool,
    proctime: bool,
    key: Sequence[str] = (),
    definition: ColumnDefinition | None = None,
    watermark: str | None = None,
) -> tuple[Any, ...]:
    type_ = str(column.type.with_nullable(True)) + " *ROWTIME*" * rowtime + " *PROCTIME*" * proctime
    keys = f"PRI({', '.join(key)})" if column.name in key else None
    return (column.name, type_, column.type.nullable, keys, _extras(definition), watermark)


def _extras(definition: ColumnDefinition | None) -> str | None:
    if definition is None:
        return None
    if definition.computed is not None:
        return f"AS {definition.words}"
    if definition.metadata is None:
        return None
    source = "" if definition.metadata == definition.name else f" FROM '{definition.metadata}'"
    return f"METADATA{source}{' VIRTUAL' * definition.virtual}"


# --- SHOW CREATE ---------------------------------------------------------------------------------------


def _create(statement: Show, catalog: Catalog, analyzer: Analyzer) -> str:
    name = catalog.find(statement.path, statement.place)
    is_view, wanted = name in catalog.views, statement.what.rpartition(" ")[2]
    if is_view is (wanted == "TABLE"):
        other = "VIEW" if is_view else "TABLE"
        raise catalog.fail(f"{name} is a {other.lower()}: write SHOW CREATE {other}", statement.place)
    full = ".".join(f"`{part}`" for part in catalog.place(name))
    if is_view:
        view = catalog.views[name]
        temporary = "TEMPORARY " * view.temporary
        columns = ", ".join(f"`{column}`" for column in view.columns or analyzer.view(view).names)
        return f"CREATE {temporary}VIEW {full}({columns}) as\n{view.text[slice(*view.query.span)]}"
    create = statement_of(name, catalog)
    schema = catalog.tables[name]
    lines = [f"  `{column.name}` {_definition(column, create)}" for column in schema.columns]
    if create.watermark is not None:
        lines.append(f"  WATERMARK FOR `{create.watermark.column}` AS {_strategy(create)}")
    if create.primary_key:
        keys = ", ".join(f"`{key}`" for key in create.primary_key)
        lines.append(f"  CONSTRAINT `PK_{_java_hash(create.primary_key)}` PRIMARY KEY ({keys}) NOT ENFORCED")
    text = f"CREATE {'TEMPORARY ' * create.temporary}TABLE {full} (\n" + ",\n".join(lines) + "\n)"
    if create.options:
        quoted = [(one.key.replace("'", "''"), option(one.key, one.value).replace("'", "''")) for one in create.options]
        text += " WITH (\n" + ",\n".join(f"  '{key}' = '{value}'" for key, value in quoted) + "\n)"
    return text


def option(key: str, value: str) -> str:
    """The value of an option for people: secrets are not shown.

    Example:
        >>> option("topic", "sales"), option("properties.sasl.jaas.config", "user and password")
        ('sales', '******')
    """
    return MASK if is_secret(key) else value


def _definition(column: Column, create: CreateTable) -> str:
    definition = next((one for one in create.columns if one.name == column.name), None)
    extras = _extras(definition)
    if definition is not None and definition.computed is not None:
        return str(extras)
    return _full_type(column.type) + (f" {extras}" if extras else "")


def _full_type(type_: DataType) -> str:
    """A type as Flink writes it in SHOW CREATE TABLE."""
    longest = {"STRING": "VARCHAR(2147483647)", "BYTES": "VARBINARY(2147483647)"}
    return re.sub(r"`[^`]*`|\b(?:STRING|BYTES)\b", lambda found: longest.get(found[0], found[0]), str(type_))


def _strategy(create: CreateTable) -> str | None:
    if create.watermark is None:
        return None
    column = create.watermark.column
    return re.sub(rf"^\s*(?:`{re.escape(column)}`|{re.escape(column)}\b)", f"`{column}`", create.watermark.words)


def _java_hash(names: Sequence[str]) -> int:
    """The hash of a list of texts in Java, which Flink names a primary key by that has no name."""
    total = 1
    for name in names:
        number = 0
        for unit in memoryview(name.encode("utf-16-le")).cast("H"):
            number = (31 * number + unit) & 0xFFFFFFFF
        total = (31 * total + number) & 0xFFFFFFFF
    return total - (1 << 32) if total >= 1 << 31 else total


def statement_of(name: str, catalog: Catalog) -> CreateTable:
    """The CREATE TABLE of a table; of one that comes from Python the statement that would make it."""
    known = catalog.creates.get(name)
    return known if known is not None else _written(name, catalog.tables[name])


def _written(name: str, schema: Schema) -> CreateTable:
    columns = tuple(
        ColumnDefinition(
            column.name, None if column.origin is Origin.PROCTIME else column.type,
            column.source_name if column.origin is Origin.METADATA else None, column.origin is Origin.METADATA,
            n.Call(NOWHERE, "PROCTIME") if column.origin is Origin.PROCTIME else None, NOWHERE,
            "PROCTIME()" if column.origin is Origin.PROCTIME else "",
        )
        for column in schema.columns
    )  # fmt: skip
    watermark = None
    if schema.rowtime is not None:
        strategy: n.Node = n.ColumnRef(NOWHERE, (schema.rowtime,))
        words = schema.rowtime
        delay = schema.watermark_delay_ms
        if 0 < delay < _NEVER_LATE_MS:
            strategy = n.Binary(NOWHERE, "-", strategy, n.Literal(NOWHERE, delay, DataType(Kind.INTERVAL_DAY)))
            seconds = f"{delay / 1_000:.3f}".rstrip("0").rstrip(".")
            words += f" - INTERVAL '{seconds}' SECOND"
        watermark = WatermarkDefinition(schema.rowtime, strategy, NOWHERE, words)
    return CreateTable(NOWHERE, tuple(name.split(".")), columns, watermark, schema.primary_key, (), False)
