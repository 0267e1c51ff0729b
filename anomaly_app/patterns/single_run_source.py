"""What the generated functions of a single run share: states, conditions and registers as source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.define import TakeSource
from anomaly_app.patterns.program import Edge, Program, State
from anomaly_app.patterns.specialise import Specialiser, certain_labels

FEW_ROWS = 16
"""Values of so many rows are computed again with each attempt rather than kept beside the rows."""


def goes_on(edge: Edge, program: Program, earliest: bool) -> bool:
    """Whether rows may follow behind an edge."""
    target = program.states[edge.target]
    return bool(target.edges) and not (earliest and target.accepts)


def merged_states(states: Sequence[State]) -> dict[int, int]:
    """For each state the first one that is equal to it: same label, same edges, same ends.

    Example:
        >>> from anomaly_app.patterns.program import compile_pattern
        >>> from anomaly_app.sql.row_pattern_parser import parse_pattern
        >>> merged_states(compile_pattern(parse_pattern("A+ B")).states)
        {0: 0, 1: 1, 2: 2, 3: 2}
    """
    same = {number: number for number in range(len(states))}
    while True:
        known: dict[Any, int] = {}
        result = {}
        for number, state in enumerate(states):
            edges = tuple(dict.fromkeys((same[edge.target], edge.label, edge.guards) for edge in state.edges))
            key = (state.label, state.excluded, edges, state.accepts)
            result[number] = known.setdefault(key, number)
        if result == same:
            return same
        same = result


_CONDITION = re.compile(r"( *)(h\d+) = (.*)")


def inlined(source: str) -> str:
    r"""Conditions that are tested once stand in their tests: Python jumps there without making a bool.

    Example:
        >>> print(inlined("h0 = a > 1\nif not h0:\n    b()"))
        if not (a > 1):
            b()
    """
    lines = source.split("\n")
    places: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        for name in re.findall(r"\bh\d+\b", line):
            places.setdefault(name, []).append(place)
    kept: list[str | None] = [*lines]
    for name, found in places.items():
        pairs = list(zip(found[::2], found[1::2], strict=False))
        if len(found) % 2 or not all(_tested_once(name, lines[first : second + 1]) for first, second in pairs):
            continue
        for first, second in pairs:
            condition = lines[first].partition(" = ")[2]
            kept[first], kept[second] = None, lines[second].replace(name, f"({condition})")
    return "\n".join(line for line in kept if line is not None)


def _tested_once(name: str, lines: list[str]) -> bool:
    made = _CONDITION.fullmatch(lines[0])
    return made is not None and lines[1:] in ([f"{made[1]}if {name}:"], [f"{made[1]}if not {name}:"])


class RunSource:
    """What both functions share.

    Args:
        rule: compiled.
        max_rows: that one attempt may take.
        special: rewrites the conditions for rows with values; None for any rows.
    """

    def __init__(self, rule: CompiledRule, max_rows: int, special: Specialiser | None) -> None:
        self.rule, self.program, self.define, self.earliest = rule, rule.program, rule.define, rule.earliest
        self.within_ms, self.max_rows, self.special = rule.within_ms, max_rows, special
        self.same = merged_states(self.program.states)
        self.certain = certain_labels(self.program, self.same) if special else {}
        self.count = len(self.define.initial)
        self.lines: list[str] = []
        self.indent = 0
        self.sources: dict[int, TakeSource] = {}

    def emit(self, *lines: str) -> None:
        """Lines at the present indentation."""
        self.lines += ["    " * self.indent + line for line in lines]

    def registers(self, prefix: str = "") -> str:
        """All registers as a tuple."""
        return ", ".join(f"{prefix}r{k}" for k in range(self.count)) + ","

    def live_states(self) -> list[int]:
        """States that rows may follow, in the order of the pattern, so that one pass goes through several."""
        numbers = range(len(self.program.states))
        states = [n for n in numbers if not n or (self.same[n] == n and self.program.states[n].edges)]
        return sorted(states, key=lambda n: (n > 0, -n))

    def look_up(self, number: int, state: State) -> None:
        """Taking a row as each of the variables that may follow a state."""
        labels = {label for edge in state.edges for label in (*edge.guards, edge.label)}
        if self.special is None:
            self.sources = {label: self.define.sources[label] for label in labels}
            return
        start = state.label < 0
        seen = frozenset() if start else self.certain.get(number, frozenset())
        self.sources = {label: self.special.take(label, seen, at_start=start) for label in sorted(labels)}

    def accepts(self, edge: Edge) -> bool:
        """Whether a match may end behind an edge."""
        return bool(self.program.states[edge.target].accepts)

    def ways(self, state: State) -> list[Edge]:
        """Edges behind which rows may follow."""
        return [edge for edge in state.edges if goes_on(edge, self.program, self.earliest)]

    def test(self, edge: Edge, known: dict[int, str]) -> int | None:
        """Tests whether an edge is open; how deep they are nested, None if it never is."""
        sources = self.sources
        if any(not sources[guard].condition for guard in edge.guards):
            return None  # the guard takes every row
        depth = 0
        for label, wanted in [*((guard, False) for guard in edge.guards), (edge.label, True)]:
            piece = sources[label]
            if not piece.condition:
                continue
            if label not in known:
                self.emit(*piece.before)
                name = f"h{label}"
                self.emit(f"{name} = {piece.condition}")
                if depth == 0:
                    known[label] = name  # behind a test it would not be known everywhere
            else:
                name = known[label]
            self.emit(f"if {name}:" if wanted else f"if not {name}:")
            self.indent += 1
            depth += 1
        return depth

    def take(self, piece: TakeSource, prefix: str = "") -> None:
        """New registers, once the row is taken."""
        lines = [line.partition(" = ") for line in (*piece.before, *piece.after)]
        if lines and all(name[:1] == "n" and not re.search(r"\bn\d", new) for name, _, new in lines):
            names = ", ".join(f"{prefix}r{name[1:]}" for name, _, _ in lines)
            self.emit(f"{names} = {', '.join(new for _, _, new in lines)}")
            return
        self.emit(*piece.before, *piece.after)
        if piece.changed:
            changed = ", ".join(f"{prefix}r{k}" for k in piece.changed)
            self.emit(f"{changed} = {', '.join(f'n{k}' for k in piece.changed)}")
