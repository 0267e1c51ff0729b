"""From a query as a tree to logical nodes: names, types, time attributes, and what may stand where."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from anomaly_app.errors import SqlValidationError, not_too_deep
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Dialect
from anomaly_app.plan.aggregate_calls import has_aggregates, is_aggregate
from anomaly_app.plan.analysis import (
    evaluating,
    grouping,
    interval_join,
    join_where,
    matching,
    over,
    predicting,
    regular_join,
    sets,
    subqueries,
    unnesting,
    versioned,
    window_join,
    windowing,
)
from anomaly_app.plan.analysis.context import Catalog, Context
from anomaly_app.plan.analysis.relation import Relation, identity
from anomaly_app.plan.conditions import has_queries
from anomaly_app.plan.nodes import Calc, Node, Normalize, Scan
from anomaly_app.plan.scope import Name, Scope
from anomaly_app.schema import Changelog, Schema
from anomaly_app.sql.queries import (
    FromItem,
    Join,
    Ordered,
    Predict,
    QueryTree,
    Select,
    SetOperation,
    Subquery,
    TableRef,
    Unnest,
    Values,
)
from anomaly_app.sql.statements import CreateView
from anomaly_app.words import nearest

MAX_DEPTH = 400
"""Views and subqueries inside each other at most: deeper is a mistake."""

MAX_COLUMNS = 50_000
"""Of a query: beyond it is a mistake."""


class Analyzer(Context):
    """Analyses queries of one catalog: says which step is for which form of a query.

    Args:
        catalog: what names of tables mean.
        dialect: whose semantics.

    Example:
        >>> from anomaly_app.schema import INT, Column, Schema
        >>> from anomaly_app.sql import parse_statements
        >>> class One:
        ...     def table(self, path):
        ...         return "t", Schema((Column("a", INT),))
        ...     def view(self, path):
        ...         return None
        >>> Analyzer(One(), Dialect.FLINK).query(parse_statements("SELECT a + 1 AS b FROM t")[0]).names
        ('b',)
    """

    def __init__(self, catalog: Catalog, dialect: Dialect) -> None:
        super().__init__(catalog, dialect)
        self._known: dict[int, tuple[QueryTree, Node]] = {}
        self._scans: dict[str, Node] = {}
        self._views: dict[tuple[str, ...], Node] = {}
        self._depths: dict[int, int] = {}
        self._items: dict[int, tuple[FromItem, Relation]] = {}

    def query(self, tree: QueryTree) -> Node:
        """The node of a query; the same one if it is asked for again.

        Queries that it reads come first, one by one: they may be nested more deeply than the stack allows.
        """
        waiting: list[tuple[QueryTree, tuple[str, ...] | None, bool]] = [(tree, None, False)]
        views: list[tuple[str, ...]] = []
        while waiting:
            one, view, is_read = waiting.pop()
            if is_read:
                self._finish(one)
                if view is not None:
                    views.pop()
                continue
            if id(one) in self._known:
                continue
            if view is not None:
                views.append(view)
            waiting.append((one, view, True))
            for below, path, place in self._reads(one):
                if path is not None and path in views:
                    way = " → ".join(".".join(part) for part in (*views[views.index(path) :], path))
                    raise self.fail(one, place, f"views that read each other: {way}")
                waiting.append((below, path, False))
        return self._known[id(tree)][1]

    def _finish(self, tree: QueryTree) -> None:
        """Analyse a query; those that it reads are known."""
        if id(tree) in self._known:
            return
        depth = max((self._depths[id(one)] for one, _, _ in self._reads(tree)), default=0)
        self._depths[id(tree)] = depth = depth + isinstance(tree, Select)
        if depth > MAX_DEPTH:
            raise self.fail(tree, tree.span, f"queries nested more than {MAX_DEPTH} levels deep")
        with not_too_deep(tree.text, tree.span):
            node = self._query(tree)
        if len(node.columns) > MAX_COLUMNS:
            raise self.fail(tree, tree.span, f"the query has more than {MAX_COLUMNS} columns")
        self._known[id(tree)] = tree, node

    def _reads(self, tree: QueryTree) -> Iterator[tuple[QueryTree, tuple[str, ...] | None, Span]]:
        """Queries that a query reads, the path of those that are views, and where."""
        if isinstance(tree, SetOperation):
            yield from ((side, None, side.span) for side in (tree.left, tree.right))
        elif isinstance(tree, Ordered):
            yield tree.query, None, tree.query.span
        items: list[FromItem] = [tree.table] if isinstance(tree, Select) and tree.table is not None else []
        while items:
            item = items.pop()
            if isinstance(item, Join):
                items += [item.left, item.right]
            elif isinstance(item, Predict):
                items += [item.data] if item.data is not None else []
            elif isinstance(item, Subquery):
                yield item.query, None, item.span
            elif isinstance(item, TableRef):
                view = self.catalog.view(item.path)
                if view is not None:
                    yield view.query, view.path, item.span

    def _query(self, tree: QueryTree) -> Node:
        if isinstance(tree, Select):
            return self._select(tree)
        if isinstance(tree, SetOperation):
            return sets.set_operation(self, tree)
        if isinstance(tree, Values):
            return sets.values(self, tree)
        assert isinstance(tree, Ordered)
        return sets.ordered(self, tree)

    # --- SELECT ---------------------------------------------------------------------------------------

    def _select(self, select: Select) -> Node:
        select = join_where.with_where(self, select)
        relation = self.source(select)
        if select.where is not None:
            relation = self.filtered(relation, select.where, "WHERE")
        evaluate = evaluating.call_of(select)
        if evaluate is not None:
            return evaluating.evaluated(self, relation, evaluate)
        items = self.starred(select, relation)
        if len(items) > MAX_COLUMNS:
            raise self.fail(select, select.span, f"the query has more than {MAX_COLUMNS} columns")
        calls = [*(item.expr for item in items), *([select.qualify] if select.qualify is not None else [])]
        replaced: Callable[[n.Node], n.Node] = _same
        if select.group_by or select.having is not None or any(map(has_aggregates, calls)):
            relation, replaced = grouping.grouped(self, select, items, relation)
        elif select.window is None and select.grouping_sets is not None:
            raise self.fail(select, select.span, "GROUPING SETS need columns to group by")
        if any(map(over.has_calls, calls)):
            relation, further = over.with_calls(self, relation, [replaced(call) for call in calls])
            replaced = _both(replaced, further)
        if select.qualify is not None:
            relation = self.filtered(relation, replaced(select.qualify), "QUALIFY")
        relation, replaced = subqueries.valued(self, relation, [item.expr for item in items], replaced)
        node = self.projected(relation, items, replaced, select)
        return sets.distinct(self, select, node) if select.distinct else node

    def filtered(self, relation: Relation, condition: n.Node, what: str) -> Relation:
        """A relation with a condition; a bound on ROW_NUMBER() becomes one of the node that numbers."""
        relation, left = window_join.window_filtered(self, relation, condition)
        if left is None:
            return relation
        condition = left
        if has_queries(condition):
            return subqueries.filtered(self, relation, condition, what)
        scope = self.scope(relation)
        if what == "WHERE":
            _refuse_many_rows(condition, scope)
        checked = scope.expression(condition, what)
        bounded = over.bounded(relation.node, condition, scope)
        if bounded is not None:
            node, rest = bounded
            relation = relation.over(node)
            if rest is None:
                return relation
            checked = self.scope(relation).expression(rest, what)
        node = relation.node
        calc = Calc(
            columns=node.columns, rowtimes=node.rowtimes, proctimes=node.proctimes, updating=node.updating,
            window=node.window, span=condition.span, text=relation.text, input=node, condition=checked,
            items=identity(node, relation.text, self.dialect),
        )  # fmt: skip
        return relation.over(calc)

    # --- FROM -----------------------------------------------------------------------------------------

    def source(self, select: Select) -> Relation:
        """What stands in the FROM of a SELECT, with its windows or its row pattern."""
        if select.table is None:
            return Relation(sets.one_row(select.text, select.span), (), select.text)
        relation = self.item(select.table, select.text)
        if select.window is not None:
            relation = windowing.assigned(self, relation, select.window)
        if select.match is not None:
            relation = matching.matched(self, relation, select.match)
        return relation

    def item(self, item: FromItem, text: str) -> Relation:
        """An item of FROM; the same one if it is asked for again."""
        known = self._items.get(id(item))
        if known is None:
            known = self._items[id(item)] = item, self._item(item, text)
        return known[1]

    def _item(self, item: FromItem, text: str) -> Relation:
        if isinstance(item, TableRef):
            versioned.refuse(item, text)
            return self._table(item, text)
        if isinstance(item, Subquery):
            versioned.refuse(item, text)
            node = self.query(item.query)
            return self._named(node, item.alias, (), item.columns, item.span, text)
        if isinstance(item, Unnest):
            raise SqlValidationError("UNNEST stands behind CROSS JOIN or LEFT JOIN", text, *item.span)
        if isinstance(item, Predict):
            return predicting.predicted(self, item, text)
        assert isinstance(item, Join)
        if isinstance(item.right, Predict) and item.right.data is None:
            return predicting.predicted_beside(self, item, item.right, text)
        if isinstance(item.right, (TableRef, Subquery)) and item.right.as_of is not None:
            return versioned.joined(self, item, item.right, item.right.as_of, text)
        if isinstance(item.right, Unnest):
            return unnesting.unnested(self, item, text)
        for attempt in (window_join.window_joined, interval_join.interval_joined):
            joined = attempt(self, item, text)
            if joined is not None:
                return joined
        return regular_join.regular_joined(self, item, text)

    def _table(self, ref: TableRef, text: str) -> Relation:
        view = self.catalog.view(ref.path)
        if view is not None:
            return self._named(self.view(view), ref.alias, ref.path, ref.columns, ref.span, text)
        found = self.catalog.table(ref.path)
        if found is None:
            raise self._unknown(ref, text)
        name, schema = found
        node = self._scans.get(name)
        if node is None:
            rowtimes = frozenset({schema.rowtime} if schema.rowtime is not None else ())
            proctimes = frozenset({schema.proctime} if schema.proctime is not None else ())
            node = self._scans[name] = scanned(name, schema, rowtimes, proctimes, ref.span, text)
        return self._named(node, ref.alias, ref.path, ref.columns, ref.span, text)

    def _unknown(self, ref: TableRef, text: str) -> SqlValidationError:
        known = self.catalog.names()
        hint = nearest(ref.name, known) if known else ": CREATE TABLE it first"
        return SqlValidationError(f"unknown table {ref.name!r}{hint}", text, *ref.span)

    def view(self, view: CreateView) -> Node:
        """The node of a view; the same one if it is asked for again."""
        known = self._views.get(view.path)
        if known is not None:
            return known
        node = self.query(view.query)
        if view.columns:
            node = self.renamed(node, view.columns, view.span, view.text)
        self._views[view.path] = node
        return node

    def _named(
        self, node: Node, alias: str | None, path: tuple[str, ...], columns: tuple[str, ...], span: Span, text: str
    ) -> Relation:
        if columns:
            node = self.renamed(node, columns, span, text)
        qualifiers: frozenset[str] = frozenset()
        if alias is not None:
            qualifiers = frozenset({alias.upper()})
        elif path:
            qualifiers = frozenset(".".join(path[start:]).upper() for start in range(len(path)))
        return Relation(node, tuple(Name(qualifiers, column.name, column) for column in node.columns), text)


def scanned(
    name: str, schema: Schema, rowtimes: frozenset[str], proctimes: frozenset[str], span: Span, text: str
) -> Node:
    """The rows of a table; of one that is changed, all changes."""
    updating = "" if schema.changelog is Changelog.APPEND else f"table {name} is one that changes"
    scan = Scan(
        columns=schema.columns, rowtimes=rowtimes, proctimes=proctimes, updating=updating, span=span, text=text,
        table=name, source=schema,
    )  # fmt: skip
    if schema.changelog is not Changelog.UPSERT:
        return scan
    return Normalize(
        columns=scan.columns, rowtimes=rowtimes, proctimes=proctimes, updating=updating, span=span, text=text,
        input=scan, keys=schema.primary_key,
    )  # fmt: skip


def _refuse_many_rows(condition: n.Node, scope: Scope) -> None:
    """Raise for what is about several rows in WHERE, which is about one."""
    for part in n.walk(condition):
        if is_aggregate(part):
            assert isinstance(part, n.Call)
            raise scope.fail(part, f"{part.name} cannot stand inside WHERE: HAVING is about groups")
        if isinstance(part, n.Call) and part.over is not None:
            hint = "QUALIFY, or WHERE of a query around this one, is about what it gives"
            raise scope.fail(part, f"{part.name} … OVER cannot stand inside WHERE: {hint}")


def _same(node: n.Node) -> n.Node:
    return node


def _both(first: Callable[[n.Node], n.Node], second: Callable[[n.Node], n.Node]) -> Callable[[n.Node], n.Node]:
    return lambda node: second(first(node))
