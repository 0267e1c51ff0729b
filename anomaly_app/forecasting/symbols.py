"""Numbers that are not known yet: a recursion over them is written down as a line of operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from anomaly_app.detectors import Floats


class Symbol:
    """A number that is not known before the recursion runs."""

    __slots__ = ("arguments", "operation", "trace")

    def __init__(self, trace: Trace, operation: str, arguments: tuple[Any, ...]) -> None:
        self.trace, self.operation, self.arguments = trace, operation, arguments

    def __add__(self, other: Number) -> Symbol:
        return self.trace.node("add", self, other)

    def __radd__(self, other: Number) -> Symbol:
        return self.trace.node("add", other, self)

    def __sub__(self, other: Number) -> Symbol:
        return self.trace.node("subtract", self, other)

    def __rsub__(self, other: Number) -> Symbol:
        return self.trace.node("subtract", other, self)

    def __mul__(self, other: Number) -> Symbol:
        return self.trace.node("multiply", self, other)

    def __rmul__(self, other: Number) -> Symbol:
        return self.trace.node("multiply", other, self)

    def __truediv__(self, other: Number) -> Symbol:
        return self.trace.node("divide", self, other)

    def __rtruediv__(self, other: Number) -> Symbol:
        return self.trace.node("divide", other, self)

    def __neg__(self) -> Symbol:
        return self.trace.node("subtract", 0.0, self)

    def __lt__(self, other: Number) -> Symbol:
        return self.trace.node("less", self, other)

    def __gt__(self, other: Number) -> Symbol:
        return self.trace.node("greater", self, other)


Number: TypeAlias = Symbol | float


def sqrt(value: Symbol) -> Symbol:
    """The square root; of a number that is not negative."""
    return value.trace.node("sqrt", value)


def largest(one: Symbol, other: Number) -> Symbol:
    """The larger of two numbers."""
    return one.trace.node("maximum", one, other)


def smallest(one: Symbol, other: Number) -> Symbol:
    """The smaller of two numbers."""
    return one.trace.node("minimum", one, other)


def clip(value: Symbol, limit: Symbol) -> Symbol:
    """The number, not beyond a limit on either side of 0."""
    return smallest(largest(value, -limit), limit)


def equal(one: Symbol, other: Number) -> Symbol:
    """Whether two numbers are the same."""
    return one.trace.node("equal", one, other)


def choose(condition: Symbol, one: Number, other: Number) -> Symbol:
    """One number where a comparison holds, the other elsewhere; both must be possible everywhere."""
    return condition.trace.node("where", condition, one, other)


def look_up(table: Sequence[float], index: Symbol) -> Symbol:
    """An entry of a constant table; the index is a whole number, beyond the end it means the last entry."""
    trace = index.trace
    values = np.asarray(table, dtype=np.float64)
    name = next((known for known, held in trace.tables.items() if np.array_equal(held, values)), None)
    if name is None:
        name = f"table{len(trace.tables)}"
        trace.tables[name] = values
    return trace.node("take", smallest(index, float(len(table) - 1)), name)


class Trace:
    """The operations of a recursion in order; equal ones are one."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Symbol] = {}
        self.tables: dict[str, Floats] = {}

    def node(self, operation: str, *arguments: Any) -> Symbol:
        """The result of an operation."""
        key = (operation, *(argument if not isinstance(argument, Symbol) else id(argument) for argument in arguments))
        found = self.nodes.get(key)
        if found is None:
            found = self.nodes[key] = Symbol(self, operation, arguments)
        return found

    def input(self, name: str) -> Symbol:
        """A number that is given."""
        return self.node("input", name)
