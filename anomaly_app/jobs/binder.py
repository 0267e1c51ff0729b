"""From SQL to what runs: a query over rows in memory, and the queries of a job file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Dialect
from anomaly_app.filesystem import FileTable
from anomaly_app.graph.lookup import LookupTable
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.ctas import as_two
from anomaly_app.jobs.define import DEFINITIONS, define, in_order
from anomaly_app.jobs.files import bind_file, is_file
from anomaly_app.jobs.job_binder import JobBinder
from anomaly_app.jobs.lookups import lookup_joins
from anomaly_app.jobs.model import Job, version_of
from anomaly_app.jobs.said import Settings
from anomaly_app.jobs.sinks import into_sink
from anomaly_app.jobs.task import TimeMode
from anomaly_app.limits import Limits
from anomaly_app.operators import Layout
from anomaly_app.plan.analysis.analyzer import Analyzer
from anomaly_app.plan.nodes import Scan
from anomaly_app.plan.physical.layouts import table_layout
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.schema import Changelog, Origin, Schema
from anomaly_app.sql import parse_statements
from anomaly_app.sql.commands import TELLS, Describe, Explain, ListOptions, Reset, Show
from anomaly_app.sql.parameters import Parameter, substitute
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import CreateTable, Insert, SetOption


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
        return _bind_text(text, schemas, Dialect.named(dialect), limits, modules, changelogs or {}, connections or {})


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
        binder = JobBinder(known, Dialect.named(dialect), partitions or {}, bounded, limits, modules, connections or {})
        return _bind_job(binder, name, path, made.parameters)


def _bind_job(binder: JobBinder, name: str, path: str, parameters: tuple[Parameter, ...]) -> Job:
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
