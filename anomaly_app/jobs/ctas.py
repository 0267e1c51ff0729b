"""CREATE TABLE … AS query: a table with the columns of the query, and an INSERT of its rows."""

from __future__ import annotations

from dataclasses import replace

from anomaly_app.jobs.catalog import Catalog
from anomaly_app.plan.analysis.analyzer import Analyzer
from anomaly_app.sql.statements import ColumnDefinition, CreateTable, Insert
from anomaly_app.words import nearest


def as_two(create: CreateTable, catalog: Catalog, analyzer: Analyzer) -> tuple[CreateTable, Insert]:
    """The table and the INSERT that a statement stands for.

    The query's columns have the types that the statement gives them, if it does; columns that it computes, and those
    of the record's metadata, stand in front.

    Args:
        create: with a query.
        catalog: what its names mean; the table is not in it yet.
        analyzer: of that catalog.

    Raises:
        SqlError: the query is wrong, or the statement has a column that the query does not give.
    """
    assert create.query is not None
    node = analyzer.query(catalog.prepared(create.query))
    given = {column.name: column for column in node.columns}
    own = {one.name: one for one in create.columns}
    for definition in create.columns:
        plain = definition.computed is None and (definition.metadata is None or not definition.virtual)
        if plain and definition.name not in given:
            hint = nearest(definition.name, list(given))
            problem = f"column {definition.name!r} is none of the query, which would have to fill it{hint}"
            raise catalog.fail(problem, definition.span)
    added = tuple(one for one in create.columns if one.name not in given)
    columns = tuple(
        own.get(column.name) or ColumnDefinition(column.name, column.type, None, False, None, create.span)
        for column in node.columns
    )
    table = replace(create, columns=(*added, *columns), query=None)
    return table, Insert(create.span, create.path, create.span, tuple(node.names), create.query)
