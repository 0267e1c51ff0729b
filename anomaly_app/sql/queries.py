"""Queries as trees: SELECT and what may stand in its FROM, set operations, VALUES, ORDER BY and LIMIT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from anomaly_app.expressions.nodes import Node, Window
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.row_pattern import MatchRecognize, OrderItem
from anomaly_app.sql.windows import WindowFunction


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table or view in FROM.

    Args:
        span: its place.
        path: its name.
        alias: None if not said.
        columns: new names of its columns; () without.
        as_of: of ``FOR SYSTEM_TIME AS OF``.
    """

    span: Span
    path: tuple[str, ...]
    alias: str | None
    columns: tuple[str, ...] = ()
    as_of: Node | None = None

    @property
    def name(self) -> str:
        """The path with dots."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Subquery:
    """``(query) [AS alias [(columns)]]`` in FROM, or a name of WITH.

    Args:
        span: its place.
        query: what stands in the parentheses.
        alias: None if not said.
        columns: new names of its columns; () without.
        as_of: of ``FOR SYSTEM_TIME AS OF`` behind a name of WITH.
    """

    span: Span
    query: QueryTree
    alias: str | None
    columns: tuple[str, ...] = ()
    as_of: Node | None = None


@dataclass(frozen=True, slots=True)
class Unnest:
    """``UNNEST(expr) [WITH ORDINALITY] [AS alias [(columns)]]``, on the right of a join."""

    span: Span
    expr: Node
    ordinality: bool
    alias: str | None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Predict:
    """``ML_PREDICT``: behind a table in FROM, of whose rows it is given some values; or over a table of its own.

    ``LATERAL TABLE(ML_PREDICT('model', value, … [, MAP[…]]))`` and
    ``ML_PREDICT(TABLE t, MODEL model, DESCRIPTOR(column, …) [, MAP[…]])``.

    Args:
        span: its place.
        model: path of the model, perhaps with a version.
        model_span: of its name.
        args: what it is given.
        config: the map of options; None without.
        data: the table; None for those before it.
        alias: None if not said.
        columns: new names of its columns; () without.
    """

    span: Span
    model: tuple[str, ...]
    model_span: Span
    args: tuple[Node, ...]
    config: Node | None
    data: TableRef | Subquery | None
    alias: str | None = None
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Join:
    """A join in FROM.

    Args:
        span: its place.
        kind: ``INNER``, ``LEFT``, ``RIGHT``, ``FULL`` or ``CROSS``.
        left: one side.
        right: the other.
        condition: of ON; None without.
        using: columns of USING; () without.
        natural: NATURAL was said.
        unwanted: of the left, and of the right: WHERE leaves out rows that meet none. The parser does not know that.
    """

    span: Span
    kind: str
    left: FromItem
    right: FromItem
    condition: Node | None
    using: tuple[str, ...] = ()
    natural: bool = False
    unwanted: tuple[bool, bool] = (False, False)


FromItem: TypeAlias = TableRef | Subquery | Unnest | Predict | Join


@dataclass(frozen=True, slots=True)
class SelectItem:
    """An item of a SELECT list; ``alias`` is None if not said."""

    expr: Node
    alias: str | None
    span: Span


@dataclass(frozen=True, slots=True)
class NamedWindow:
    """An item of ``WINDOW name AS (…)``."""

    name: str
    window: Window


@dataclass(frozen=True, slots=True)
class Select:
    """A SELECT.

    Args:
        span: its place.
        items: the SELECT list.
        table: what stands in FROM; None without FROM.
        match: MATCH_RECOGNIZE behind it.
        where: the condition of WHERE.
        window: the window table function around the table.
        group_by: items of GROUP BY, each once.
        having: the condition of HAVING.
        distinct: SELECT DISTINCT.
        grouping_sets: of GROUPING SETS, ROLLUP or CUBE: for each set the places of its items in ``group_by``.
        qualify: the condition of QUALIFY.
        text: the whole text that it stands in, for errors.
    """

    span: Span
    items: tuple[SelectItem, ...]
    table: FromItem | None
    match: MatchRecognize | None = None
    where: Node | None = None
    window: WindowFunction | None = None
    group_by: tuple[Node, ...] = ()
    having: Node | None = None
    distinct: bool = False
    grouping_sets: tuple[tuple[int, ...], ...] | None = None
    qualify: Node | None = None
    text: str = ""

    @property
    def levels(self) -> tuple[Select, ...]:
        """The queries from the innermost one whose FROM is no plain subquery, to this one."""
        if isinstance(self.table, Subquery) and isinstance(self.table.query, Select):
            return (*self.table.query.levels, self)
        return (self,)

    @property
    def source(self) -> TableRef:
        """The table that the innermost level reads."""
        table = self.levels[0].table
        assert isinstance(table, TableRef)
        return table


@dataclass(frozen=True, slots=True)
class SetOperation:
    """``left UNION | INTERSECT | EXCEPT [ALL] right``."""

    span: Span
    kind: str
    all: bool
    left: QueryTree
    right: QueryTree
    text: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """``VALUES (…), (…)``."""

    span: Span
    rows: tuple[tuple[Node, ...], ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ordered:
    """``query [ORDER BY …] [LIMIT n] [OFFSET n]``."""

    span: Span
    query: QueryTree
    order_by: tuple[OrderItem, ...]
    limit: int | None
    offset: int
    text: str = ""


QueryTree: TypeAlias = Select | SetOperation | Values | Ordered
