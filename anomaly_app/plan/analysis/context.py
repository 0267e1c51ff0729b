"""What the steps of the analysis work with, and what one of them may ask of the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Dialect
from anomaly_app.graph.lookup import LookupTable
from anomaly_app.models.model import Model
from anomaly_app.plan.analysis.relation import Relation, identity
from anomaly_app.plan.nodes import Calc, Node, Scan
from anomaly_app.plan.scope import Exact, Expression, Scope, free_name
from anomaly_app.schema import Column, Schema
from anomaly_app.sql.queries import FromItem, QueryTree, Select, SelectItem
from anomaly_app.sql.statements import CreateView


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


class Context(ABC):
    """The analysis of queries, as its steps see it.

    A query stands inside another one in FROM, in a condition and as a value. So a step that meets one asks for what it
    means here, and knows nothing of the other steps: :class:`.analyzer.Analyzer` puts them together.

    Args:
        catalog: what names of tables mean.
        dialect: whose semantics.

    Attributes:
        lookups: tables of lookup joins so far, by name.
        inside: how many queries inside expressions the present one is in.
    """

    def __init__(self, catalog: Catalog, dialect: Dialect) -> None:
        self.catalog, self.dialect = catalog, dialect
        self.lookups: dict[str, LookupTable] = {}
        self.inside = 0

    @abstractmethod
    def query(self, tree: QueryTree) -> Node:
        """The node of a query; the same one if it is asked for again."""

    @abstractmethod
    def source(self, select: Select) -> Relation:
        """What stands in the FROM of a SELECT, with its windows or its row pattern."""

    @abstractmethod
    def item(self, item: FromItem, text: str) -> Relation:
        """An item of FROM; the same one if it is asked for again."""

    @abstractmethod
    def filtered(self, relation: Relation, condition: n.Node, what: str) -> Relation:
        """A relation with a condition, which may have queries in it.

        Args:
            relation: whose rows.
            condition: the condition.
            what: what it is called in errors.
        """

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
            window=node.moved_window(moved),
            span=select.span,
            text=select.text,
            input=node,
            condition=None,
            items=tuple(expressions),
        )

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
            window=node.moved_window(moved),
            span=span,
            text=text,
            input=node,
            condition=None,
            items=identity(node, text, self.dialect),
        )


def _name(tree: n.Node, number: int) -> str:
    if isinstance(tree, n.ColumnRef):
        return tree.parts[-1]
    return tree.name if isinstance(tree, n.Field) else f"EXPR${number}"


def _attributes(
    columns: Sequence[Column], expressions: Sequence[Expression], attributes: frozenset[str]
) -> frozenset[str]:
    """Columns that are a time attribute as it is; if two are the same one, both are."""
    return frozenset(c.name for c, item in zip(columns, expressions, strict=True) if item.bare in attributes)
