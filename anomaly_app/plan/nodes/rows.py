"""Logical nodes whose rows are those of their input one by one, or of a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.scope import Expression
from anomaly_app.schema import Schema


@dataclass(frozen=True, eq=False, kw_only=True)
class Scan(Node):
    """Rows of a table as they arrive."""

    table: str
    source: Schema

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """The primary key of a table whose rows come and go: what is written holds it."""
        return (frozenset(self.source.primary_key),) if self.updating and self.source.primary_key else ()

    @property
    def title(self) -> str:
        """Table and time."""
        if self.source.rowtime is None:
            return f"Scan {self.table}"
        return f"Scan {self.table}, watermark {self.source.rowtime} - {self.source.watermark_delay_ms} ms"


@dataclass(frozen=True, eq=False, kw_only=True)
class Exchange(Scan):
    """Rows of another fragment, as a table.

    Args:
        number: of the fragment, from 1.
    """

    number: int

    @property
    def title(self) -> str:
        """Whose rows."""
        return f"Rows of fragment {self.number}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Normalize(Node):
    """Upserts to all changes: it keeps the last row of each key, and takes it back when another one comes.

    Args:
        input: whose rows are upserts.
        keys: the primary key.
    """

    input: Node
    keys: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The key."""
        return f"Last row by {', '.join(self.keys)}"

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """The primary key."""
        return (frozenset(self.keys),)


@dataclass(frozen=True, eq=False, kw_only=True)
class ValuesRows(Node):
    """Rows that are written out; constant source of each value."""

    rows: tuple[tuple[Expression, ...], ...]

    @property
    def title(self) -> str:
        """How many."""
        return f"Values, {len(self.rows)} row{'s' * (len(self.rows) != 1)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Calc(Node):
    """Conditions and expressions over the columns of one row: WHERE, and a SELECT list.

    Args:
        input: whose rows.
        condition: rows for which it is not TRUE are left out; None for all.
        items: an expression for each column; an expression that is a bare column of the input keeps what it is.
    """

    input: Node
    condition: Expression | None
    items: tuple[Expression, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """What it does."""
        parts = [f"Filter {self.condition.words}"] if self.condition is not None else []
        if any(item.bare != name for item, name in zip(self.items, self.names, strict=True)) or not parts:
            parts.append("Project " + ", ".join(self.names))
        return "; ".join(parts)

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """Those of the input that are still there."""
        moved = {old: new for new, old in reversed(list(self.origins.items()))}
        return [frozenset(moved[name] for name in key) for key in self.input.upsert_keys if key <= moved.keys()]

    @property
    def origins(self) -> Mapping[str, str]:
        """Columns that are a column of the input as it is, and which."""
        return {name: item.bare for name, item in zip(self.names, self.items, strict=True) if item.bare is not None}

    def moved_to(self, name: str | None) -> str | None:
        """The first column that is a column of the input as it is; None if none is, or for None."""
        if name is None:
            return None
        return next((new for new, old in self.origins.items() if old == name), None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Union(Node):
    """UNION ALL: the rows of all inputs, column by column."""

    branches: tuple[Node, ...]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """All branches."""
        return self.branches

    @property
    def title(self) -> str:
        """UNION ALL."""
        return f"Union of {len(self.branches)}"


@dataclass(frozen=True, eq=False, kw_only=True)
class UnnestRows(Node):
    """UNNEST: each row once for each element of an array or map.

    Args:
        input: whose rows.
        value: the array or map.
        width: number of columns of an element.
        spread: an element is a ROW whose fields become columns.
        pairs: the value is a map.
        ordinality: the number of the element is a column, too.
        outer: a row without elements comes once, with NULLs.
    """

    input: Node
    value: Expression
    width: int
    spread: bool
    pairs: bool
    ordinality: bool
    outer: bool

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """What is unnested."""
        return f"Unnest {self.value.words}"
