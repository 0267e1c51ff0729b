"""Patterns with one way to go on: one state and registers in place of threads, in one generated function.

In many patterns (``T+? U``, ``A B+ C``, ``A B C``) at most one of the ways that a row leaves open goes on to further
rows; the others end the match. Then an attempt needs no threads: its state and registers are local variables of a
loop over the rows, conditions stand in it as source, and when the attempt fails the next one begins without leaving
it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from anomaly_app.expressions.typed import FAILURES
from anomaly_app.operators import POSITION, TIME, Row
from anomaly_app.patterns.define import TakeSource
from anomaly_app.patterns.matcher import BEGINNING, Match, Moment
from anomaly_app.patterns.program import Edge, Program, State
from anomaly_app.patterns.specialise import RowValues, Specialiser, certain_labels
from anomaly_app.sql.row_pattern import RowsPerMatch

if TYPE_CHECKING:
    from anomaly_app.patterns.rule import CompiledRule

DEAD = -1


@dataclass(slots=True)
class Run:
    """Where matching stands for one key.

    Args:
        start: place of the first row of the attempt in the buffer.
        next: place of the next row to take.
        state: of the program.
        registers: of the conditions.
        path: states entered, each with the place of its first row; a row that stays in its state adds nothing.
        end: place behind the match.
        complete: ``path`` is a match.
        best: a match, if no preferred one comes; and the place behind it.
        failed: last row that an attempt failed on in the last call; -1 if none did.
        expired: start of the last attempt that WITHIN ended in the last call; -1 if none.
        values: what is kept beside the rows.
    """

    start: int
    next: int
    state: int
    registers: tuple[Any, ...]
    values: RowValues
    path: Sequence[tuple[int, int]] = ()
    end: int = 0
    complete: bool = False
    best: tuple[Sequence[tuple[int, int]], int] | None = None
    failed: int = -1
    expired: int = -1


Advance: TypeAlias = Callable[[Run, Sequence[Row], int, int, int], bool]
Stay: TypeAlias = Callable[[Run, Sequence[Row]], bool]
Fill: TypeAlias = Callable[[Sequence[Row], int, int, Sequence[list[Any]]], int]


class SingleRunMatcher:
    """The interface of :class:`~anomaly_app.patterns.matcher.Matcher` over a generated loop.

    Args:
        rule: compiled, and such that :func:`fits` holds.
        max_rows: that one attempt may take.
    """

    def __init__(self, rule: CompiledRule, max_rows: int) -> None:
        self._program = rule.program
        self._initial = rule.define.initial
        self._places = rule.define.places
        self._within = rule.within_ms
        self._look_ahead = rule.look_ahead
        self._has_exclusions = any(state.excluded for state in rule.program.states)
        env = rule.define.env
        specialiser = Specialiser(rule.define)
        loops = [_Loop(rule, max_rows, special) for special in (None, specialiser)]
        self._plain: Advance = env.function("advance", loops[0].source())
        self.source = loops[1].source()
        self._fast: Advance = env.function("advance", self.source)
        self._count = len(specialiser.values)
        fill = specialiser.fill_source(env.constant(Exception))  # whatever it is, the plain loop meets it again
        self._fill: Fill | None = env.function("fill", fill) if self._count else None
        self.stay: Stay | None = None
        if self._count and not rule.look_ahead and rule.program.loops:
            self.stay = env.function("stay", _Loop(rule, max_rows, specialiser).stay_source(specialiser))

    def memo(self) -> RowValues:
        """What is to be kept beside the rows of a key."""
        return RowValues(self._count)

    def begin(self, start: int, first: bool, memo: RowValues) -> Run:
        """An attempt at a start row; ``first`` if it is the first of its partition."""
        return Run(start, start, len(self._program.states) if first else 0, self._initial, memo)

    def advance(self, run: Run, rows: Sequence[Row], limit: int, number: int, watermark: int) -> bool:
        """Take rows up to ``limit``.

        Returns:
            True if the attempt at ``run.start`` is resolved (``run.complete`` tells how); attempts that fail before
            the last row are followed by the next start without a word. False if the attempt waits for rows.

        Raises:
            EvaluationError, ArithmeticError: a condition fails on the row ``run.next``.
        """
        values = run.values
        if self._fill is not None:
            first = values.columns[0]
            if len(first) < limit:
                values.bad = self._fill(rows, len(first), limit, values.columns) or values.bad
            if values.bad > run.start:
                return self._plain(run, rows, limit, number, watermark)
        return self._fast(run, rows, limit, number, watermark)

    def moment(self, run: Run, rows: Sequence[Row]) -> Moment:
        """When the present attempt and those that failed before it in the last call were resolved."""
        at = BEGINNING
        for place in (run.failed, run.next - 1 if run.complete else -1):
            if place >= 0:
                row = rows[min(place + self._look_ahead, len(rows) - 1)]
                at = max(at, (row[TIME], 0, row[POSITION]))
        if run.expired >= 0:
            row = rows[run.expired]
            at = max(at, (row[TIME] + (self._within or 0), 1, row[POSITION]))
        return at

    def end(self, run: Run) -> None:
        """No row follows in the partition, or WITHIN has passed."""
        run.state = DEAD
        if run.best is not None:
            (run.path, run.end), run.complete = run.best, True

    def rebase(self, run: Run, spare: int) -> None:
        """The first rows of the buffer are gone."""
        run.start -= spare
        run.next -= spare
        run.path = [(state, place - spare) for state, place in run.path]
        if run.best is not None:
            path, end = run.best
            run.best = [(state, place - spare) for state, place in path], end - spare
        if self._places:
            values = list(run.registers)
            for number in self._places:
                if values[number] is not None:
                    values[number] -= spare
            run.registers = tuple(values)

    def match(self, run: Run) -> Match:
        """The match of a resolved attempt that is complete."""
        states = self._program.states
        labels: list[int] = []
        excluded: list[bool] = []
        ends = [place for _, place in run.path[1:]] + [run.end]
        for (state, place), end in zip(run.path, ends, strict=True):
            labels += [states[state].label] * (end - place)
            if self._has_exclusions:
                excluded += [states[state].excluded] * (end - place)
        return Match(run.start, tuple(labels), tuple(excluded))


def fits(rule: CompiledRule) -> bool:
    """Whether every row leaves at most one way to go on to further rows."""
    program = rule.program
    if program.anchored_end or program.matches_empty or rule.rows_per_match is RowsPerMatch.ALL_UNMATCHED:
        return False
    return all(_deterministic(state, program, rule.earliest) for state in (*program.states, program.first))


def _goes_on(edge: Edge, program: Program, earliest: bool) -> bool:
    """Whether rows may follow behind an edge."""
    target = program.states[edge.target]
    return bool(target.edges) and not (earliest and target.accepts)


def _deterministic(state: State, program: Program, earliest: bool) -> bool:
    ways = [edge for edge in state.edges if _goes_on(edge, program, earliest)]
    for number, edge in enumerate(ways):
        for other in ways[number + 1 :]:
            if edge.label not in other.guards and other.label not in edge.guards:
                return False
    return True


# --- the loop ---------------------------------------------------------------------------------------


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


class _Loop:
    """Source of ``advance(run, rows, limit, number, watermark)``.

    Args:
        rule: compiled.
        max_rows: that one attempt may take.
        special: rewrites the conditions for rows with values; None for any rows.
    """

    def __init__(self, rule: CompiledRule, max_rows: int, special: Specialiser | None) -> None:
        self.program, self.define, self.earliest = rule.program, rule.define, rule.earliest
        self.within_ms, self.max_rows, self.special = rule.within_ms, max_rows, special
        self.same = merged_states(self.program.states)
        self.certain = certain_labels(self.program, self.same) if special else {}
        self.count = len(self.define.initial)
        self.lines: list[str] = []
        self.indent = 0

    def emit(self, *lines: str) -> None:
        self.lines += ["    " * self.indent + line for line in lines]

    @property
    def registers(self) -> str:
        return ", ".join(f"r{k}" for k in range(self.count)) + ","

    def source(self) -> str:
        """The function."""
        numbers = range(len(self.program.states))
        states = [n for n in numbers if not n or (self.same[n] == n and self.program.states[n].edges)]
        first = len(self.program.states)
        states.sort(key=lambda n: (n > 0, -n))  # in the order of the pattern, so that one pass goes through several
        self.indent = 3
        if self.program.anchored:
            self._state(first, self.program.first)
        for number in states:
            self._state(number, self.program.states[number])
        self._between()
        body, self.lines, self.indent = self.lines, [], 1
        self.emit("start, i, state, path, best = run.start, run.next, run.state, run.path, run.best")
        self.emit("run.failed = failed = expired = -1")
        if self.special and self.special.values:
            self.emit(f"{', '.join(f'w{k}' for k in range(len(self.special.values)))}, = run.values.columns")
        if self.count:
            self.emit(f"{self.registers} = run.registers")
        if self.within_ms is not None:
            self.emit("late = i  # the first row that WITHIN keeps out")
        self._bounds()
        failures = self.define.env.constant(FAILURES)
        failed = [f"    except {failures}:", "        run.start, run.next = start, i", "        raise"]
        head = "def advance(run, rows, limit, number, watermark):"
        return "\n".join([head, *self.lines, "    try:", "        while True:", *body, *failed])

    def stay_source(self, special: Specialiser) -> str:
        """Source of ``stay(run, rows)``: take rows as long as the attempt stays in its state, whatever else is left.

        Most rows do no more than that, and where a batch has a row or two of each key, this is what a row costs. True
        if all rows were taken; else the attempt stands in front of one that has to be looked at by ``advance``.
        """
        names = list(special.values.values())
        self.emit("def stay(run, rows):")
        self.indent = 1
        self.emit("values, start, stop = run.values, run.start, len(rows)", "i, state = run.next, run.state")
        self.emit(f"{', '.join(f'w{k}' for k in range(len(names)))}, = values.columns")
        self.emit(f"if values.bad > start or len(w0) != i or stop - start >= {self.max_rows}:", "    return False")
        if self.count:
            self.emit(f"{self.registers} = run.registers")
        if self.within_ms is not None:
            self.emit(f"deadline = rows[start][0] + {self.within_ms}")
        self.emit("try:", "    pass")
        for number, state in enumerate(self.program.states):
            if self.same[number] == number and any(self.same[edge.target] == number for edge in state.edges):
                self.indent = 2
                self.emit(f"if state == {number}:", "    while i < stop:")
                self.indent = 4
                self.emit("row = rows[i]")
                if self.within_ms is not None:
                    self.emit("if row[0] >= deadline:", "    break")
                self.emit(*(f"{name} = {source}" for source, name in special.values.items()))
                self.emit(f"if {' or '.join(f'{name} is None' for name in names)}:", "    break")
                self._staying(number, state, special)
        self.indent = 1
        failures = self.define.env.constant(Exception)
        self.emit(f"except {failures}:", "    pass  # advance meets it again", "run.next = i")
        if self.count:
            self.emit(f"run.registers = ({self.registers})")
        self.emit("return i == stop")
        return "\n".join(self.lines)

    def _staying(self, number: int, state: State, special: Specialiser) -> None:
        """Take one row that changes nothing but registers; leave the loop at any other."""
        self.sources = self._sources(number, state)
        known: dict[int, str] = {}
        ways = [edge for edge in state.edges if _goes_on(edge, self.program, self.earliest)]
        for edge in [edge for edge in state.edges if self.program.states[edge.target].accepts] + ways:
            depth = self._test(edge, known)
            if depth is None:
                continue
            if self.same[edge.target] == number and not self.program.states[edge.target].accepts:
                self._take(self.sources[edge.label])
                self.emit(*(f"w{name[1:]}.append({name})" for name in special.values.values()))
                self.emit("i += 1", "continue")
            else:
                self.emit("break")
            self.indent -= depth
            if depth == 0:
                return
        self.emit("break")

    def _bounds(self) -> None:
        """How far an attempt may go."""
        if self.within_ms is not None:
            self.emit(f"deadline = rows[start][0] + {self.within_ms}")
            self.emit("while late < limit and rows[late][0] < deadline:", "    late += 1")
        self.emit(f"stop = start + {self.max_rows}")
        bound = "late" if self.within_ms is not None else "limit"
        self.emit(f"if stop > {bound}:", f"    stop = {bound}")

    def _state(self, number: int, state: State) -> None:
        """Take rows as long as the attempt stays in one state."""
        loops = any(self.same[edge.target] == number for edge in state.edges)
        self.emit(f"if state == {number}:", f"    {'for i in range(i, stop)' if loops else 'while i < stop'}:")
        before, self.lines = self.lines, []
        self.indent += 2
        if not self._edges(number, state):
            self.emit("if i > failed:", "    failed = i", f"state = {DEAD}", "break")
        body, self.lines = self.lines, before
        used = set(re.findall(r"\b(?:row|s\d+)\b", "\n".join(body)))
        if "row" in used:
            self.emit("row = rows[i]")
        self.emit(*(f"{name} = w{name[1:]}[i]" for name in sorted(used - {"row"})))
        self.lines += body
        self.indent -= 2
        if loops:
            self.emit("    else:", "        if i < stop:", "            i = stop")

    def _between(self) -> None:
        """Between two states, or two attempts."""
        self.emit(f"if state != {DEAD}:")
        self.indent += 1
        self.emit("if i < stop:", "    continue")
        if self.within_ms is not None:
            room = f"i < start + {self.max_rows}"  # else it is given up, whatever the time
            over = "(i < limit or (i >= len(rows) and watermark >= deadline))"
            self.emit(f"if {over} and {room}:", "    expired = start", "else:")
            self.indent += 1
        self.emit("run.start, run.next, run.state, run.path, run.best = start, i, state, path, best")
        if self.count:
            self.emit(f"run.registers = ({self.registers})")
        self.emit("return False")
        if self.within_ms is not None:
            self.indent -= 1
        self.indent -= 1
        held = any(line.lstrip().startswith("best = ") for line in self.lines)  # a match may wait for a preferred one
        self.emit(f"if {'best is not None or ' if held else ''}start + 1 >= limit:")
        self.emit("    run.start, run.failed, run.expired, run.next = start, failed, expired, start")
        if held:
            self.emit("    if best is not None:", "        (run.path, run.end), run.complete = best, True")
            self.emit("        run.next = 0  # the failure behind it decided it, not its last row")
        self.emit("    return True", "i = start = start + 1", "state, path = 0, ()")
        if held:
            self.emit("best = None")
        if self.count:
            self.emit(f"{self.registers} = {self.define.env.constant(self.define.initial)}")
        self._bounds()

    def _sources(self, number: int, state: State) -> dict[int, TakeSource]:
        """Taking a row as each of the variables that may follow a state."""
        labels = {label for edge in state.edges for label in (*edge.guards, edge.label)}
        if self.special is None:
            return {label: self.define.sources[label] for label in labels}
        start = state.label < 0
        seen = frozenset() if start else self.certain.get(number, frozenset())
        return {label: self.special.take(label, seen, at_start=start) for label in sorted(labels)}

    # --- one row ------------------------------------------------------------------------------------

    def _edges(self, number: int, state: State) -> bool:
        """What a row can do in a state: end the match, go on, or neither. True if every row does something."""
        ends = [k for k, edge in enumerate(state.edges) if self.program.states[edge.target].accepts]
        ways = [k for k, edge in enumerate(state.edges) if _goes_on(edge, self.program, self.earliest)]
        known: dict[int, str] = {}
        self.sources = self._sources(number, state)
        for place in ends:
            edge = state.edges[place]
            preferred = [] if self.earliest else [way for way in ways if way < place]
            depth = self._test(edge, known)
            if depth is None:
                continue
            target = self.same[edge.target]
            if not preferred and place not in ways:
                self._enter(state, target)
                self.emit("run.path, run.end, run.complete = path, i + 1, True")
                self._resolved()
            else:
                self.emit(f"best = [*path, ({target}, i)], i + 1")
                inner = dict(known)
                for way in preferred:
                    self._way(number, state.edges[way], inner)
                if place in ways:
                    self._go(number, edge)
                else:
                    self._leave_with_best()
            self.indent -= depth
            if depth == 0:
                return True  # the edge is always open: nothing behind it counts
        return any(place not in ends and self._way(number, state.edges[place], known) for place in ways)

    def _way(self, number: int, edge: Edge, known: dict[int, str]) -> bool:
        """Go along an edge if it is open; True if it always is."""
        depth = self._test(edge, known)
        if depth is None:
            return False
        self._go(number, edge)
        self.indent -= depth
        return depth == 0

    def _test(self, edge: Edge, known: dict[int, str]) -> int | None:
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

    def _take(self, piece: TakeSource) -> None:
        lines = [line.partition(" = ") for line in (*piece.before, *piece.after)]
        if lines and all(name[:1] == "n" and not re.search(r"\bn\d", new) for name, _, new in lines):
            names = ", ".join(f"r{name[1:]}" for name, _, _ in lines)
            self.emit(f"{names} = {', '.join(new for _, _, new in lines)}")
            return
        self.emit(*piece.before, *piece.after)
        if piece.changed:
            changed = ", ".join(f"r{k}" for k in piece.changed)
            self.emit(f"{changed} = {', '.join(f'n{k}' for k in piece.changed)}")

    def _go(self, number: int, edge: Edge) -> None:
        """Take the row and stay for the next."""
        self._take(self.sources[edge.label])
        target = self.same[edge.target]
        if target == number:
            self.emit("continue")
        else:
            state = self.program.states[number] if number < len(self.program.states) else self.program.first
            self._enter(state, target)
            self.emit(f"i, state = i + 1, {target}", "break")

    def _enter(self, state: State, target: int) -> None:
        """The row is the first one in another state."""
        self.emit(f"path = [({target}, i)]" if state.label < 0 else f"path.append(({target}, i))")

    def _leave_with_best(self) -> None:
        self.emit("(run.path, run.end), run.complete = best, True")
        self._resolved()

    def _resolved(self) -> None:
        self.emit("run.start, run.next, run.failed, run.expired = start, i + 1, failed, expired", "return True")
