"""The rows of a query as rows of the table that it is inserted into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from anomaly_app.errors import EvaluationError, SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.casts import coerce
from anomaly_app.expressions.typed import Code, Environment, as_decimal
from anomaly_app.jobs.topic_tables import Sink
from anomaly_app.plan.nodes import Node
from anomaly_app.schema import APPROXIMATE, NUMBERS, WHOLE_NUMBERS, Column, DataType, Kind
from anomaly_app.sql.queries import Select
from anomaly_app.sql.statements import Insert
from anomaly_app.words import nearest

Apply: TypeAlias = Callable[[tuple[Any, ...]], tuple[Any, ...]]
"""From a row of a query to one of a sink; raises EvaluationError or ArithmeticError."""

_WIDTH = {Kind.TINYINT: 0, Kind.SMALLINT: 1, Kind.INT: 2, Kind.BIGINT: 3}


def into_sink(columns: Sequence[Column], insert: Insert, table: str, sink: Sequence[Column], text: str) -> Apply | None:
    """What makes rows of a sink from rows of a query: by position, with implicit casts; None if they are the same.

    Args:
        columns: of the query.
        insert: the statement; its column list, if there is one, names the columns that the query fills.
        table: name of the sink.
        sink: its columns.
        text: the whole job file, for errors.

    Raises:
        SqlValidationError: number or types do not fit.
    """
    targets = _targets(insert, table, sink, text)
    if len(columns) != len(targets):
        have = ", ".join(f"{column.name} {column.type.with_nullable(True)}" for column in columns)
        want = ", ".join(f"{column.name} {column.type.with_nullable(True)}" for column in targets)
        problem = f"the query has {len(columns)} columns, {table} takes {len(targets)}: query ({have}), table ({want})"
        raise SqlValidationError(problem, text, *insert.target_span)
    env = Environment()
    sources: dict[str, str] = {}
    for place, (column, target) in enumerate(zip(columns, targets, strict=True)):
        code = Code(f"row[{place}]", column.type)
        converted = coerce(env, code, target.type) if _implicit(column.type, target.type) else None
        if converted is None:
            items = insert.query.items if isinstance(insert.query, Select) else ()
            span = items[place].span if len(items) == len(columns) else insert.target_span
            item = items[place].expr if len(items) == len(columns) else None
            said = column.name if item is None or isinstance(item, n.Star) else text[slice(*item.span)]
            given, wanted = column.type.with_nullable(True), target.type.with_nullable(True)
            problem = f"column {place + 1} of the query, {said}, is {given}; {target.name} of {table} is {wanted}"
            raise SqlValidationError(f"{problem}: CAST({said} AS {wanted})", text, *span)
        source = converted.source
        if not target.type.nullable and converted.type.nullable:
            source = f"{env.use(not_null)}({source}, {target.name!r})"
        sources[target.name] = source
    for column in sink:
        if column.name not in sources and not column.type.nullable:
            problem = f"{column.name} of {table} is NOT NULL: the query must fill it"
            raise SqlValidationError(problem, text, *insert.target_span)
    listed = [sources.get(column.name, "None") for column in sink]
    if listed == [f"row[{place}]" for place in range(len(columns))] and [c.name for c in columns] == [
        c.name for c in sink
    ]:
        return None
    apply: Apply = env.function("insert", f"def insert(row):\n    return ({', '.join(listed)},)")
    return apply


def check_changes(node: Node, sink: Sink, insert: Insert, text: str) -> None:
    """Refuse a query that takes rows back where its table only takes new ones.

    Args:
        node: the query.
        sink: the table.
        insert: the statement.
        text: the whole job file, for errors.

    Raises:
        SqlValidationError: as Flink says it: the sink does not take the changes that a node makes.
    """
    if node.updating and not sink.takes_changes:
        problem = (
            f"table {sink.name} of the connector '{sink.connector}' with the format '{sink.value_format.name}' "
            f"does not take rows back, and {node.updating}"
        )
        way = "use 'connector' = 'upsert-kafka' with a PRIMARY KEY, or 'format' = 'debezium-json'"
        raise SqlValidationError(f"{problem}: {way}", text, *insert.target_span)


def filled_by(columns: Sequence[Column], insert: Insert, sink: Sink, text: str) -> Sequence[str]:
    """Columns of a query that the primary key of an upsert table is filled with; arguments as of :func:`into_sink`."""
    filled = dict(
        zip((column.name for column in _targets(insert, sink.name, sink.columns, text)), columns, strict=False)
    )
    return [filled[name].name for name in sink.key_fields if name in filled]


def not_null(value: Any, name: str) -> Any:
    """The value; an error for NULL."""
    if value is None:
        raise EvaluationError(f"{name} is NOT NULL, but the query gives NULL")
    return value


def _targets(insert: Insert, table: str, sink: Sequence[Column], text: str) -> Sequence[Column]:
    if not insert.columns:
        return sink
    known = {column.name: column for column in sink}
    targets: list[Column] = []
    for name in insert.columns:
        if name not in known:
            raise SqlValidationError(f"{table} has no column {name!r}{nearest(name, known)}", text, *insert.target_span)
        if known[name] in targets:
            raise SqlValidationError(f"column {name!r} is named twice", text, *insert.target_span)
        targets.append(known[name])
    return targets


def _implicit(source: DataType, target: DataType) -> bool:
    """Whether INSERT may convert by itself: never where a value could get lost."""
    a, b = source.kind, target.kind
    if a in WHOLE_NUMBERS and b in WHOLE_NUMBERS:
        return _WIDTH[a] <= _WIDTH[b]
    if a in NUMBERS and b is Kind.DECIMAL:
        if a in APPROXIMATE:
            return False
        (p1, s1), (p2, s2) = as_decimal(source), as_decimal(target)
        return p1 - s1 <= p2 - s2
    if a in APPROXIMATE or a is Kind.DECIMAL:
        return b in APPROXIMATE and (a, b) != (Kind.DOUBLE, Kind.FLOAT)
    return True
