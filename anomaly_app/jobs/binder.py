"""From SQL to what runs: names to tables, queries to operators, INSERTs to sinks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span, tokenize
from anomaly_app.expressions.typed import Dialect
from anomaly_app.jobs.detector_functions import has_detectors
from anomaly_app.jobs.grouping import bind_windows, is_windowed
from anomaly_app.jobs.model import Alerts, Job, Plan, Query, Routing, Sink, Source, version_of
from anomaly_app.jobs.select import CompiledSelect, SelectRule, around_match, chained, is_everything
from anomaly_app.jobs.sinks import into_sink
from anomaly_app.jobs.tables import bind_schema, bind_sink, bind_source
from anomaly_app.jobs.task import TimeMode
from anomaly_app.operators import Layout, OperatorFactory
from anomaly_app.patterns.clause import nearest
from anomaly_app.patterns.rule import Limits, Rule
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable, Insert, Select, SetOption, Statement, TableRef
from anomaly_app.words import parse_duration

STATE_VERSION = 2
"""Part of every fingerprint: raised when operators store their state in another way."""

ALERTS = "anomaly.alerts"
"""Which rows of the statements behind it are alerts: ``all``, ``none`` or ``auto``, the default."""

_OWN = "anomaly."
"""Begins options that Flink does not know, and accepts."""

_ALERTS = ("all", "none", "auto")

STATE_TTL = "table.exec.state.ttl"
"""Flink's option: how long the state of a key that gets no rows is kept; 0, the default, for ever."""


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query over rows in memory.

    Args:
        factory: makes its operator.
        layout: all columns of the table.
        schema: of the table.
        mode: by what its rows are ordered.
        source: name of the table, dotted.
        source_span: its place in the text.
    """

    factory: OperatorFactory
    layout: Layout
    schema: Schema
    mode: TimeMode
    source: str
    source_span: Span


def bind_text(
    sql: str, schemas: Mapping[str, Schema], dialect: str = "flink", *, limits: Limits | None = None
) -> BoundQuery:
    """Bind a text with one query.

    Args:
        sql: a SELECT or INSERT, perhaps with CREATE TABLE statements before it.
        schemas: tables by name; a CREATE TABLE of the same name comes first.
        dialect: ``flink`` or ``standard``.
        limits: on what the operator may hold.

    Raises:
        SqlError: the text is wrong.

    Example:
        >>> from anomaly_app.schema import INT
        >>> bound = bind_text("SELECT a + 1 AS b FROM t WHERE a > 2", {"t": Schema((Column("a", INT),))})
        >>> [(column.name, str(column.type)) for column in bound.factory.output]
        [('b', 'INT')]
    """
    statements = parse_statements(sql)
    tables = {**schemas}
    for create in _creates(statements, sql).values():
        tables[".".join(create.path)] = bind_schema(create, sql)
    queries = [statement for statement in statements if isinstance(statement, (Select, Insert))]
    if len(queries) != 1:
        span = queries[1].span if queries else Span(0, 1)
        raise SqlValidationError(f"expected one SELECT or INSERT, found {len(queries)}", sql, *span)
    (statement,) = queries
    select = statement.query if isinstance(statement, Insert) else statement
    table = select.source
    name = _known(table.path, tables, sql, table.span)
    schema = tables[name]
    settings = _Settings(sql)
    for setting in statements:
        if isinstance(setting, SetOption):
            settings.take(setting)
    target = None
    if isinstance(statement, Insert):
        sink = _known(statement.path, tables, sql, statement.target_span)
        target = _Target(statement, sink, tables[sink].columns)
    factory = _bind_select(select, schema, sql, _dialect(dialect), target, limits, settings)
    mode = TimeMode.ROWTIME if schema.rowtime is not None else TimeMode.ARRIVAL
    return BoundQuery(factory, Layout(schema.columns), schema, mode, name, table.span)


def bind_job(
    text: str,
    *,
    name: str,
    path: str = "",
    dialect: str = "flink",
    partitions: Mapping[str, int] | None = None,
    bounded: bool = False,
    limits: Limits | None = None,
) -> Job:
    """Bind a job file.

    Args:
        text: CREATE TABLE statements, then INSERTs or SELECTs; statement sets are allowed.
        name: of the job.
        path: of the file, for people.
        dialect: ``flink`` or ``standard``.
        partitions: number of partitions by topic; a topic that is missing has more than one.
        bounded: all sources are read to their present end only.
        limits: on what the operators may hold.

    Raises:
        SqlError: the text is wrong.
    """
    binder = _JobBinder(text, _dialect(dialect), partitions or {}, bounded, limits)
    for statement in binder.statements:
        if isinstance(statement, SetOption):
            if not binder.settings.take(statement):
                binder.warnings.append(f"SET '{statement.key}' has no meaning here and is ignored")
        elif isinstance(statement, Insert):
            binder.add(statement.query, statement)
        elif isinstance(statement, Select):
            binder.add(statement, None)
    if not binder.queries:
        raise SqlValidationError("the job has no query: expected INSERT INTO … SELECT …, or SELECT …", text, len(text))
    return Job(name, version_of(text), text, path, binder.plans(), tuple(dict.fromkeys(binder.warnings)))


@dataclass(frozen=True, slots=True)
class _Target:
    """What an INSERT fills."""

    insert: Insert
    name: str
    columns: Sequence[Column]


class _JobBinder:
    def __init__(
        self, text: str, dialect: Dialect, partitions: Mapping[str, int], bounded: bool, limits: Limits | None
    ) -> None:
        self.text, self.dialect, self.partitions = text, dialect, partitions
        self.bounded, self.limits = bounded, limits
        self.warnings: list[str] = []
        self.settings = _Settings(text)
        self.statements = parse_statements(text)
        self.creates = _creates(self.statements, text)
        for create in self.creates.values():
            bind_schema(create, text)  # a table that nobody uses must be right too
        self._sources: dict[str, Source] = {}
        self._sinks: dict[str, Sink] = {}
        self.queries: dict[tuple[str, tuple[str, ...] | None], list[Query]] = {}
        self._names: list[str] = []

    def add(self, select: Select, insert: Insert | None) -> None:
        """Bind a query and note which rows it needs."""
        source = self._source(select.source)
        sink = self._sink(insert) if insert is not None else None
        target = _Target(insert, sink.name, sink.columns) if insert is not None and sink is not None else None
        factory = _bind_select(select, source.schema, self.text, self.dialect, target, self.limits, self.settings)
        if factory.sort_key(Layout(source.schema.columns)) is not None and not (self.bounded or source.bounded):
            problem = "ORDER BY must begin with the time attribute, ascending: an endless input cannot be sorted"
            raise SqlValidationError(problem, self.text, *(select.levels[0].match or select).span)
        statement = insert if insert is not None else select
        fingerprint = self._fingerprint(statement, source, factory.reads)
        query = Query(self._name(sink), factory, sink, fingerprint, self._alerts(factory, statement))
        keys = factory.partition_by
        self.queries.setdefault((source.name, None if keys is None else tuple(keys)), []).append(query)

    def _alerts(self, factory: OperatorFactory, statement: Statement) -> Alerts:
        said, bare = self.settings.alerts, isinstance(statement, Select)
        if said == "none" and bare:
            problem = f"a SELECT without INSERT INTO, behind SET '{ALERTS}' = 'none': its rows go nowhere"
            line = self.text.count("\n", 0, statement.span.start) + 1
            self.warnings.append(f"line {line}: {problem}")
        if said == "auto":
            return Alerts.FLAGGED if bare or factory.detects else Alerts.NONE
        return Alerts(said)

    def plans(self) -> tuple[Plan, ...]:
        """Queries of one source and one key together."""
        plans: list[Plan] = []
        for (name, keys), queries in self.queries.items():
            source = self._sources[name]
            layout = Layout(source.columns(column for query in queries for column in query.factory.reads))
            table = source.name.rpartition(".")[2]
            suffix = "" if keys is None else "-" + ("-".join(keys) if keys else "all")
            plan = _free(re.sub(r"[^A-Za-z0-9._-]", "_", table + suffix), [known.name for known in plans])
            plans.append(Plan(plan, source, tuple(queries), layout, self._routing(source, keys), keys or ()))
        return tuple(plans)

    def _routing(self, source: Source, keys: tuple[str, ...] | None) -> Routing:
        if keys is None or self.partitions.get(source.topic) == 1:
            return Routing.DIRECT
        if not keys:
            return Routing.SINGLE
        # Rows with equal PARTITION BY columns have equal record keys, if those are made of some of these columns.
        if source.key_fields and set(source.key_fields) <= set(keys):
            return Routing.DIRECT
        return Routing.REPARTITION

    def _source(self, table: TableRef) -> Source:
        name = _known(table.path, self.creates, self.text, table.span)
        if name not in self._sources:
            self._sources[name] = bind_source(self.creates[name], self.text, self.warnings)
        return self._sources[name]

    def _sink(self, insert: Insert) -> Sink:
        name = _known(insert.path, self.creates, self.text, insert.target_span)
        if name not in self._sinks:
            self._sinks[name] = bind_sink(self.creates[name], self.text, self.warnings)
        return self._sinks[name]

    def _name(self, sink: Sink | None) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]", "_", sink.name.rpartition(".")[2] if sink is not None else "query")
        self._names.append(_free(base, self._names))
        return self._names[-1]

    def _fingerprint(self, statement: Statement, source: Source, reads: Sequence[str]) -> str:
        """What the state of a query depends on: its words, and the columns and the time of what it reads."""
        schema = source.schema
        words = [f"{token.kind}:{token.value}" for token in tokenize(self.text[slice(*statement.span)])]
        columns = [f"{column.name} {column.type} {column.origin.value}" for column in source.columns(reads)]
        time = [str(schema.rowtime), str(schema.watermark_delay_ms), str(schema.proctime)]
        parts = [str(STATE_VERSION), self.dialect.value, source.topic, *time, *columns, *words]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _free(name: str, taken: Sequence[str]) -> str:
    """The name, or with a number behind it if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free


