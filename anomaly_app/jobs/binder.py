"""From SQL to what runs: names to tables, queries to operators, INSERTs to sinks."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span, tokenize
from anomaly_app.expressions.typed import Dialect
from anomaly_app.filesystem import FileTable
from anomaly_app.graph.lookup import LookupTable
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.ctas import as_two
from anomaly_app.jobs.define import DEFINITIONS, Definition, define, in_order
from anomaly_app.jobs.files import bind_file, is_file
from anomaly_app.jobs.lookups import Lookup, bind_lookups, lookup_joins
from anomaly_app.jobs.model import Alerts, Job, Plan, Query, version_of
from anomaly_app.jobs.planning import free_name, plans_of
from anomaly_app.jobs.portability import refused_by_flink, unknown_to_flink
from anomaly_app.jobs.said import ALERT_KEY, ALERTS, Settings
from anomaly_app.jobs.sinks import check_changes, filled_by, into_sink
from anomaly_app.jobs.tables import bind_sink, bind_source
from anomaly_app.jobs.task import TimeMode
from anomaly_app.jobs.topic_tables import Format, Sink, Source
from anomaly_app.limits import Limits
from anomaly_app.operators import Layout
from anomaly_app.plan import growth
from anomaly_app.plan.analysis.analyzer import Analyzer
from anomaly_app.plan.fragments import table_of
from anomaly_app.plan.nodes import Calc, Evaluate, Exchange, Materialize, Node, Predict, Scan, materialized, walk
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.schema import Changelog, Kind, Origin, Schema
from anomaly_app.sql import parse_statements
from anomaly_app.sql.commands import TELLS, Describe, Explain, ListOptions, Reset, Show
from anomaly_app.sql.parameters import Parameter, substitute
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import CreateTable, CreateView, Insert, SetOption
from anomaly_app.words import nearest

STATE_VERSION = 3
"""Part of every fingerprint: raised when operators store their state in another way."""


@dataclass(frozen=True, slots=True)
class BoundTable:
    """A table that a query reads.

    Args:
        name: dotted.
        schema: its columns and time.
        span: its place in the text.
        file: its rows, unless others are given: of a table that CREATE TABLE says to be in a file.
    """

    name: str
    schema: Schema
    span: Span
    file: FileTable | None = None

    @property
    def layout(self) -> Layout:
        """All its columns, and what a row changes."""
        return table_layout(self.schema, self.schema.columns)

    @property
    def mode(self) -> TimeMode:
        """By what its rows are ordered."""
        return TimeMode.ROWTIME if self.schema.rowtime is not None else TimeMode.ARRIVAL


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """A query over rows in memory.

    Args:
        factory: makes its operator.
        tables: that it reads.
        lookups: tables of its lookup joins, and what fills them.
        warnings: what is accepted, but should be said otherwise.
    """

    factory: PlannedQuery
    tables: tuple[BoundTable, ...]
    lookups: tuple[tuple[LookupTable, BoundTable], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """All columns of the first table."""
        return self.tables[0].layout

    @property
    def schema(self) -> Schema:
        """Of the first table."""
        return self.tables[0].schema


def bind_text(
    sql: str,
    schemas: Mapping[str, Schema],
    dialect: str = "flink",
    *,
    limits: Limits | None = None,
    modules: Sequence[str] = (),
    changelogs: Mapping[str, Changelog] | None = None,
    parameters: Mapping[str, str] | None = None,
    connections: Mapping[str, Mapping[str, str]] | None = None,
) -> BoundQuery:
    """Bind a text with one query.

    Args:
        sql: a query or INSERT, perhaps with CREATE TABLE and CREATE VIEW statements before it.
        schemas: tables by name; a CREATE TABLE of the same name comes first.
        dialect: ``flink`` or ``standard``.
        limits: on what the operator may hold.
        modules: prefixes of the modules from which CREATE FUNCTION may take functions.
        changelogs: how the rows of tables change them, by name, where CREATE TABLE does not say it.
        parameters: values that come before those that SET gives, by name.
        connections: of models, by name; their options come before those of CREATE CONNECTION.

    Raises:
        SqlError: the text is wrong.

    Example:
        >>> from anomaly_app.schema import INT, Column
        >>> bound = bind_text("SELECT a + 1 AS b FROM t WHERE a > 2", {"t": Schema((Column("a", INT),))})
        >>> [(column.name, str(column.type)) for column in bound.factory.output]
        [('b', 'INT')]
    """
    with substitute(sql, parameters).located() as text:
        return _bind_text(text, schemas, dialect_of(dialect), limits, modules, changelogs or {}, connections or {})


def _bind_text(
    sql: str,
    schemas: Mapping[str, Schema],
    dialect: Dialect,
    limits: Limits | None,
    modules: Sequence[str],
    changelogs: Mapping[str, Changelog],
    connections: Mapping[str, Mapping[str, str]],
) -> BoundQuery:
    catalog = Catalog(sql)
    catalog.models.given = connections
    for name, schema in schemas.items():
        catalog.add_table(name, schema)
    settings = Settings(sql)
    queries: list[QueryTree | Insert] = []
    bound: BoundQuery | None = None
    statements = parse_statements(sql)
    ordered = in_order(statements)
    for statement in statements:
        if isinstance(statement, CreateTable) and statement.query is not None:
            table, statement = as_two(statement, catalog, Analyzer(catalog, dialect))
            define(table, catalog, modules)
        if isinstance(statement, DEFINITIONS):
            define(statement, catalog, modules)
        elif isinstance(statement, (SetOption, Reset)):
            settings.take(statement)
        elif isinstance(statement, TELLS):
            raise SqlValidationError(f"{_name_of(statement)} stands here in vain: {_TELL}", sql, *statement.span)
        else:
            queries.append(statement)
            for name, changelog in changelogs.items():  # behind what CREATE TABLE says of their keys
                catalog.changes(name, changelog)
            if ordered and len(queries) == 1:  # names may mean something else behind it
                bound = bind_query(statement, catalog, dialect, settings, limits)
    if len(queries) != 1:
        span = queries[1].span if queries else Span(0, 1)
        raise SqlValidationError(f"expected one SELECT or INSERT, found {len(queries)}", sql, *span)
    bound = bound or bind_query(queries[0], catalog, dialect, settings, limits)
    return replace(bound, warnings=tuple(catalog.models.warnings))


def bind_query(
    statement: QueryTree | Insert, catalog: Catalog, dialect: Dialect, settings: Settings, limits: Limits | None = None
) -> BoundQuery:
    """Bind a query or INSERT over rows in memory.

    Args:
        statement: of the catalog's text.
        catalog: what its names mean.
        dialect: whose semantics.
        settings: what SET has said.
        limits: on what the operator may hold.

    Raises:
        SqlError: a name is unknown, or what is asked makes no sense or is not supported.
    """
    sql, analyzer = catalog.text, Analyzer(catalog, dialect)
    node = analyzer.query(catalog.prepared(statement.query if isinstance(statement, Insert) else statement))
    into = None
    if isinstance(statement, Insert):
        sink = catalog.known(statement.path, statement.target_span)
        columns = tuple(column for column in catalog.tables[sink].columns if column.origin is Origin.VALUE)
        into = into_sink(node.columns, statement, sink, columns, sql), columns
    factory = PlannedQuery(node, analyzer.dialect, limits=limits, ttl_ms=settings.ttl_ms, into=into, whole=True)

    def bound(scan: Scan) -> BoundTable:
        create = catalog.creates.get(scan.table)
        file = bind_file(create, []).table if create is not None and is_file(create) else None
        return BoundTable(scan.table, scan.source, scan.span, file)

    joins = {id(join.table): join for join in lookup_joins(node)}
    lookups = tuple((join.table, bound(join.scan)) for join in joins.values())
    return BoundQuery(factory, tuple(map(bound, factory.scans)), lookups)


_TELL = "Session.execute of Python gives its rows, and anomaly explain tells about the queries of a file"


def _name_of(statement: object) -> str:
    """What a statement that only tells is called."""
    if isinstance(statement, Show):
        return f"SHOW {statement.what}"
    return {Describe: "DESCRIBE", Explain: "EXPLAIN", ListOptions: "SET"}[type(statement)]


def bind_job(
    text: str,
    *,
    name: str,
    path: str = "",
    dialect: str = "flink",
    partitions: Mapping[str, int] | None = None,
    bounded: bool = False,
    limits: Limits | None = None,
    modules: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
    connections: Mapping[str, Mapping[str, str]] | None = None,
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
        modules: prefixes of the modules from which CREATE FUNCTION may take functions.
        parameters: values that come before those that SET gives, by name; those that the text does not use are for
            other jobs.
        connections: of models, by name; their options come before those of CREATE CONNECTION.

    Raises:
        SqlError: the text is wrong.
    """
    made = substitute(text, parameters)
    with made.located() as known:
        binder = _JobBinder(known, dialect_of(dialect), partitions or {}, bounded, limits, modules, connections or {})
        return _bind_job(binder, name, path, made.parameters)


