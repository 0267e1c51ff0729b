"""The queries of a job: their tables, their sinks, the state that they have, and which of their rows are alerts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Dialect
from anomaly_app.jobs.alert_rows import AlertRows
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.define import DEFINITIONS, Definition, define, in_order
from anomaly_app.jobs.files import is_file
from anomaly_app.jobs.fingerprint import fingerprint
from anomaly_app.jobs.lookups import Lookup, bind_lookups
from anomaly_app.jobs.model import Alerts, Plan, Query
from anomaly_app.jobs.planning import free_name, plans_of
from anomaly_app.jobs.portability import refused_by_flink, unknown_to_flink
from anomaly_app.jobs.said import Settings
from anomaly_app.jobs.sinks import check_changes, filled_by, into_sink
from anomaly_app.jobs.tables import bind_sink, bind_source
from anomaly_app.jobs.topic_tables import Format, Sink, Source
from anomaly_app.limits import Limits
from anomaly_app.plan import growth
from anomaly_app.plan.analysis.analyzer import Analyzer
from anomaly_app.plan.fragments import table_of
from anomaly_app.plan.nodes import Evaluate, Exchange, materialized, walk
from anomaly_app.plan.query import PlannedQuery
from anomaly_app.sql import parse_statements
from anomaly_app.sql.queries import QueryTree
from anomaly_app.sql.statements import CreateTable, CreateView, Insert


class JobBinder:
    """Gathers the queries of a job, statement by statement.

    Args:
        text: of the job file.
        dialect: whose semantics.
        partitions: number of partitions by topic; a topic that is missing has more than one.
        bounded: all sources are read to their present end only.
        limits: on what the operators may hold.
        modules: prefixes of the modules from which CREATE FUNCTION may take functions.
        connections: of models, by name; their options come before those of CREATE CONNECTION.

    Attributes:
        statements: of the text.
        in_order: a name may mean something else further down: definitions count from where they stand.
        catalog: what names mean.
        analyzer: of the catalog as it is now.
        settings: what SET has said so far.
        queries: those that were added, each as the fragments that it is cut into.
        lookups: tables of their lookup joins.
        warnings: what is accepted but has no meaning here.
        refusals: what Flink would refuse.
    """

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
        told = AlertRows(factory, statement, self.settings, self.text, self.warnings)
        name = fingerprint(statement, factory, sources, self.catalog)
        query = Query(self._name(sink), factory, sink, name, told.alerts, mark=told.mark, about=told.about)
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
            part_name = hashlib.blake2b(f"{name} {number} {given}".encode(), digest_size=8).hexdigest()
            for one in part.scans:
                if isinstance(one, Exchange):
                    self._sources[one.table] = Source(one.table, one.source, "", Format(""))
            if part is parts[-1]:
                found.append(replace(query, factory=part, fingerprint=part_name, whole=query.factory))
            else:
                found.append(Query(query.name, part, None, part_name, Alerts.NONE, table_of(name, number)))
        return found

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
