"""Source of the functions of a single run: a loop over the rows of a key, and one over the rows of many keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anomaly_app.expressions.typed import FAILURES
from anomaly_app.patterns.define import TakeSource
from anomaly_app.patterns.keys import CLOSED, COMPLETE, DEAD, NEVER, PENDING, RESUMABLE
from anomaly_app.patterns.program import Edge, Program, State
from anomaly_app.patterns.specialise import Specialiser, certain_labels

if TYPE_CHECKING:
    from anomaly_app.patterns.rule import CompiledRule


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


class _Source:
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
        self.lines += ["    " * self.indent + line for line in lines]

    def registers(self, prefix: str = "") -> str:
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
        return bool(self.program.states[edge.target].accepts)

    def ways(self, state: State) -> list[Edge]:
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


class AdvanceSource(_Source):
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
        return "\n".join([self.head, *self.lines, "    try:", "        while True:", *body, *self._failure()])

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
        return [f"    except {failures}:", "        run.start, run.next = start, i", "        raise"]

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
            self.emit(f"if {over}{room}:", "    expired = start" if self.tells else "    pass", "else:")
            self.indent += 1
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


class AcceptSource(_Source):
    """``accept(rows, keys, states, touched, begun, touch)``: take rows one by one, each with its key.

    A row is taken at once if the attempt of its key only goes on with it: registers and perhaps a state change. So is
    the first row of a new key if it opens an attempt, or opens none and is not needed. What else there is is left for
    ``advance``: the row is put to the others of its key, and the key to ``touched``.

    Args:
        rule: compiled.
        max_rows: that one attempt may take.
        special: rewrites the conditions for rows with values.
        new: makes the state of a key.
    """

    def __init__(self, rule: CompiledRule, max_rows: int, special: Specialiser, new: Any) -> None:
        super().__init__(rule, max_rows, special)
        self.special: Specialiser = special
        self._new = rule.define.env.constant(new)

    def source(self) -> str:
        """The function."""
        self.emit("def accept(batch, keys, states, touched, begun, touch):")
        self.indent = 1
        self.emit("known = states.get", "pairs = zip(keys, batch)  # goes on behind a row that fails")
        self.emit("while True:", "    try:", "        for key, row in pairs:")
        self.indent = 4
        self.emit("run = known(key)", "if run is None:")
        self.indent = 5
        if not self._first_row():
            self.emit(f"run = states[key] = {self._new}(key)")
        self.indent = 4
        if not self.rule.look_ahead:
            self.emit("elif row[0] < run.deadline:")
            self.indent = 5
            self.emit("rows = run.rows", "i = len(rows)")
            self._states()
            self.indent = 4
        self._leave()
        self.indent = 3
        self.emit("return")
        self.indent = 2
        # Whatever it is, advance meets it again.
        self.emit(f"except {self.define.env.constant(Exception)}:", "    run = known(key)", "    if run is None:")
        self.emit(f"        run = states[key] = {self._new}(key)")
        self.indent = 3
        self._leave()
        return "\n".join(self.lines)

    def _leave(self) -> None:
        """Leave the row for ``advance``."""
        self.emit(f"if run.deadline >= {CLOSED}:", "    touched.append(run)")
        self.emit(f"    if run.deadline > {CLOSED}:", f"        run.next, run.deadline = len(run.rows), {RESUMABLE}")
        self.emit("    else:", f"        run.deadline = {PENDING}", "run.rows.append(row)")

    def _first_row(self) -> bool:
        """The first row of a new key; True if nothing is left of it in any case."""
        rule = self.rule
        if rule.look_ahead or rule.look_back or self.program.anchored:
            return False
        state = self.program.states[0]
        deadline = f"row[0] + {self.within_ms}" if self.within_ms is not None else str(NEVER)
        before, self.lines, indent = self.lines, [], self.indent
        self.look_up(0, state)
        known: dict[int, str] = {}
        always = False
        guarded = self._ends(state, known)
        for edge in self.ways(state):
            depth = self.test(edge, known)
            if depth is None:
                continue
            target, piece = self.same[edge.target], self.sources[edge.label]
            self.emit(f"run = {self._new}(key)")
            kept = [k for k in range(self.count) if k not in piece.changed]
            self.emit(*(f"run.r{k} = {self.define.env.constant(self.define.initial[k])}" for k in kept))
            self.take(piece, "run.")
            self.emit(f"run.state, run.path, run.deadline = {target}, (({target}, 0),), {deadline}")
            self.emit("run.rows.append(row)", "states[key] = run", "begun.append(run)")
            self._touch()
            self.emit("continue")
            self.indent -= depth
            if depth == 0:
                always = True
                break
        if not always:
            self.emit("continue")
        body, self.lines, self.indent = self.lines, before, indent
        text = "\n".join(body)
        if guarded is None or re.search(r"(?<!\.)\brows\b", text):
            return False
        if re.search(r"\bi\b", text):
            self.emit("i = 0")
        if re.search(r"\bnumber\b", text):
            self.emit("number = 1")
        if self.count:
            for name in sorted(set(re.findall(r"(?<!\.)\br\d+\b", text))):
                self.emit(f"{name} = {self.define.env.constant(self.define.initial[int(name[1:])])}")
        return not self._with_values(body) and not guarded

    def _states(self) -> None:
        """A row of a key whose attempt has taken all rows before."""
        self.emit(f"if i < {self.max_rows - 1}:")
        self.indent += 1
        self.emit("state = run.state")
        word = "if"
        for number in self.live_states():
            if not number:
                continue
            state = self.program.states[number]
            body = self._state(number, state)
            if body is None:
                continue
            self.emit(f"{word} state == {number}:")
            self.indent += 1
            text = "\n".join(body)
            if re.search(r"\bnumber\b", text):
                self.emit("number = run.number")
            read = sorted(set(re.findall(r"(?<!\.)\br\d+\b", text)), key=lambda name: int(name[1:]))
            if read:
                self.emit(f"{', '.join(read)}, = {', '.join(f'run.{name}' for name in read)},")
            self._with_values(body)
            self.indent -= 1
            word = "elif"
        if word == "if":
            self.emit("pass")
        self.indent -= 1

    def _state(self, number: int, state: State) -> list[str] | None:
        """What a row that only goes on does in a state; None if none does."""
        before, self.lines, indent = self.lines, [], self.indent
        self.indent += 1
        self.look_up(number, state)
        known: dict[int, str] = {}
        if self._ends(state, known) is not None:
            for edge in self.ways(state):
                if self.accepts(edge):
                    continue  # its being closed is known here
                depth = self.test(edge, known)
                if depth is None:
                    continue
                self.take(self.sources[edge.label], "run.")
                target = self.same[edge.target]
                if target != number:
                    self.emit(f"run.state, run.path = {target}, (*run.path, ({target}, i - run.start))")
                self.emit("rows.append(row)")
                self._touch()
                self.emit("continue")
                self.indent -= depth
                if depth == 0:
                    break
        body, self.lines, self.indent = self.lines, before, indent
        return body if any(line.strip() == "rows.append(row)" for line in body) else None

    def _ends(self, state: State, known: dict[int, str]) -> int | None:
        """Go on only if no edge that ends the match is open; how deep that is nested, None if one always is."""
        deep = 0
        for edge in state.edges:
            if not self.accepts(edge):
                continue
            place, indent = len(self.lines), self.indent
            depth = self.test(edge, known)
            if depth is None:
                continue
            if depth == 0:
                return None
            if depth == 1:
                test = self.lines.pop().strip()
                wanted = test.removeprefix("if ").removesuffix(":")
                self.indent = indent
                self.emit(f"if {wanted[4:]}:" if wanted.startswith("not ") else f"if not {wanted}:")
            else:
                self.emit("ends = True")
                self.indent = indent
                self.lines.insert(place, "    " * indent + "ends = False")
                self.emit("if not ends:")
            self.indent += 1
            deep += 1
        return deep

    def _touch(self) -> None:
        if self.rule.keeps_rows:
            self.emit("touch(key)")

    def _with_values(self, body: list[str]) -> bool:
        """Compute the values that lines use; True if there may be a NULL among all: then the lines are left out.

        Lines that do not use a value may still have been simplified because it is not NULL.
        """
        values = {name: source for source, name in self.special.values.items()}
        doubtful = [name for name, source in values.items() if not source.startswith("bool(")]
        used = set(re.findall(r"\bs\d+\b", "\n".join(body)))
        self.emit(*(f"{name} = {source}" for name, source in values.items() if name in used or name in doubtful))
        if doubtful:
            self.emit(f"if {' and '.join(f'{name} is not None' for name in doubtful)}:")
        shift = "    " * bool(doubtful)
        self.lines += [shift + line for line in body]
        return bool(doubtful)
