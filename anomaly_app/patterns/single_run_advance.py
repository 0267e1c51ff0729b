"""Source of a single run over the rows of one key: until an attempt is resolved, or short of that."""

from __future__ import annotations

import re
from collections.abc import Sequence

from anomaly_app.expressions.typed import FAILURES
from anomaly_app.patterns.keys import CLOSED, COMPLETE, DEAD, NEVER
from anomaly_app.patterns.program import Edge, State
from anomaly_app.patterns.single_run_source import FEW_ROWS, RunSource, goes_on, inlined


class AdvanceSource(RunSource):
    """``advance(run, rows, limit, number, watermark, columns)``: take rows of a key until an attempt is resolved."""

    head = "def advance(run, rows, limit, number, watermark, columns):"
    tells = True
    """It tells which attempts were resolved."""
    held = False
    """A match may wait for a preferred one."""

    def source(self) -> str:
        """The function."""
        self.indent = 3
        if self.program.anchored:
            self._state(len(self.program.states), self.program.first)
        for number in self.live_states():
            self._state(number, self.program.states[number])
        self.held = any(line.lstrip().startswith("best = ") for line in self.lines)
        self._between()
        body, self.lines, self.indent = self.lines, [], 1
        self.emit("start, state, path = run.start, run.state, run.path")
        self.emit(f"i = len(rows) if run.deadline > {CLOSED} else run.next")
        if self.held:
            self.emit("best = run.best")
        if self.tells:
            self.emit("failed = expired = -1")
        self._columns()
        if self.count:
            initial = self.define.env.constant(self.define.initial)
            fresh = f"state in (0, {len(self.program.states)})" if self.program.anchored else "not state"
            self.emit(f"{self.registers()} = {initial} if {fresh} else ({self.registers('run.')})")
        if self.within_ms is not None:
            self.emit("late = i  # the first row that WITHIN keeps out")
        self._bounds()
        lines = [self.head, *self.lines, "    try:", "        while True:", *body, *self._failure()]
        return inlined("\n".join(lines))

    def _columns(self) -> None:
        if self.special and self.special.values:
            self.emit(f"{', '.join(f'w{k}' for k in range(len(self.special.values)))}, = columns")

    def _values(self, used: Sequence[str]) -> None:
        """What a row is to the conditions."""
        if "row" in used:
            self.emit("row = rows[i]")
        self.emit(*(f"{name} = w{name[1:]}[i]" for name in used if name != "row"))

    def _failure(self) -> list[str]:
        failures = self.define.env.constant(FAILURES)
        return [
            f"    except {failures}:",
            "        run.start, run.next, run.path = start, i, ((failed, expired),)",
            "        raise",
        ]

    def _bounds(self) -> None:
        """How far an attempt may go."""
        bound = "limit"
        if self.within_ms is not None:
            bound = "late"
            self.emit(f"deadline = rows[start][0] + {self.within_ms}")
            self.emit("if late < limit:", "    if rows[limit - 1][0] < deadline:", "        late = limit", "    else:")
            self.emit("        while rows[late][0] < deadline:", "            late += 1")
        if self._bounded:
            self.emit(f"stop = start + {self.max_rows}", f"if stop > {bound}:", f"    stop = {bound}")
        else:
            self.emit(f"stop = {bound}")

    @property
    def _bounded(self) -> bool:
        """There may be more rows than one attempt may take."""
        return True

    def _state(self, number: int, state: State) -> None:
        """Take rows as long as the attempt stays in one state."""
        loops = any(self.same[edge.target] == number for edge in state.edges)
        self.emit(f"if state == {number}:", f"    {'for i in range(i, stop)' if loops else 'while i < stop'}:")
        before, self.lines = self.lines, []
        self.indent += 2
        if not self._edges(number, state):
            if self.tells:
                self.emit("if i > failed:", "    failed = i")
            self.emit(f"state = {DEAD}", "break")
        body, self.lines = self.lines, before
        self._values(sorted(set(re.findall(r"\b(?:row|s\d+)\b", "\n".join(body)))))
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
            # Where an attempt may take no more rows, it is given up, whatever the time.
            room = f" and i < start + {self.max_rows}" if self._bounded else ""
            over = "(i < limit or (i >= len(rows) and watermark >= deadline))"
            if self.rule.look_ahead:  # a row that waits for NEXT tells the time
                over = "(i < limit or (rows[i][0] if i < len(rows) else watermark) >= deadline)"
            self.emit(f"if {over}{room}:", "    expired = start" if self.tells else "    pass", "else:")
            self.indent += 1
        if self._bounded and not self.tells:
            self.emit(f"if i >= start + {self.max_rows}:", "    return False  # it is given up")
        self.emit("run.start, run.next, run.state, run.path = start, i, state, path")
        if self.held:
            self.emit("run.best = best")
        if self.count:
            self.emit(f"{self.registers('run.')} = {self.registers()}")
        if self.special:
            deadline = "deadline" if self.within_ms is not None else NEVER
            self.emit(f"run.deadline = {deadline} if i == len(rows) else {CLOSED}")
        else:
            self.emit(f"run.deadline = {CLOSED}")
        self._waiting()
        if self.within_ms is not None:
            self.indent -= 1
        self.indent -= 1
        self.emit(f"if {'best is not None or ' if self.held else ''}start + 1 >= limit:")
        self._resolved()
        self.emit("i = start = start + 1", "state, path = 0, ()")
        if self.held:
            self.emit("best = None")
        if self.count:
            self.emit(f"{self.registers()} = {self.define.env.constant(self.define.initial)}")
        self._bounds()

    def _waiting(self) -> None:
        self.emit("return None")

    def _resolved(self) -> None:
        """No start is left, or a match was held back by a preferred one."""
        self.emit(f"    run.start, run.next, run.state = start, start, {DEAD}")
        if self.held:
            self.emit("    if best is not None:", f"        run.state, run.best = {COMPLETE}, best")
            self.emit("        run.next = 0  # the failure behind it decided it, not its last row")
        self.emit("    return failed, expired")

    def _edges(self, number: int, state: State) -> bool:
        """What a row can do in a state: end the match, go on, or neither. True if every row does something."""
        ends = [k for k, edge in enumerate(state.edges) if self.accepts(edge)]
        ways = [k for k, edge in enumerate(state.edges) if goes_on(edge, self.program, self.earliest)]
        known: dict[int, str] = {}
        self.look_up(number, state)
        for place in ends:
            edge = state.edges[place]
            preferred = [] if self.earliest else [way for way in ways if way < place]
            depth = self.test(edge, known)
            if depth is None:
                continue
            match = f"({self._entered(state, self.same[edge.target])}, i + 1 - start)"
            if not preferred and place not in ways:
                self._complete(match)
            else:
                self.emit(f"best = {match}")
                inner = dict(known)
                for way in preferred:
                    self._way(number, state.edges[way], inner)
                if place in ways:
                    self._go(number, edge)
                else:
                    self._complete("best")
            self.indent -= depth
            if depth == 0:
                return True  # the edge is always open: nothing behind it counts
        return any(place not in ends and self._way(number, state.edges[place], known) for place in ways)

    def _way(self, number: int, edge: Edge, known: dict[int, str]) -> bool:
        """Go along an edge if it is open; True if it always is."""
        depth = self.test(edge, known)
        if depth is None:
            return False
        self._go(number, edge)
        self.indent -= depth
        return depth == 0

    def _go(self, number: int, edge: Edge) -> None:
        """Take the row and stay for the next."""
        self.take(self.sources[edge.label])
        target = self.same[edge.target]
        if target == number:
            self.emit("continue")
        else:
            state = self.program.states[number] if number < len(self.program.states) else self.program.first
            self.emit(f"path = {self._entered(state, target)}", f"i, state = i + 1, {target}", "break")

    def _entered(self, state: State, target: int) -> str:
        """The path once the row is the first one in another state."""
        return f"(({target}, 0),)" if state.label < 0 else f"(*path, ({target}, i - start))"

    def _complete(self, match: str) -> None:
        self.emit(f"run.start, run.next, run.state, run.best = start, i + 1, {COMPLETE}, {match}")
        self.emit("return failed, expired")


class ResumeSource(AdvanceSource):
    """``resume(run, rows, limit, watermark)``: what ``advance`` does, as long as no attempt is resolved for good.

    For a few rows of a key it costs less to compute values again than to keep them beside the rows. True if an
    attempt waits; else, for whatever reason, nothing has changed.
    """

    head = "def resume(run, rows, limit, watermark):"
    tells = False

    @property
    def _bounded(self) -> bool:
        return self.max_rows <= FEW_ROWS

    def _values(self, used: Sequence[str]) -> None:
        assert self.special is not None
        values = {name: source for source, name in self.special.values.items()}
        self.emit("row = rows[i]", *(f"{name} = {source}" for name, source in values.items()))
        if values:
            self.emit(f"if {' or '.join(f'{name} is None' for name in values)}:", "    return False")

    def _columns(self) -> None:
        """Values are computed."""

    def _failure(self) -> list[str]:
        return [f"    except {self.define.env.constant(Exception)}:", "        return False"]

    def _resolved(self) -> None:
        self.emit("    return False")

    def _waiting(self) -> None:
        self.emit("return True")

    def _complete(self, match: str) -> None:
        self.emit("return False")
