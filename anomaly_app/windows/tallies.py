"""Aggregates of groups that are told whenever they change: generated Python that takes rows in and out again.

A group is a list: its last row (for as long as a step lasts), the time of its last use, the number of its rows, and
behind them the accumulators. Where rows may be taken back, each accumulator is one that can do without a value that it
had: sums of floats are exact, extremes know all values, first and last know their order of arrival. Where they may not,
an accumulator is a number.

The accumulators of windows (:mod:`anomaly_app.windows.accumulators`) are others: they are merged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, TypeAlias

from anomaly_app.expressions.aggregates import Aggregate, Part, others
from anomaly_app.expressions.typed import FAILURES, Dialect, Environment
from anomaly_app.operators import MIN_WATERMARK, TIME
from anomaly_app.schema import APPROXIMATE, DataType, Kind, python_type
from anomaly_app.windows.collecting import Argument, Collector
from anomaly_app.windows.exact import ExactMoments, ExactSum
from anomaly_app.windows.held import Arrived, Bag, Seen, Values, hashable

Group: TypeAlias = list[Any]
LAST, USED, ROWS, STORED, PLACES = 0, 1, 2, 3, 4
"""Places in a group: its last row in this step, the time of its last use in ms (if nobody has noted that,
:data:`~anomaly_app.operators.MIN_WATERMARK`), the number of its rows, what of its collections is stored (None for
nothing), and the first accumulator."""

Step: TypeAlias = Callable[..., None]

_NESTED = frozenset({Kind.ARRAY, Kind.MAP, Kind.ROW})


@dataclass(frozen=True, slots=True)
class Place:
    """An accumulator as it is stored.

    Args:
        index: in the group.
        kind: ``plain``, or the name of a class that holds more than a number.
        type: for reading it back; of a collection, that of one change.
    """

    index: int
    kind: str
    type: Any


@dataclass(frozen=True, slots=True)
class TallyProgram:
    """What the groups of one query hold, and the functions over them.

    Args:
        step: (rows, touched, live, begin, now, again, failed): takes rows into groups.
        fresh: a group without rows.
        places: its accumulators.
        makers: what makes each collection, by its place.
        source: for people.
    """

    step: Step
    fresh: Callable[[], Group]
    places: tuple[Place, ...]
    makers: dict[int, Callable[[], Any]]
    source: str

    @property
    def collections(self) -> tuple[Place, ...]:
        """Those that are stored in parts."""
        return tuple(place for place in self.places if place.kind in COLLECTIONS)


COLLECTIONS: dict[str, Callable[[], Any]] = {"Bag": Bag, "Arrived": Arrived, "Values": Values, "Seen": Seen}
EXACT: dict[str, type[ExactSum] | type[ExactMoments]] = {"ExactSum": ExactSum, "ExactMoments": ExactMoments}


class Tallies(Collector):
    """Collects the aggregates of a query and writes their program.

    Args:
        env: names of the generated source.
        dialect: whose semantics.
        change: index of the kind of change in a row; None if rows are never taken back.
        expires: groups are dropped when they have not been used for some time.
    """

    distinct_inside = False  # values that have been there before do not come as far as to the aggregate

    def __init__(self, env: Environment, dialect: Dialect, *, change: int | None, expires: bool = False) -> None:
        super().__init__(env, dialect)
        self._change, self._expires = change, expires
        self._initial: list[str] = ["None", env.constant(MIN_WATERMARK), "0", "None"]
        self._places: list[Place] = []
        self._kinds: dict[int, str] = {}
        self._makers: dict[int, Callable[[], Any]] = {}

    def results(self) -> list[str]:
        """Statements that compute all aggregates from a group named ``a``."""
        return self._finish

    # --- places -----------------------------------------------------------------------------------

    def _begun(self, argument: Argument) -> None:
        if argument.unique:
            assert argument.type is not None
            kind = "Seen" if self._change is None else "Bag"
            argument.seen = self._collection(kind, _change_type(kind, argument.type), COLLECTIONS[kind])

    def _computed(self, result: str, name: str, argument: Argument, aggregate: Aggregate) -> list[str]:
        states = [f"{result}_{number}" for number, _ in enumerate(aggregate.parts)]
        lines = [
            f"{state} = {self._state(argument, part)}" for state, part in zip(states, aggregate.parts, strict=True)
        ]
        if self._change is not None and [part.kind for part in aggregate.parts] == ["moments"]:
            sample, root = name not in ("STDDEV_POP", "VAR_POP"), name.startswith("STDDEV")
            return [*lines, f"{result} = {states[0]}.spread({sample}, {root})"]
        return [*lines, f"{result} = {aggregate.finish(*states)}"]

    def _place(self, initial: str, type_: Any, kind: str = "plain") -> int:
        self._initial.append(initial)
        index = len(self._initial) - 1
        self._places.append(Place(index, kind, type_))
        self._kinds[index] = kind
        return index

    def _collection(self, kind: str, type_: Any, make: Callable[[], Any]) -> int:
        index = self._place(f"{self._env.constant(make)}()", type_, kind)
        self._makers[index] = make
        return index

    def _count(self, argument: Argument) -> str:
        """Source of the number of values."""
        if argument.type is None and not argument.keep:
            return f"a[{ROWS}]"
        if argument.count < 0:
            argument.count = self._place("0", int)
        return f"a[{argument.count}]"

    def _state(self, argument: Argument, part: Part) -> str:
        """Source of a part's state; the part gets its places."""
        if part.kind == "count":
            return self._count(argument)
        type_ = argument.type
        assert type_ is not None
        kind, may_go = part.kind, self._change is not None
        if kind not in argument.places:
            argument.parts[kind] = part
            argument.places[kind] = self._take_up(kind, part, type_)
        state = f"a[{argument.places[kind]}]"
        if kind == "values":
            return f"{state}.values()"
        if not may_go:
            return state
        if kind == "sum":
            count = self._count(argument)
            exact = f"{state}.value()" if type_.kind in APPROXIMATE else state
            return f"({exact} if {count} else None)"
        if kind == "moments":
            return state
        if kind == "others":
            return f"{self._env.use(others)}({state}.values())"
        return f"{state}.{_ASKED[kind]}()"

    def _take_up(self, kind: str, part: Part, type_: DataType) -> int:
        """The place of a new part."""
        one = python_type(type_.with_nullable(True))
        if self._change is None:
            if kind == "values":
                return self._collection("Values", _change_type("Values", type_), Values)
            if kind == "moments":
                return self._place(part.initial, tuple[int, float, float])
            return self._place(part.initial, GenericAlias(tuple, (one, int, float, float)) if kind == "others" else one)
        if kind == "sum" and type_.kind in APPROXIMATE:
            return self._place(f"{self._env.use(ExactSum)}()", tuple[bytes, int, tuple[int, int, int]], "ExactSum")
        if kind == "sum":
            return self._place("None", one)
        if kind == "moments":
            type_of_state = tuple[int, bytes, bytes, int, tuple[int, int, int]]
            return self._place(f"{self._env.use(ExactMoments)}()", type_of_state, "ExactMoments")
        if kind in ("min", "max"):
            return self._collection("Bag", _change_type("Bag", type_), Bag)
        make = _arrived_nested if type_.kind in _NESTED else Arrived
        return self._collection("Arrived", _change_type("Arrived", type_), make)

    # --- source -----------------------------------------------------------------------------------

    def program(self, key: str, where: str = "") -> TallyProgram:
        """Write the functions.

        Args:
            key: source of the key of ``row``.
            where: condition that a row must pass; "" without.
        """
        env = self._env
        step_source = self._step(key, where)
        fresh_source = f"def fresh():\n    return [{', '.join(self._initial)}]"
        fresh = env.function("fresh", fresh_source)
        step = env.function("step", step_source)
        source = f"{fresh_source}\n\n{step_source}"
        return TallyProgram(step, fresh, tuple(self._places), self._makers, source)

    def _step(self, key: str, where: str) -> str:
        lines: list[str] = []
        if where:
            lines += [f"if not {where}:", "    continue"]
        for argument in self._arguments.values():
            if argument.value:
                lines.append(f"{argument.name} = {argument.value}")
            if argument.keep:
                lines.append(f"k{argument.name} = {argument.keep}")
        lines += [f"key = {key}", "a = known(key)"]
        begin = ["if a is None:", "    a = begin(key, row)", "    if a is None:", "        continue"]
        if self._expires:
            lines += [
                f"at = row[{TIME}]",
                "if at < now:",
                "    at = now",
                f"if a is not None and at - a[{USED}] > ttl_ms:",
                "    again(key)",
                "    a = None",
            ]
            begin[1] = "    a = begin(key, row, at)"
        lines += [*begin, f"a[{LAST}] = row"]
        if self._expires:
            lines += [f"if at > a[{USED}]:", f"    a[{USED}] = at"]
        takes = [f"a[{ROWS}] += 1"]
        for argument in self._arguments.values():
            takes += self._tested(argument, self._added(argument), "add")
        if self._change is None:
            lines += takes
        else:
            gives = [f"a[{ROWS}] -= 1"]
            for argument in self._arguments.values():
                gives += self._tested(argument, self._taken_out(argument), "remove")
            lines += [f"if row[{self._change}] & 1:", *(f"    {line}" for line in gives)]
            lines += ["else:", *(f"    {line}" for line in takes)]
        failures = self._env.constant(FAILURES)
        head = ["def step(rows, known, begin, failed, now, ttl_ms, again):", "    for row in rows:", "        try:"]
        body = [f"            {line}" for line in lines]
        tail = [f"        except {failures} as error:", "            failed.append((row, error))"]
        return "\n".join([*head, *body, *tail])

    @staticmethod
    def _tested(argument: Argument, steps: list[str], seen: str) -> list[str]:
        """Statements for the rows that an aggregate is about."""
        if not steps and argument.seen < 0:
            return []
        x = argument.name
        tests = [f"k{x}"] if argument.keep else []
        if argument.type is not None and not argument.keeps_nulls and argument.type.nullable:
            tests.append(f"{x} is not None")
        if argument.seen >= 0:
            tests.append(f"a[{argument.seen}].{seen}({x})")
        steps = steps or ["pass"]
        return [f"if {' and '.join(tests)}:", *(f"    {step}" for step in steps)] if tests else steps

    def _added(self, argument: Argument) -> list[str]:
        """Statements that take a value in."""
        x = argument.name
        steps = [f"a[{argument.count}] += 1"] if argument.count >= 0 else []
        for kind, place in argument.places.items():
            state, part = f"a[{place}]", argument.parts[kind]
            if self._is_object(place):
                steps.append(f"{state}.add({x})")
            elif kind in ("min", "max"):
                sign = "<" if kind == "min" else ">"
                steps += [f"v = {state}", f"if v is None or {x} {sign} v:", f"    {state} = {x}"]
            else:
                steps += [f"v = {state}", f"{state} = {part.update('v', x)}"]
        return steps

    def _taken_out(self, argument: Argument) -> list[str]:
        """Statements that take a value out."""
        x = argument.name
        steps = [f"a[{argument.count}] -= 1"] if argument.count >= 0 else []
        for kind, place in argument.places.items():
            state, part = f"a[{place}]", argument.parts[kind]
            if self._is_object(place):
                steps.append(f"{state}.remove({x})")
            else:  # a sum of numbers that lose nothing
                steps += [f"v = {state}", f"{state} = {part.update('v', f'(-{x})')}"]
        return steps

    def _is_object(self, place: int) -> bool:
        return self._kinds[place] != "plain"


_ASKED = {"min": "least", "max": "greatest", "first_value": "first", "last_value": "last"}


def _change_type(kind: str, type_: DataType) -> Any:
    """What msgspec reads a change of a collection as."""
    one = python_type(type_.with_nullable(True))
    if kind == "Bag":
        return GenericAlias(tuple, (one, int))
    return GenericAlias(tuple, (int, bool, one)) if kind == "Arrived" else one


def _arrived_nested() -> Arrived:
    """Values that are no keys themselves."""
    return Arrived(hashable)
