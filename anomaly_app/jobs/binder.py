"""From SQL to what runs: names to tables, queries to operators, INSERTs to sinks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span, tokenize
from anomaly_app.expressions.typed import Dialect
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.model import Alerts, Job, Plan, Query, Routing, Sink, Source, version_of
from anomaly_app.jobs.portability import OF_FLINK_ONLY, refused_by_flink
from anomaly_app.jobs.sinks import Apply, into_sink
from anomaly_app.jobs.tables import bind_schema, bind_sink, bind_source
from anomaly_app.jobs.task import TimeMode
from anomaly_app.operators import Layout
from anomaly_app.patterns.clause import nearest
from anomaly_app.patterns.rule import Limits
from anomaly_app.plan.analysis import Analyzer
from anomaly_app.plan.nodes import Calc, Node, Scan, walk
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.schema import Column, Schema
from anomaly_app.sql import parse_statements
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import CreateTable, CreateView, Insert, SetOption
from anomaly_app.words import parse_duration

STATE_VERSION = 3
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

    factory: PlannedQuery
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
        sql: a query or INSERT, perhaps with CREATE TABLE and CREATE VIEW statements before it.
        schemas: tables by name; a CREATE TABLE of the same name comes first.
        dialect: ``flink`` or ``standard``.
        limits: on what the operator may hold.

    Raises:
        SqlError: the text is wrong.

    Example:
        >>> from anomaly_app.schema import INT
        >>> bound = bind_text("SELECT a + 1 AS b FROM t WHERE a > 2", {"t": Schema((Column("a", INT),))})
        >>> bound.factory.output
        (Column(name='b', type=DataType(kind=<Kind.INT: 'INT'>, precision=None, scale=None, nullable=True, \
element=None, key=None, fields=()), origin=<Origin.VALUE: 'value'>, field=None),)
    """
    catalog = Catalog(sql)
    for name, schema in schemas.items():
        catalog.add_table(name, schema)
    queries: list[QueryTree | Insert] = []
    settings = _Settings(sql)
    for statement in parse_statements(sql):
        if isinstance(statement, SetOption):
            settings.take(statement)
        elif isinstance(statement, CreateTable):
            catalog.create_table(statement, bind_schema(statement, sql))
        elif isinstance(statement, CreateView):
            catalog.create_view(statement)
        else:
            queries.append(statement)
    if len(queries) != 1:
        span = queries[1].span if queries else Span(0, 1)
        raise SqlValidationError(f"expected one SELECT or INSERT, found {len(queries)}", sql, *span)
    (statement,) = queries
    analyzer = Analyzer(catalog, _dialect(dialect))
    node = analyzer.query(statement.query if isinstance(statement, Insert) else statement)
    into = None
    if isinstance(statement, Insert):
        sink = catalog.known(statement.path, statement.target_span)
        columns = catalog.tables[sink].columns
        into = into_sink(node.columns, statement, sink, columns, sql), columns
    factory = _planned(node, analyzer, into, limits, settings, sql)
    scan = factory.scan
    mode = TimeMode.ROWTIME if scan.source.rowtime is not None else TimeMode.ARRIVAL
    return BoundQuery(factory, Layout(scan.columns), scan.source, mode, scan.table, scan.span)


def _planned(
    node: Node,
    analyzer: Analyzer,
    into: tuple[Apply | None, Sequence[Column]] | None,
    limits: Limits | None,
    settings: _Settings,
    text: str,
) -> PlannedQuery:
    """A query over one table as what runs it."""
    scans = [one for one in walk(node) if isinstance(one, Scan)]
    if len(scans) != 1:
        tables = ", ".join(scan.table for scan in scans) or "none"
        problem = f"a query reads one table for now, and this one reads {tables}"
        raise SqlValidationError(problem, text, *(scans[1].span if scans else node.span))
    return PlannedQuery(node, analyzer.dialect, limits=limits, ttl_ms=settings.ttl_ms, into=into)


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
        elif not isinstance(statement, (CreateTable, CreateView)):
            binder.add(statement, None)
    if not binder.queries:
        raise SqlValidationError("the job has no query: expected INSERT INTO … SELECT …, or SELECT …", text, len(text))
    return Job(
        name,
        version_of(text),
        text,
        path,
        binder.plans(),
        tuple(dict.fromkeys(binder.warnings)),
        tuple(dict.fromkeys(binder.refusals)),
    )