def _bind_job(binder: _JobBinder, name: str, path: str, parameters: tuple[Parameter, ...]) -> Job:
    text, used = binder.text, {parameter.name for parameter in parameters}
    for statement in binder.statements:
        if isinstance(statement, (SetOption, Reset)):
            known = binder.settings.take(statement)
            if not known and isinstance(statement, SetOption) and statement.key not in used:
                binder.warnings.append(f"SET '{statement.key}' has no meaning here and is ignored")
        elif isinstance(statement, TELLS):
            line = text.count("\n", 0, statement.span.start) + 1
            binder.warnings.append(f"line {line}: {_name_of(statement)} tells nobody anything in a job: {_TELL}")
        elif isinstance(statement, CreateTable) and statement.query is not None:
            table, insert = as_two(statement, binder.catalog, binder.analyzer)
            binder.define(table)
            binder.add(insert.query, insert)
        elif isinstance(statement, DEFINITIONS):
            if binder.in_order:
                binder.define(statement)
        elif isinstance(statement, Insert):
            binder.add(statement.query, statement)
        else:
            binder.add(statement, None)
    if not binder.queries:
        raise SqlValidationError("the job has no query: expected INSERT INTO … SELECT …, or SELECT …", text, len(text))
    return Job(
        name,
        version_of(text),
        text,
        path,
        binder.plans(),
        tuple(dict.fromkeys([*binder.warnings, *binder.catalog.models.warnings])),
        tuple(dict.fromkeys(binder.refusals)),
        tuple(binder.lookups),
        parameters,
    )


