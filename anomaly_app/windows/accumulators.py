"""Aggregates of groups as generated Python: what a group holds, how a row changes it, how two groups become one.

A group is a list. First come its last row and the start of its slice or session; behind them stand the accumulators,
in places (:class:`Program`) that aggregates share: a mean and a deviation of one column count its values once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, TypeAlias

from anomaly_app.expressions.aggregates import Aggregate, Part, merged_moments, merged_others
from anomaly_app.expressions.typed import FAILURES, Dialect, Environment
from anomaly_app.operators import POSITION, TIME, Row
from anomaly_app.schema import APPROXIMATE, Kind, python_type
from anomaly_app.windows.collecting import Argument, Collector

Group: TypeAlias = list[Any]
LAST, START, PLACES = 0, 1, 2
"""Places in a group: its last row by arrival, the time that names it (start of its slice; time of the first row of a
session), and the first accumulator."""
LOW, HIGH = 2, 3
"""Places in a session, in front of the accumulators: its least and greatest time."""

Begin: TypeAlias = Callable[[Any, Row], "Group | None"]
"""From the key of a group that is not touched yet, and its row, to the group; None if there is no room for it."""
Update: TypeAlias = Callable[[Sequence[Row], Callable[[Any], "Group | None"], Begin, list[tuple[Row, Exception]]], None]
"""(rows, touched group of a key, what to do if there is none, list for failures) of one stretch of rows."""

_BY_ARRIVAL = {"first_value": "first_at", "last_value": "last_at"}
"""Accumulators that depend on the order of arrival, and those that tell it: positions of their rows."""


@dataclass(slots=True)
class Program:
    """What the groups of one query hold, and the functions over them.

    Args:
        fresh: a group without rows.
        update: takes rows into groups.
        merge: takes the second group into the first; values of aggregates that need all of them go behind.
        copy: a group that can be merged into.
        types: Python types of the accumulators that are written whole, for reading them back.
        whole: their places.
        lists: places of those that hold values, which are written once each.
        list_types: Python types of these values.
        numbers: how many of the accumulators written whole tell something, and not only where it came from.
        key: of the group of a row.
        passes: whether WHERE lets a row pass; raises as an expression does.
        source: for people.
    """

    fresh: Callable[[], Group]
    update: Update
    merge: Callable[[Group, Group], None]
    copy: Callable[[Group], Group]
    types: tuple[Any, ...]
    whole: tuple[int, ...]
    lists: tuple[int, ...]
    list_types: tuple[Any, ...]
    numbers: int
    key: Callable[[Row], Any]
    passes: Callable[[Row], bool]
    source: str


class Accumulators(Collector):
    """Collects the aggregates of a query and writes their program.

    Args:
        env: names of the generated source.
        dialect: whose semantics.
        gap_ms: of sessions; None for windows on a grid.
        merges: groups become one, so that the first and the last of two must be told by their arrival.
    """

    def __init__(self, env: Environment, dialect: Dialect, *, gap_ms: int | None, merges: bool) -> None:
        super().__init__(env, dialect)
        self._gap_ms, self._merges = gap_ms, merges
        self._initial: list[str] = ["None", "None"]
        self._types: list[Any] = [None, None]
        if gap_ms is not None:
            self._initial += ["0", "0"]
            self._types += [int, int]
        self._lists: list[int] = []

    def results(self) -> list[str]:
        """Statements that compute the aggregates added since the last call, from a group named ``a``."""
        statements, self._finish = self._finish, []
        return statements

    # --- places -----------------------------------------------------------------------------------

    def _begun(self, argument: Argument) -> None:
        argument.count = self._place("0", int)

    def _computed(self, result: str, name: str, argument: Argument, aggregate: Aggregate) -> list[str]:
        states = [self._part(argument, part) for part in aggregate.parts]
        return [f"{result} = {aggregate.finish(*states)}"]

    def _place(self, initial: str, type_: Any) -> int:
        self._initial.append(initial)
        self._types.append(type_)
        return len(self._initial) - 1

    def _part(self, argument: Argument, part: Part) -> str:
        """Source of a part's state; the part gets its places."""
        if part.kind == "count":
            return f"a[{argument.count}]"
        if part.kind == "moments":
            for kind in ("mean", "squares"):
                if kind not in argument.places:
                    argument.places[kind] = self._place("0.0", float)
                    argument.parts[kind] = part
            return f"(a[{argument.count}], a[{argument.places['mean']}], a[{argument.places['squares']}])"
        if part.kind not in argument.places:
            argument.parts[part.kind] = part
            argument.places[part.kind] = (
                self._values(argument) if part.kind == "values" else self._single(argument, part)
            )
            if part.kind in _BY_ARRIVAL and self._merges:
                argument.places[_BY_ARRIVAL[part.kind]] = self._place("0", int)
        return f"a[{argument.places[part.kind]}]"

    def _values(self, argument: Argument) -> int:
        assert argument.type is not None
        place = self._place("{}" if argument.unique else "[]", python_type(argument.type))
        self._lists.append(place)
        return place

    def _single(self, argument: Argument, part: Part) -> int:
        assert argument.type is not None
        type_ = python_type(argument.type.with_nullable(True))
        return self._place(
            part.initial, GenericAlias(tuple, (type_, int, float, float)) if part.kind == "others" else type_
        )

    # --- source -----------------------------------------------------------------------------------

    def program(self, key: str, where: str) -> Program:
        """Write the functions.

        Args:
            key: source of the key of ``row``.
            where: condition of WHERE; "" without.
        """
        lists, width = tuple(self._lists), len(self._initial)
        whole = tuple(place for place in range(PLACES, width) if place not in lists)
        env = self._env
        parts = [
            f"def fresh():\n    return [{', '.join(self._initial)}]",
            self._update(key, where),
            self._merge(),
            "\n".join(
                ["def copy(b):", "    a = b[:]", *(f"    a[{k}] = a[{k}].copy()" for k in lists), "    return a"]
            ),
        ]
        fresh, update, merge, copy = (
            env.function(name, source)
            for name, source in zip(("fresh", "update", "merge", "copy"), parts, strict=True)
        )  # fmt: skip
        types = tuple(self._types[place] for place in whole)
        list_types = tuple(self._types[place] for place in lists)
        key_of = env.function("key_of", f"def key_of(row):\n    return {key}")
        passes = env.function("passes", f"def passes(row):\n    return {where or True}")
        source = "\n\n".join(parts)
        kinds = [kind for argument in self._arguments.values() for kind in argument.places]
        positions = sum(kind in _BY_ARRIVAL.values() for kind in kinds)
        numbers = len(whole) - positions - (0 if self._gap_ms is None else HIGH - LOW + 1)
        return Program(fresh, update, merge, copy, types, whole, lists, list_types, numbers, key_of, passes, source)

    def _update(self, key: str, where: str) -> str:
        lines = ["for row in rows:", "    try:"]
        if where:
            lines += [f"        if not {where}:", "            continue"]
        for argument in self._arguments.values():
            if argument.value:
                lines.append(f"        {argument.name} = {argument.value}")
            if argument.keep:
                lines.append(f"        k{argument.name} = {argument.keep}")
        begin = ["            a = begin(key, row)", "            if a is None:", "                continue"]
        lines += [f"        key = {key}", "        a = known(key)"]
        if self._gap_ms is None:
            lines += ["        if a is None:", *begin, f"        a[{LAST}] = row"]
        else:
            # As in Flink, sessions that touch are one: a row just when the gap ends goes on with it.
            lines += [
                f"        at = row[{TIME}]",
                f"        if a is None or not 0 <= at - a[{HIGH}] <= {self._gap_ms}:",
                *begin,
                "        else:",
                f"            a[{HIGH}] = at",
                f"        a[{LAST}] = row",
            ]
        for argument in self._arguments.values():
            lines += [f"        {line}" for line in self._take(argument)]
        failures = self._env.constant(FAILURES)
        lines += [f"    except {failures} as error:", "        failed.append((row, error))"]
        return "\n".join(["def update(rows, known, begin, failed):", *(f"    {line}" for line in lines)])

    def row_by_row(self) -> tuple[Callable[[Group, Row], None], Callable[[Group, Row], None] | None]:
        """Functions that take a row into a group, and out of it again.

        The second is None unless that is exact for all aggregates: counts, and sums of whole numbers and decimals. Both
        raise what an expression raises.
        """
        heads: list[str] = []
        takes: list[str] = []
        gives: list[str] = []
        for argument in self._arguments.values():
            if argument.value:
                heads.append(f"    {argument.name} = {argument.value}")
            if argument.keep:
                heads.append(f"    k{argument.name} = {argument.keep}")
            takes += [f"    {line}" for line in self._take(argument)]
            gives += [f"    {line}" for line in self._give_back(argument)]
        lines = [*heads, *takes] or ["    pass"]
        take = self._env.function("take", "\n".join(["def take(a, row):", *lines, f"    a[{LAST}] = row"]))
        exact = all(
            set(argument.places) <= {"sum"} and not argument.unique
            and (argument.type is None or not argument.places or argument.type.kind not in APPROXIMATE)
            for argument in self._arguments.values()
        )  # fmt: skip
        if not exact:
            return take, None
        return take, self._env.function("give", "\n".join(["def give(a, row):", *heads, *(gives or ["    pass"])]))

    def _give_back(self, argument: Argument) -> list[str]:
        """Statements that take the value of a row out of a count, and of a sum if there is one."""
        x, n = argument.name, argument.count
        steps = [f"a[{n}] = n = a[{n}] - 1"]
        for place in argument.places.values():
            steps += [f"a[{place}] = a[{place}] - {x} if n else None"]
        return self._tested(argument, steps)

    def _take(self, argument: Argument) -> list[str]:
        """Statements that take the value of a row."""
        n = argument.count
        if not argument.places:
            steps = [f"a[{n}] += 1"]
        else:
            first, next_ = [f"a[{n}] = 1"], [f"a[{n}] = n = n + 1"]
            for kind, place in argument.places.items():
                begins, goes_on = self._steps(argument, kind, place)
                first += begins
                next_ += goes_on
            steps = [f"n = a[{n}]", "if n:", *(f"    {s}" for s in next_), "else:", *(f"    {s}" for s in first)]
        return self._tested(argument, steps)

    @staticmethod
    def _tested(argument: Argument, steps: list[str]) -> list[str]:
        """Statements for the rows that an aggregate is about."""
        x = argument.name
        tests = [f"k{x}"] if argument.keep else []
        if argument.type is not None and not argument.keeps_nulls and argument.type.nullable:
            tests.append(f"{x} is not None")
        return [f"if {' and '.join(tests)}:", *(f"    {step}" for step in steps)] if tests else steps

    def _steps(self, argument: Argument, kind: str, place: int) -> tuple[list[str], list[str]]:
        """Statements for the first value of a group, and for a further one."""
        x, state = argument.name, f"a[{place}]"
        if kind in _BY_ARRIVAL.values():
            position = f"{state} = row[{POSITION}]"
            return [position], [position] if kind == "last_at" else []
        part = argument.parts[kind]
        if kind == "values":
            added = f"{state}[{x}] = None" if argument.unique else f"{state}.append({x})"
            return [added], [added]
        if kind == "mean":
            assert argument.type is not None
            exact = argument.type.kind not in APPROXIMATE
            number = f"float({x})" if exact else x
            mean, squares = state, f"a[{argument.places['squares']}]"
            # Welford's recursion, as in aggregates.moments_with.
            further = [f"v = {number}", f"d = v - {mean}", f"m = {mean} + d / n", f"{mean} = m",
                       f"{squares} += d * (v - m)"]  # fmt: skip
            return [f"{mean} = {number}"], further
        if kind == "squares":
            return [], []
        if kind in ("min", "max"):
            return [f"{state} = {x}"], [f"if {x} {'<' if kind == 'min' else '>'} {state}:", f"    {state} = {x}"]
        if kind == "sum" and argument.type is not None and argument.type.kind is not Kind.DECIMAL:
            return [f"{state} = {x}"], [f"{state} += {x}"]
        if kind in ("first_value", "last_value"):
            return [f"{state} = {x}"], [f"{state} = {x}"] if kind == "last_value" else []
        return [f"{state} = {part.update(part.initial, x)}"], [f"{state} = {part.update(state, x)}"]

    def _merge(self) -> str:
        last = [f"    if b[{LAST}][{POSITION}] > a[{LAST}][{POSITION}]:", f"        a[{LAST}] = b[{LAST}]"]
        lines = ["def merge(a, b):", *last]
        if not self._merges:
            return "\n".join(lines)
        if self._gap_ms is not None:
            lines += [f"    a[{LOW}], a[{HIGH}] = min(a[{LOW}], b[{LOW}]), max(a[{HIGH}], b[{HIGH}])"]
        for argument in self._arguments.values():
            steps = [step for kind, place in argument.places.items() for step in self._joined(argument, kind, place)]
            n = argument.count
            copied = [f"a[{place}] = b[{place}]" for place in argument.places.values() if place not in self._lists]
            copied += [f"a[{place}] = b[{place}].copy()" for place in argument.places.values() if place in self._lists]
            lines += [f"    if b[{n}]:"]
            if argument.places:
                lines += [f"        if a[{n}]:", *(f"            {step}" for step in steps or ["pass"])]
                lines += ["        else:", *(f"            {step}" for step in copied)]
            lines += [f"        a[{n}] += b[{n}]"]
        return "\n".join(lines)

    def _joined(self, argument: Argument, kind: str, place: int) -> list[str]:
        """Statements that take an accumulator of the group ``b`` into that of ``a``; both have values."""
        mine, theirs = f"a[{place}]", f"b[{place}]"
        if kind == "values":
            return [f"{mine}.{'update' if argument.unique else 'extend'}({theirs})"]
        if kind == "mean":
            n, squares = argument.count, argument.places["squares"]
            helper = self._env.use(merged_moments)
            states = [f"({name}[{n}], {name}[{place}], {name}[{squares}])" for name in "ab"]
            return [f"_, {mine}, a[{squares}] = {helper}({', '.join(states)})"]
        if kind in ("squares", *_BY_ARRIVAL.values()):
            return []
        if kind in _BY_ARRIVAL:
            at = argument.places[_BY_ARRIVAL[kind]]
            test = f"if b[{at}] {'<' if kind == 'first_value' else '>'} a[{at}]:"
            return [test, f"    {mine} = {theirs}", f"    a[{at}] = b[{at}]"]
        if kind in ("min", "max"):
            return [f"if {theirs} {'<' if kind == 'min' else '>'} {mine}:", f"    {mine} = {theirs}"]
        if kind == "others":
            return [f"{mine} = {self._env.use(merged_others)}({mine}, {theirs})"]
        return [f"{mine} = {argument.parts[kind].update(mine, theirs)}"]
