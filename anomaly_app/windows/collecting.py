"""The aggregates of a query on their way into a program: each is computed once, whoever asks for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from anomaly_app.expressions.aggregates import Aggregate, Part, compile_aggregate
from anomaly_app.expressions.typed import Code, Dialect, Environment
from anomaly_app.schema import DataType


@dataclass(slots=True)
class Argument:
    """The values that some aggregates take: a column or expression, perhaps filtered; or whole rows.

    Args:
        value: source of the value; "" for rows.
        keep: source of the FILTER condition; "" without.
        type: of the value; None for rows.
        keeps_nulls: NULLs count as values.
        unique: equal values count once.
        name: of the value in the loop.
        count: place of the number of values; -1 if nobody has asked for it.
        seen: place of the values that have been there; -1 if there is no such.
        places: place of each accumulator, by kind.
        parts: what they are.
    """

    value: str
    keep: str
    type: DataType | None
    keeps_nulls: bool
    unique: bool
    name: str
    count: int = -1
    seen: int = -1
    places: dict[str, int] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)


class Collector(ABC):
    """Collects the aggregates of a query; those who write the program say what a group holds for them.

    Args:
        env: names of the generated source.
        dialect: whose semantics.
    """

    distinct_inside = True
    """Whether an aggregate of DISTINCT values itself knows those that it has had."""

    def __init__(self, env: Environment, dialect: Dialect) -> None:
        self._env, self._dialect = env, dialect
        self._arguments: dict[tuple[Any, ...], Argument] = {}
        self._results: dict[tuple[Any, ...], Code] = {}
        self._finish: list[str] = []

    def add(
        self, name: str, value: Code | None, *, keep: str = "", distinct: bool = False, separator: Code | None = None
    ) -> Code | None:
        """Source of an aggregate of a group; None if it is not defined for that type.

        Args:
            name: upper case.
            value: what is aggregated, about the row named ``row``; None for ``COUNT(*)``.
            keep: condition of FILTER; "" without.
            distinct: equal values count once.
            separator: of LISTAGG.
        """
        type_ = value.type if value is not None else None
        inside = distinct and self.distinct_inside
        aggregate = compile_aggregate(name, type_, self._env, self._dialect, distinct=inside, separator=separator)
        if aggregate is None:
            return None
        unique = distinct and name not in ("MIN", "MAX")
        source = value.source if value is not None else ""
        argument = self._argument(source, keep, type_, aggregate.keeps_nulls, unique)
        known = (name, separator.source if separator else "", id(argument))
        if known not in self._results:
            result = f"g{len(self._results)}"
            self._finish += self._computed(result, name, argument, aggregate)
            self._results[known] = Code(result, aggregate.type)
        return self._results[known]

    def _argument(self, value: str, keep: str, type_: DataType | None, nulls: bool, unique: bool) -> Argument:
        known = (value, keep, type_, nulls, unique)
        argument = self._arguments.get(known)
        if argument is None:
            argument = Argument(value, keep, type_, nulls, unique, f"x{len(self._arguments)}")
            self._arguments[known] = argument
            self._begun(argument)
        return argument

    @abstractmethod
    def _begun(self, argument: Argument) -> None:
        """An argument that nobody has had before: give it what it needs in any case."""

    @abstractmethod
    def _computed(self, result: str, name: str, argument: Argument, aggregate: Aggregate) -> list[str]:
        """Statements that compute an aggregate from a group named ``a``; its parts get their places."""