class _Settings:
    """What SET says, for the statements behind it.

    Attributes:
        ttl_ms: after which the state of a silent key is dropped, in event time; None to keep it.
        alerts: which rows are alerts: ``all``, ``none`` or ``auto``.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.ttl_ms: int | None = None
        self.alerts = "auto"

    def take(self, setting: SetOption) -> bool:
        """Whether the option has a meaning here; an error if its value is wrong, or an option of our own is unknown."""
        if setting.key == ALERTS:
            self.alerts = setting.value.lower()
            if self.alerts not in _ALERTS:
                problem = f"'{ALERTS}' is '{setting.value}': it must be 'all', 'none' or 'auto'"
                raise SqlValidationError(problem, self._text, *setting.span)
            return True
        if setting.key.startswith(_OWN):
            problem = f"unknown option '{setting.key}'{nearest(setting.key, [ALERTS])}"
            raise SqlValidationError(problem, self._text, *setting.span)
        if setting.key != STATE_TTL:
            return False
        ttl = parse_duration(setting.value)
        if ttl is None:
            problem = f"'{STATE_TTL}' is '{setting.value}': it must be a duration such as '30 d' or '12 h', or '0'"
            raise SqlValidationError(problem, self._text, *setting.span)
        self.ttl_ms = ttl or None
        return True


def _bind_select(
    select: Select,
    schema: Schema,
    text: str,
    dialect: Dialect,
    target: _Target | None,
    limits: Limits | None,
    settings: _Settings,
) -> OperatorFactory:
    def into(columns: Sequence[Column]) -> CompiledSelect | None:
        return None if target is None else into_sink(columns, target.insert, target.name, target.columns, text)

    if is_windowed(select):
        return bind_windows(select, schema, text, dialect, into=into, limits=limits, ttl_ms=settings.ttl_ms)
    if has_detectors(select):
        from anomaly_app.jobs.over import bind_over  # which loads the detectors
        from anomaly_app.windows.series import Retention

        retention = Retention(settings.ttl_ms, (limits or Limits()).keys)
        return bind_over(select, schema, text, dialect, into=into, retention=retention)
    match = select.levels[0].match
    if match is None:
        return SelectRule(select, schema, text, dialect, into=into)
    around: Callable[[tuple[Column, ...]], CompiledSelect | None] = around_match(select, schema, text, dialect)

    def project(columns: tuple[Column, ...]) -> CompiledSelect | None:
        first = around(columns)
        return chained(first, into(columns if first is None else first.output))

    in_order = is_everything(select) and (target is None or not target.insert.columns)
    return Rule(match, schema, text, dialect, project=project, in_order=in_order, limits=limits)


def _creates(statements: Sequence[Statement], text: str) -> dict[str, CreateTable]:
    creates: dict[str, CreateTable] = {}
    for statement in statements:
        if isinstance(statement, CreateTable):
            name = ".".join(statement.path)
            if name not in creates:
                creates[name] = statement
            elif not statement.if_not_exists:
                raise SqlValidationError(f"table {name} is created twice", text, *statement.span)
    return creates


def _known(path: tuple[str, ...], tables: Mapping[str, object], text: str, span: Span) -> str:
    """The name of a table as it is known; an error naming the nearest if it is not."""
    name = ".".join(path)
    if name in tables:
        return name
    folded = [known for known in tables if known.replace("`", "").lower() == name.lower()]
    if len(folded) == 1:
        return folded[0]
    hint = nearest(name, tables) if tables else ": CREATE TABLE it first"
    raise SqlValidationError(f"unknown table {name!r}{hint}", text, *span)


def _dialect(name: str) -> Dialect:
    try:
        return Dialect(name)
    except ValueError:
        raise SqlValidationError(f"unknown dialect {name!r}: it must be 'flink' or 'standard'") from None
