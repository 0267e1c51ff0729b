"""From a query as a tree to logical nodes: names, types, time attributes, and what may stand where."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from anomaly_app.errors import SqlValidationError, not_too_deep
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Dialect
from anomaly_app.graph.lookup import LookupTable
from anomaly_app.models.model import Model
from anomaly_app.patterns.clause import nearest
from anomaly_app.plan import (
    evaluating,
    grouping,
    interval_join,
    join_where,
    joining,
    matching,
    over,
    predicting,
    regular_join,
    sets,
    subqueries,
    unnesting,
    versioned,
    windowing,
)
from anomaly_app.plan.aggregate_calls import has_aggregates, is_aggregate
from anomaly_app.plan.nodes import Calc, Node, Normalize, Scan
from anomaly_app.plan.regular_join import has_queries
from anomaly_app.plan.relation import Relation, identity
from anomaly_app.plan.scope import Exact, Expression, Name, Scope, free_name
from anomaly_app.schema import Changelog, Column, Schema
from anomaly_app.sql.queries import (
    FromItem,
    Join,
    Ordered,
    Predict,
    QueryTree,
    Select,
    SelectItem,
    SetOperation,
    Subquery,
    TableRef,
    Unnest,
    Values,
)
from anomaly_app.sql.statements import CreateView

MAX_DEPTH = 400
"""Views and subqueries inside each other at most: deeper is a mistake."""

MAX_COLUMNS = 50_000
"""Of a query: beyond it is a mistake."""


class Catalog(Protocol):
    """What names of tables mean."""

    def table(self, path: tuple[str, ...]) -> tuple[str, Schema] | None:
        """Full name and columns of a table; None if there is none of that name."""
        ...

    def view(self, path: tuple[str, ...]) -> CreateView | None:
        """A view; None if there is none of that name."""
        ...

    def names(self) -> Sequence[str]:
        """All tables and views, for hints."""
        ...

    def model(self, path: tuple[str, ...]) -> Model | None:
        """A version of a model; None if there is none of that name."""
        ...

    def models_of(self, path: tuple[str, ...]) -> list[Model]:
        """The versions of a model that a path names, with ``$all`` all; [] if there is none."""
        ...

    def unknown_model(self, path: tuple[str, ...]) -> str:
        """What to say of a model that there is none of."""
        ...


class Analyzer:
    """Analyses queries of one catalog.

    Args:
        catalog: what names of tables mean.
        dialect: whose semantics.

    Example:
        >>> from anomaly_app.schema import INT
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
        self.catalog, self.dialect = catalog, dialect
        self.lookups: dict[str, LookupTable] = {}
        self._known: dict[int, tuple[QueryTree, Node]] = {}
        self._scans: dict[str, Node] = {}
        self._views: dict[tuple[str, ...], Node] = {}
        self._depths: dict[int, int] = {}
        self.inside = 0
        """How many queries inside expressions the present one is in."""
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

    def fail(self, tree: QueryTree | CreateView, span: Span, problem: str) -> SqlValidationError:
        """An error at a place of a tree."""
        return SqlValidationError(problem, tree.text, *span)

    def scope(self, relation: Relation) -> Scope:
        """What names mean in expressions over a relation."""
        node = relation.node
        time = next((name for name in node.names if name in node.rowtimes), None)
        rowtime = node.column(time) if time is not None else None
        below = node
        while isinstance(below, Calc):
            below = below.input
        watermarked = node.rowtimes if isinstance(below, Scan) else frozenset()
        return Scope(relation.text, relation.names, self.dialect, rowtime=rowtime, watermarked=watermarked)

    def filtered(self, relation: Relation, condition: n.Node, what: str) -> Relation:
        """A relation with a condition; a bound on ROW_NUMBER() becomes one of the node that numbers."""
        relation, left = joining.window_filtered(self, relation, condition)
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

    def with_columns(
        self, relation: Relation, trees: Sequence[n.Node], called: Sequence[str] | None = None
    ) -> tuple[Relation, tuple[str, ...]]:
        """A relation that has each of these expressions as a column, and their names.

        Expressions that are a column already stay what they are; the others get hidden columns, which no name means.

        Args:
            relation: whose columns they read.
            trees: the expressions.
            called: what their columns are to be called, if that is free.
        """
        scope, node = self.scope(relation), relation.node
        names: list[str] = []
        added: list[Expression] = []
        columns = list(node.columns)
        for number, tree in enumerate(trees):
            expression = scope.expression(tree)
            if expression.bare is not None:
                names.append(expression.bare)
                continue
            name = free_name(called[number] if called is not None else "$", [column.name for column in columns])
            columns.append(Column(name, expression.type))
            added.append(expression)
            names.append(name)
        if not added:
            return relation, tuple(names)
        calc = Calc(
            columns=tuple(columns), rowtimes=node.rowtimes, proctimes=node.proctimes, updating=node.updating,
            window=node.window, text=relation.text, input=node, condition=None,
            items=(*identity(node, relation.text, self.dialect), *added),
        )  # fmt: skip
        return relation.over(calc), tuple(names)

    def starred(self, select: Select, relation: Relation) -> list[SelectItem]:
        """The SELECT list with its stars written out."""
        scope = self.scope(relation)
        items: list[SelectItem] = []
        for item in select.items:
            if not isinstance(item.expr, n.Star):
                items.append(item)
                continue
            if item.alias is not None:
                raise self.fail(select, item.span, f"* has no name: AS {item.alias} is for one column")
            if select.group_by:
                raise self.fail(select, item.span, "* has no meaning with GROUP BY: name keys and aggregates")
            if not relation.names:
                raise self.fail(select, item.span, "* needs a table in FROM")
            fields = scope.fields(item.expr)
            if fields:
                items += [SelectItem(ref, ref.parts[-1], item.span) for ref in fields]
                continue
            for name in scope.star(item.expr):
                ref = Exact(item.span, (name.visible,), name.column)
                items.append(SelectItem(ref, name.visible, item.span))
        return items

    def projected(
        self, relation: Relation, items: Sequence[SelectItem], replaced: Callable[[n.Node], n.Node], select: Select
    ) -> Node:
        """The SELECT list over a relation."""
        node, scope = relation.node, self.scope(relation)
        columns: list[Column] = []
        taken: set[str] = set()
        numbers: dict[str, int] = {}
        expressions: list[Expression] = []
        moved: dict[str, str] = {}
        for number, item in enumerate(items):
            expression = scope.expression(replaced(item.expr))
            wanted = item.alias or _name(item.expr, number)
            name = wanted
            while name in taken:
                name = f"{wanted}{numbers.get(wanted, 0)}"
                numbers[wanted] = numbers.get(wanted, 0) + 1
            taken.add(name)
            columns.append(Column(name, expression.type))
            expressions.append(expression)
            if expression.bare is not None:
                moved.setdefault(expression.bare, name)
        return Calc(
            columns=tuple(columns),
            rowtimes=_attributes(columns, expressions, node.rowtimes),
            proctimes=_attributes(columns, expressions, node.proctimes),
            updating=node.updating,
            window=windowing.moved(node.window, moved),
            span=select.span,
            text=select.text,
            input=node,
            condition=None,
            items=tuple(expressions),
        )

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
        for attempt in (joining.window_joined, interval_join.interval_joined):
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

    def renamed(self, node: Node, names: Sequence[str], span: Span, text: str) -> Node:
        """A node whose columns have other names."""
        if len(names) != len(node.columns):
            problem = f"{len(names)} names for {len(node.columns)} columns ({', '.join(node.names)})"
            raise SqlValidationError(problem, text, *span)
        moved = dict(zip(node.names, names, strict=True))
        return Calc(
            columns=tuple(replace(column, name=moved[column.name]) for column in node.columns),
            rowtimes=frozenset(moved[name] for name in node.rowtimes),
            proctimes=frozenset(moved[name] for name in node.proctimes),
            updating=node.updating,
            window=windowing.moved(node.window, moved),
            span=span,
            text=text,
            input=node,
            condition=None,
            items=identity(node, text, self.dialect),
        )


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


def _name(tree: n.Node, number: int) -> str:
    if isinstance(tree, n.ColumnRef):
        return tree.parts[-1]
    return tree.name if isinstance(tree, n.Field) else f"EXPR${number}"


def _attributes(
    columns: Sequence[Column], expressions: Sequence[Expression], attributes: frozenset[str]
) -> frozenset[str]:
    """Columns that are a time attribute as it is; if two are the same one, both are."""
    return frozenset(c.name for c, item in zip(columns, expressions, strict=True) if item.bare in attributes)


def _same(node: n.Node) -> n.Node:
    return node


def _both(first: Callable[[n.Node], n.Node], second: Callable[[n.Node], n.Node]) -> Callable[[n.Node], n.Node]:
    return lambda node: second(first(node))
