"""Tables that lookup joins read, and where their rows come from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anomaly_app.errors import SqlValidationError
from anomaly_app.graph.lookup import LookupTable
from anomaly_app.jobs.files import FileSource, bind_file, is_file
from anomaly_app.jobs.tables import bind_source
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.plan.nodes import LookupJoin, Node, walk
from anomaly_app.schema import Changelog
from anomaly_app.sql.statements import CreateTable


@dataclass(frozen=True, slots=True)
class Lookup:
    """A table that somebody has to fill.

    Args:
        table: its rows, for the joins.
        source: the file or the compacted topic.
    """

    table: LookupTable
    source: Source | FileSource


def lookup_joins(node: Node) -> list[LookupJoin]:
    """All lookup joins of a query."""
    return [one for one in walk(node) if isinstance(one, LookupJoin)]


def bind_lookups(
    node: Node, creates: Mapping[str, CreateTable], text: str, warnings: list[str], filled: Collection[str] = ()
) -> list[Lookup]:
    """The tables that the lookup joins of a query read, for a worker.

    Args:
        node: the query.
        creates: statements that made the tables, by full name.
        text: the whole text, for errors.
        warnings: takes what is accepted but has no meaning here.
        filled: names of tables that somebody else has filled.

    Raises:
        SqlValidationError: a table is neither in a file nor in a compacted topic, or an option of it is wrong.
    """
    found: dict[int, Lookup] = {}
    for join in lookup_joins(node):
        if id(join.table) in found or join.table.name in filled:
            continue
        create = creates[join.table.name]
        if is_file(create):
            found[id(join.table)] = Lookup(join.table, bind_file(create, warnings))
            continue
        if join.scan.source.changelog is Changelog.APPEND:
            problem = (
                f"table {join.table.name} is a stream that only grows: a lookup reads a file ('connector' = "
                "'filesystem') or a compacted topic ('connector' = 'upsert-kafka')"
            )
            raise SqlValidationError(problem, text, *join.scan.span)
        source = bind_source(create, create.text, warnings)
        if source.topics.several:
            problem = (
                f"table {join.table.name} has several topics: a lookup reads one, whose last record of a key counts"
            )
            raise SqlValidationError(problem, text, *join.scan.span)
        found[id(join.table)] = Lookup(join.table, source)
    return list(found.values())