class _JobBinder:
    def __init__(
        self,
        text: str,
        dialect: Dialect,
        partitions: Mapping[str, int],
        bounded: bool,
        limits: Limits | None,
        modules: Sequence[str],
        connections: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.text, self.dialect, self.partitions = text, dialect, partitions
        self.bounded, self.limits, self.modules = bounded, limits, modules
        self.warnings: list[str] = []
        self.refusals: list[str] = []
        self.settings = Settings(text)
        self.statements = parse_statements(text)
        self.catalog = Catalog(text)
        self.catalog.models.given = connections
        self.analyzer = Analyzer(self.catalog, dialect)
        self.in_order = in_order(self.statements)
        if not self.in_order:
            for statement in self.statements:
                if isinstance(statement, DEFINITIONS):
                    define(statement, self.catalog, modules)
            for view in self.catalog.views.values():
                self.analyzer.query(view.query)  # a view that nobody uses must be right too
        self._used: dict[str, CreateTable] = {}
        self._sources: dict[str, Source] = {}
        self._sinks: dict[str, Sink] = {}
        self.queries: list[Query] = []
        self._names: list[str] = []
        self.lookups: list[Lookup] = []

    def define(self, statement: Definition) -> None:
        """A statement after which names may mean something else than before."""
        define(statement, self.catalog, self.modules)
        self.analyzer = Analyzer(self.catalog, self.dialect)
        if isinstance(statement, CreateView):
            view = self.catalog.view(statement.path)
            assert view is not None, "it has just been made"
            self.analyzer.query(view.query)  # a view that nobody uses must be right too

    def add(self, tree: QueryTree, insert: Insert | None) -> None:
        """Bind a query and note which rows it needs."""
        node = self.analyzer.query(self.catalog.prepared(tree))
        sink = self._sink(insert) if insert is not None else None
        into = None
        if insert is not None and sink is not None:
            check_changes(node, sink, insert, self.text)
            if sink.upsert:
                node = materialized(node, filled_by(node.columns, insert, sink, self.text))
            into = into_sink(node.columns, insert, sink.name, sink.columns, self.text), sink.columns
            key = sink.key_fields if sink.upsert else ()
            self.refusals += refused_by_flink(node, sink.name, key, insert.on_conflict, self.settings.of_flink)
        factory = PlannedQuery(node, self.analyzer.dialect, limits=self.limits, ttl_ms=self.settings.ttl_ms, into=into)
        if any(isinstance(one, Evaluate) for one in walk(node)):
            problem = "ML_EVALUATE judges rows that are all there, as of files: anomaly query, query(), or the shell"
            raise SqlValidationError(problem, self.text, *node.span)
        if not factory.scans:
            problem = "a query of a job reads a table: this one reads none, and would give its rows at each start"
            raise SqlValidationError(problem, self.text, *node.span)
        self.warnings += growth.warnings(node, self.settings.ttl_ms)
        known = {id(lookup.table) for lookup in self.lookups}
        lookups = bind_lookups(node, self.catalog.creates, self.text, self.warnings)
        self.lookups += [lookup for lookup in lookups if id(lookup.table) not in known]
        sources = [self._source(scan.table, scan.span) for scan in factory.scans]
        factory.read_from(sources[0].schema)
        if factory.bounded_only and len(sources) > 1:
            problem = "ORDER BY must begin with the time attribute, ascending, where a job reads several tables"
            raise SqlValidationError(problem, self.text, *factory.main.span)
        if factory.bounded_only and not (self.bounded or sources[0].bounded):
            problem = "ORDER BY must begin with the time attribute, ascending: an endless input cannot be sorted"
            raise SqlValidationError(problem, self.text, *factory.main.span)
        statement = insert if insert is not None else tree
        alerts = self._alerts(factory, statement)
        fingerprint = self._fingerprint(statement, node, sources, factory.physical.reads)
        mark = self._mark(factory, statement) if alerts is Alerts.MARKED else None
        about = self._about(factory, statement) if alerts is not Alerts.NONE else None
        query = Query(self._name(sink), factory, sink, fingerprint, alerts, mark=mark, about=about)
        self.queries += self._fragments(query)

    def _fragments(self, query: Query) -> list[Query]:
        """A query as those that it is cut into, the last of which gives its result."""
        topics = [self._sources[scan.table].topic for scan in query.factory.scans]
        if all(self.partitions.get(topic) == 1 for topic in topics):
            return [query]  # all rows are in one place
        name, parts = query.fingerprint, query.factory.fragments(query.fingerprint)
        if len(parts) == 1:
            return [query]
        found = []
        for number, part in enumerate(parts, 1):
            given = " ".join(part.node.names) if part is not parts[-1] else ""  # its state holds these, and no others
            fingerprint = hashlib.blake2b(f"{name} {number} {given}".encode(), digest_size=8).hexdigest()
            for one in part.scans:
                if isinstance(one, Exchange):
                    self._sources[one.table] = Source(one.table, one.source, "", Format(""))
            if part is parts[-1]:
                found.append(replace(query, factory=part, fingerprint=fingerprint, whole=query.factory))
            else:
                found.append(Query(query.name, part, None, fingerprint, Alerts.NONE, table_of(name, number)))
        return found

    def _alerts(self, factory: PlannedQuery, statement: QueryTree | Insert) -> Alerts:
        said, bare = self.settings.alerts, not isinstance(statement, Insert)
        if factory.node.updating:
            return self._no_alerts(factory.node, statement, said)
        if said == "none" and bare:
            problem = f"a SELECT without INSERT INTO, behind SET '{ALERTS}' = 'none': its rows go nowhere"
            line = self.text.count("\n", 0, statement.span.start) + 1
            self.warnings.append(f"line {line}: {problem}")
        if said == "auto":
            return Alerts.FLAGGED if bare or factory.detects else Alerts.NONE
        return Alerts.MARKED if said == "where" else Alerts(said)

    def _mark(self, factory: PlannedQuery, statement: QueryTree | Insert) -> int:
        """Place of the column that says which rows are alerts."""
        name = self.settings.marked_by
        setting = f"SET '{ALERTS}' = 'where {name}'"
        place = self._place(factory, statement, name, setting)
        if factory.output[place].type.kind is not Kind.BOOLEAN:
            problem = f"{setting}: {name} is {factory.output[place].type}, and must be a BOOLEAN"
            raise SqlValidationError(problem, self.text, *statement.span)
        return place

    def _about(self, factory: PlannedQuery, statement: QueryTree | Insert) -> tuple[int, ...] | None:
        """Places of the columns that are the key of the alerts; None for the usual key."""
        names = self.settings.about
        setting = f"SET '{ALERT_KEY}' = '{', '.join(names)}'"
        return tuple(self._place(factory, statement, name, setting) for name in names) or None

    def _place(self, factory: PlannedQuery, statement: QueryTree | Insert, name: str, setting: str) -> int:
        names = [column.name for column in factory.output]
        if name not in names:
            problem = f"{setting}: the rows have no column {name!r}{nearest(name, names)}"
            raise SqlValidationError(problem, self.text, *statement.span)
        return names.index(name)

    def _no_alerts(self, node: Node, statement: QueryTree | Insert, said: str) -> Alerts:
        """An alert cannot be taken back."""
        bare = not isinstance(statement, Insert)
        if said in ("all", "where") or (bare and said != "none"):
            what = "a SELECT of a job without INSERT INTO" if bare else f"an INSERT behind SET '{ALERTS}' = '{said}'"
            problem = f"the rows of {what} are alerts, which cannot be taken back, and {node.updating}"
            way = "INSERT INTO a table of the connector 'upsert-kafka'" if bare else f"SET '{ALERTS}' = 'none'"
            raise SqlValidationError(f"{problem}: {way}", self.text, *statement.span)
        return Alerts.NONE

    def plans(self) -> tuple[Plan, ...]:
        """Queries of the same tables and keys together."""
        return plans_of(self.queries, self._sources, self.partitions)

    def _source(self, name: str, place: Span) -> Source:
        self._note(name, insert=None)
        if is_file(self.catalog.creates[name]):
            problem = (
                f"table {name} is in a file, and a query of a job reads topics: it may be looked up in, as in JOIN "
                f"{name} FOR SYSTEM_TIME AS OF PROCTIME() ON …"
            )
            raise SqlValidationError(problem, self.text, *place)
        if name not in self._sources:
            source = self._sources[name] = bind_source(self.catalog.creates[name], self.text, self.warnings)
            self.refusals += unknown_to_flink(source)
        return self._sources[name]

    def _sink(self, insert: Insert) -> Sink:
        name = self.catalog.known(insert.path, insert.target_span)
        self._note(name, insert)
        if is_file(self.catalog.creates[name]):
            problem = f"table {name} is in a file: a job writes topics, and no files"
            raise SqlValidationError(problem, self.text, *insert.target_span)
        if name not in self._sinks:
            self._sinks[name] = bind_sink(self.catalog.creates[name], self.text, self.warnings)
        return self._sinks[name]

    def _note(self, name: str, insert: Insert | None) -> None:
        """A table is used: all queries of a job must mean the same by its name."""
        create = self.catalog.creates[name]
        if self._used.setdefault(name, create) is not create:
            problem = f"table {name} is another one than for the queries above: a job needs a name for each"
            raise SqlValidationError(problem, self.text, *(create.span if insert is None else insert.target_span))

    def _name(self, sink: Sink | None) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]", "_", sink.name.rpartition(".")[2] if sink is not None else "query")
        self._names.append(free_name(base, self._names))
        return self._names[-1]

    def _fingerprint(
        self, statement: QueryTree | Insert, node: Node, sources: Sequence[Source], reads: Mapping[str, Sequence[str]]
    ) -> str:
        """What the state of a query depends on: words, also of its views, and columns and time of what it reads."""
        spans = dict.fromkeys([statement.span, *(one.span for one in walk(node) if isinstance(one, Calc))])
        texts = [self.text[slice(*span)] for span in spans]
        words = [f"{token.kind}:{token.value}" for text in texts for token in tokenize(text)]
        tables = [part for source in sources for part in _read_of(source, reads[source.name])]
        said = {token.value.upper() for text in texts for token in tokenize(text)}
        own = [f"{name} {one.origin} {one.returns}" for name, one in self.catalog.functions.items() if name in said]
        own += [one.title for one in walk(node) if isinstance(one, Materialize)]
        for one in walk(node):
            if isinstance(one, Predict):  # rows that wait are stored with the answers that have come
                own += [one.title, *(f"{c.name} {c.type}" for c in (*one.model.inputs, *one.model.outputs))]
        parts = [str(STATE_VERSION), self.dialect.value, *tables, *words, *own]
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


def _read_of(source: Source, reads: Sequence[str]) -> Sequence[str]:
    """What the state of a query depends on of a table that it reads."""
    schema = source.schema
    wanted = source.columns({*reads, *(schema.computed.keys() & {schema.rowtime})})
    computed = [column.name for column in wanted if column.name in schema.computed]
    wanted += tuple(column for column in schema.sources(wanted) if column not in wanted)
    columns = [f"{column.name} {column.type} {column.origin.value}" for column in wanted]
    columns += [f"{name} AS {schema.computed[name].words}" for name in computed]
    return [source.topic, str(schema.rowtime), str(schema.watermark_delay_ms), str(schema.proctime), *columns]


def dialect_of(name: str) -> Dialect:
    """The dialect of a name; raises ``SqlValidationError`` if there is none."""
    try:
        return Dialect(name)
    except ValueError:
        raise SqlValidationError(f"unknown dialect {name!r}: it must be 'flink' or 'standard'") from None
