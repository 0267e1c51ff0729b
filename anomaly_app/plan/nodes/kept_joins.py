"""Logical nodes of joins that keep all rows of both inputs: regular, semi and anti joins."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from anomaly_app.plan.conditions import conjuncts
from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.scope import Expression
from anomaly_app.words import duration


@dataclass(frozen=True, eq=False, kw_only=True)
class KeptJoin(Node):
    """Two inputs all of whose rows are kept.

    Args:
        left: one input.
        right: the other.
        keys: columns that are equal, of the left and of the right.
        null_equal: for each key whether NULL equals NULL.
        condition: what else holds for a pair, over the columns of both; None for nothing.
        theirs: what the columns of the right are called in the condition, and behind a regular join.
    """

    left: Node
    right: Node
    keys: tuple[tuple[str, str], ...]
    null_equal: tuple[bool, ...]
    condition: Expression | None
    theirs: Mapping[str, str]

    @property
    def inputs(self) -> tuple[Node, ...]:
        """Two."""
        return (self.left, self.right)

    def needs(self, wanted: set[str]) -> list[tuple[Node, set[str]]]:
        """Columns of its inputs that it needs, so that it can give the wanted ones."""
        names = wanted | self.condition.reads if self.condition is not None else wanted
        mine = {name for name in self.left.names if name in names}
        others = {own for own, behind in self.theirs.items() if behind in names}
        return [(self.left, mine | {left for left, _ in self.keys}), (self.right, others | {r for _, r in self.keys})]

    @property
    def by(self) -> str:
        """The keys, in words."""
        return f" by {', '.join(left for left, _ in self.keys)}" if self.keys else ""

    @property
    def where(self) -> str:
        """Its condition, in words."""
        if self.condition is None:
            return ""
        text = self.condition.scope.text
        parts = [" ".join(text[slice(*part.span)].split()) for part in conjuncts(self.condition.node)]
        return f", where {' and '.join(dict.fromkeys(parts))}"

    def kept(self, ttl_ms: int | None) -> tuple[str, str]:
        """What it keeps, and how that grows."""
        if ttl_ms is None:
            return "all rows of both sides", "grows with the rows, for ever: SET 'table.exec.state.ttl' bounds it"
        bound = f"rows of a key and side are dropped {duration(ttl_ms)} after the last of them"
        return "rows of both sides", f"grows with the rows of live keys; {bound}"


@dataclass(frozen=True, eq=False, kw_only=True)
class RegularJoin(KeptJoin):
    """Pairs of rows, whenever they come.

    Args:
        kind: ``INNER``, ``LEFT``, ``RIGHT`` or ``FULL``.
    """

    kind: str

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """Those of a side whose rows meet one other each at most, and those of both together."""
        mine = tuple(self.left.upsert_keys)
        others = tuple(frozenset(self.theirs[name] for name in key) for key in self.right.upsert_keys)
        found = [a | b for a in mine for b in others]
        if self.kind in ("INNER", "LEFT") and _tells_apart(self.right, [theirs for _, theirs in self.keys]):
            found += mine
        if self.kind in ("INNER", "RIGHT") and _tells_apart(self.left, [own for own, _ in self.keys]):
            found += others
        return found

    @property
    def title(self) -> str:
        """Kind and columns."""
        return f"Regular join, {self.kind.lower()},{self.by or ' of every pair'}{self.where}"


@dataclass(frozen=True, eq=False, kw_only=True)
class SemiJoin(KeptJoin):
    """Rows of the left for which there are some of the right, or are none.

    Args:
        kind: ``SEMI`` gives rows that meet one; ``ANTI`` those that meet none; ``MARK`` gives all, and behind them
            whether they meet one.
        member: columns whose values are compared as IN does: where one of them is NULL it is not known whether they are
            equal; None for EXISTS, and where it makes no difference.
        mark: name of the column that MARK adds.
    """

    kind: str
    member: tuple[str, str] | None = None
    mark: str = ""

    @property
    def upsert_keys(self) -> Collection[frozenset[str]]:
        """Those of the left."""
        return self.left.upsert_keys

    def needs(self, wanted: set[str]) -> list[tuple[Node, set[str]]]:
        """Those of every join, and the members."""
        (left, mine), (right, others) = super().needs(wanted)
        if self.member is not None:
            mine, others = mine | {self.member[0]}, others | {self.member[1]}
        return [(left, mine), (right, others)]

    @property
    def title(self) -> str:
        """Kind and columns."""
        what = {"SEMI": "Rows that meet others", "ANTI": "Rows that meet no others"}.get(self.kind, "Whether rows meet")
        among = f", {self.member[0]} among {self.member[1]}" if self.member is not None else ""
        return f"{what}{self.by}{among}{self.where}"


def _tells_apart(node: Node, columns: Collection[str]) -> bool:
    return any(key <= set(columns) for key in node.upsert_keys)