class _JobBinder:
    def __init__(
        self, text: str, dialect: Dialect, partitions: Mapping[str, int], bounded: bool, limits: Limits | None
    ) -> None:
        self.text, self.dialect, self.partitions = text, dialect, partitions
        self.bounded, self.limits = bounded, limits
        self.warnings: list[str] = []
        self.refusals: list[str] = []
        self.settings = _Settings(text)
        self.statements = parse_statements(text)
        self.catalog = Catalog(text)
        for statement in self.statements:
            if isinstance(statement, CreateTable):
                self.catalog.create_table(statement, bind_schema(statement, text))
            elif isinstance(statement, CreateView):
                self.catalog.create_view(statement)
        self.analyzer = Analyzer(self.catalog, dialect)
        for view in self.catalog.views.values():
            self.analyzer.query(view.query)  # a view that nobody uses must be right too
        self._sources: dict[str, Source] = {}
        self._sinks: dict[str, Sink] = {}
        self.queries: dict[tuple[str, tuple[str, ...] | None], list[Query]] = {}
        self._names: list[str] = []

    def add(self, tree: QueryTree, insert: Insert | None) -> None:
        """Bind a query and note which rows it needs."""
        node = self.analyzer.query(tree)
        sink = self._sink(insert) if insert is not None else None
        into = None
        if insert is not None and sink is not None:
            into = into_sink(node.columns, insert, sink.name, sink.columns, self.text), sink.columns
            key = sink.key_fields if sink.upsert else ()
            self.refusals += refused_by_flink(node, sink.name, key, insert.on_conflict, self.settings.of_flink)
        factory = _planned(node, self.analyzer, into, self.limits, self.settings, self.text)
        source = self._source(factory.scan.table)
        factory.read_from(source.schema)
        if factory.bounded_only and not (self.bounded or source.bounded):
            problem = "ORDER BY must begin with the time attribute, ascending: an endless input cannot be sorted"
            raise SqlValidationError(problem, self.text, *factory.main.span)
        statement = insert if insert is not None else tree
        alerts = self._alerts(factory, statement)
        fingerprint = self._fingerprint(statement, node, source, factory.reads)
        query = Query(self._name(sink), factory, sink, fingerprint, alerts)
        keys = factory.partition_by
        self.queries.setdefault((source.name, None if keys is None else tuple(keys)), []).append(query)

    def _alerts(self, factory: PlannedQuery, statement: QueryTree | Insert) -> Alerts:
        said, bare = self.settings.alerts, not isinstance(statement, Insert)
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

    def _source(self, name: str) -> Source:
        if name not in self._sources:
            self._sources[name] = bind_source(self.catalog.creates[name], self.text, self.warnings)
        return self._sources[name]

    def _sink(self, insert: Insert) -> Sink:
        name = self.catalog.known(insert.path, insert.target_span)
        if name not in self._sinks:
            self._sinks[name] = bind_sink(self.catalog.creates[name], self.text, self.warnings)
        return self._sinks[name]

    def _name(self, sink: Sink | None) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]", "_", sink.name.rpartition(".")[2] if sink is not None else "query")
        self._names.append(_free(base, self._names))
        return self._names[-1]

    def _fingerprint(self, statement: QueryTree | Insert, node: Node, source: Source, reads: Sequence[str]) -> str:
        """What the state of a query depends on: words, also of its views, and columns and time of what it reads."""
        schema = source.schema
        spans = dict.fromkeys([statement.span, *(one.span for one in walk(node) if isinstance(one, Calc))])
        texts = [self.text[slice(*span)] for span in spans]
        words = [f"{token.kind}:{token.value}" for text in texts for token in tokenize(text)]
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
        of_flink: options that change nothing here, but what Flink refuses.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self.ttl_ms: int | None = None
        self.alerts = "auto"
        self.of_flink: dict[str, str] = {}

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
        if setting.key in OF_FLINK_ONLY:
            self.of_flink[setting.key] = setting.value
            return True
        if setting.key != STATE_TTL:
            return False
        ttl = parse_duration(setting.value)
        if ttl is None:
            problem = f"'{STATE_TTL}' is '{setting.value}': it must be a duration such as '30 d' or '12 h', or '0'"
            raise SqlValidationError(problem, self._text, *setting.span)
        self.ttl_ms = ttl or None
        return True


def _dialect(name: str) -> Dialect:
    try:
        return Dialect(name)
    except ValueError:
        raise SqlValidationError(f"unknown dialect {name!r}: it must be 'flink' or 'standard'") from None
