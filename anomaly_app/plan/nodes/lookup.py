"""The node of a lookup join."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from anomaly_app.graph.lookup import LookupTable
from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.nodes.rows import Calc, Scan
from anomaly_app.plan.scope import Expression


@dataclass(frozen=True, slots=True)
class LookupKey:
    """An equality of a lookup join.

    Args:
        asked: what is looked up: of the columns of the left, or a value.
        found: what it is looked up in: of the columns of the table.
    """

    asked: Expression
    found: Expression


@dataclass(frozen=True, eq=False, kw_only=True)
class LookupJoin(Node):
    """Each row of the left with the rows of a table that fit it at the moment when it comes.

    The table is no input: whoever runs the query fills it, and what passes there is no event of the query.

    Args:
        kind: ``INNER`` or ``LEFT``.
        input: whose rows.
        table: its rows.
        scan: the table as a node.
        chain: filters and projections between the table and the join, the innermost first.
        keys: what is equal; at least one.
        condition: what else holds for a pair, over the columns of both; None for nothing.
        theirs: what the columns of the table, behind the chain, are called behind the join.
        as_of_call: the time was given as PROCTIME(), and not as a column.
    """

    kind: str
    input: Node
    table: LookupTable
    scan: Scan
    chain: tuple[Calc, ...]
    keys: tuple[LookupKey, ...]
    condition: Expression | None
    theirs: Mapping[str, str]
    as_of_call: bool = False

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """Kind, table and key."""
        by = ", ".join(f"{key.found.words} = {key.asked.words}" for key in self.keys)
        condition = f", if {self.condition.words}" if self.condition is not None else ""
        return f"Lookup join, {self.kind.lower()}, {self.table.name} by {by}{condition}"

    @property
    def reads(self) -> frozenset[str]:
        """Columns, of the left and of the table, that it looks up by and tests."""
        names = self.condition.reads if self.condition is not None else frozenset()
        return names.union(*(key.asked.reads | key.found.reads for key in self.keys))

    def column_of_table(self, key: LookupKey) -> str | None:
        """The column of the table in which a key is looked up; None if it is an expression."""
        own = {behind: name for name, behind in self.theirs.items()}
        name = own.get(key.found.bare or "")
        for calc in reversed(self.chain):
            name = calc.origins.get(name) if name is not None else None
        return name

    @property
    def is_unique(self) -> bool:
        """Whether at most one row of the table fits each row."""
        primary_key = self.scan.source.primary_key
        return bool(primary_key) and {*primary_key} <= {self.column_of_table(key) for key in self.keys}
