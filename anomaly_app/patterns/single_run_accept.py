"""Source of a single run over the rows of many keys, one by one, as they come."""

from __future__ import annotations

import re
from typing import Any

from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.keys import CLOSED, NEVER, PENDING, RESUMABLE
from anomaly_app.patterns.program import State
from anomaly_app.patterns.single_run_source import RunSource, inlined
from anomaly_app.patterns.specialise import Specialiser


class AcceptSource(RunSource):
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
        return inlined("\n".join(self.lines))

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
