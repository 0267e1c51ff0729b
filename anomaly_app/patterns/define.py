"""DEFINE as generated Python: for each variable a function that tries to take a row.

What conditions see of the rows taken before (the last row of A, an average over B) is kept in *registers*, one tuple
per thread of matching. Taking a row first updates them tentatively, as if the row carried the variable already
(TR 19075-5, 4.13: DEFINE sees the current row labelled), and then tests the condition. A register holds the place of
a row in the buffer, the name of a variable, or a part of an aggregate; only what some condition reads is kept, so two
threads with equal state and registers have the same future.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import Aggregate, Part
from anomaly_app.expressions.compiler import ExpressionCompiler
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.clause import CheckedClause
from anomaly_app.patterns.navigation import PatternScope, RowRef, RowSource, row_at

Registers: TypeAlias = tuple[Any, ...]
Take: TypeAlias = Callable[[Sequence[Row], int, Row, Registers, int], "Registers | None"]
"""(rows, index, row, registers, match number) to the registers after the row, or None if the condition fails."""


@dataclass(frozen=True, slots=True)
class Register:
    """Something kept of the rows taken.

    Args:
        what: ``place`` or ``label`` of a row, ``labels`` of all rows, or ``part`` of an aggregate.
        variables: whose rows.
        first: counted from the first row.
        offset: rows passed over.
        part: the kind of part.
        value: source of the value of row ``a``.
        keep: source of the FILTER condition, or "".
    """

    what: str
    variables: frozenset[int]
    first: bool = False
    offset: int = 0
    part: str = ""
    value: str = ""
    keep: str = ""

    @property
    def of_row(self) -> bool:
        """The value is about the row alone, or never NULL."""
        about = set(re.findall(r"\b(?:a|a_label|number)\b", self.value))
        return about == {"a"} or not self.value or self.value.startswith("!")


@dataclass(frozen=True, slots=True)
class TakeSource:
    """Source of taking a row as a variable, of which functions are made.

    Args:
        before: statements that the condition needs: new values ``n0``, … of registers that it reads.
        condition: truthy if the variable takes the row; "" if it takes every row.
        after: statements for the other new values.
        changed: numbers of the registers that have new values.
    """

    before: tuple[str, ...]
    condition: str
    after: tuple[str, ...]
    changed: tuple[int, ...]


@dataclass(slots=True)
class Definitions:
    """All conditions of a clause, compiled.

    Args:
        takes: a function per variable; None for a variable that takes every row and updates nothing.
        sources: what they do, by variable.
        env: names that the source uses.
        registers: what is kept of the rows taken.
        initial: registers at the start of an attempt.
        conditions: source of each condition that is independent of the rows taken before, by variable.
        functions: source of every function, for people.
        reads: columns read.
        look_back: rows before the current one that conditions reach.
        look_ahead: rows behind it.
        sees_number: a condition reads MATCH_NUMBER().
        path_independent: no condition sees which row carries which variable.
    """

    takes: list[Take | None]
    sources: list[TakeSource]
    env: Environment
    registers: tuple[Register, ...]
    initial: Registers
    conditions: dict[int, str]
    functions: list[str]
    reads: set[str]
    look_back: int
    look_ahead: int
    sees_number: bool
    path_independent: bool

    @property
    def places(self) -> tuple[int, ...]:
        """Numbers of the registers that hold places of rows."""
        return tuple(number for number, register in enumerate(self.registers) if register.what == "place")

    def filled(self, seen: frozenset[int]) -> list[int]:
        """Numbers of the registers that are not None if rows of these variables, without NULLs, were taken."""
        return [
            number
            for number, register in enumerate(self.registers)
            if register.variables & seen
            and not register.offset
            and (register.what == "place" or (register.what == "part" and not register.keep and register.of_row))
        ]


class _Registers:
    """The registers of a clause, in order of discovery."""

    def __init__(self) -> None:
        self.numbers: dict[Register, int] = {}
        self.parts: dict[Register, Part] = {}

    def use(self, register: Register) -> int:
        if register not in self.numbers:
            if register.offset:  # the one before hands its row on
                self.use(Register(register.what, register.variables, register.first, register.offset - 1))
            self.numbers[register] = len(self.numbers)
        return self.numbers[register]


class DefineScope(PatternScope):
    """Names in the condition of one variable."""

    in_define = True

    def __init__(
        self, checked: CheckedClause, layout: Layout, env: Environment, variable: int, registers: _Registers
    ) -> None:
        super().__init__(checked, layout, env)
        self.variable, self.registers = variable, registers
        self.tentative = frozenset({variable})
        self.used_new: set[int] = set()

    def locate(self, ref: RowRef, node: n.Node, compiler: ExpressionCompiler) -> RowSource:
        """The current row, or one kept in a register."""
        if _asks_label(node):
            label = self._label(ref, node, compiler)
            if label == "None" or not any(isinstance(part, n.ColumnRef) for part in n.walk(node)):
                return RowSource("", "row", label)
        else:
            label = "None"
        index, missing = self._place(ref)
        if not ref.shift:
            return RowSource(missing, "row" if index == "i" else f"rows[{index}]", label)
        helper, name = self.env.use(row_at), self.env.temporary()
        reached = f"({name} := {helper}(rows, {index} {ref.shift:+d})) is None"
        return RowSource(f"{missing} or {reached}" if missing else reached, name, label)

    def _place(self, ref: RowRef) -> tuple[str, str]:
        """Source of a row's place, and of the test that there is none."""
        mine = self.variable in ref.variables
        if not ref.first:
            if mine and not ref.offset:
                return "i", ""
            register = Register("place", ref.variables, False, ref.offset - 1 if mine else ref.offset)
            name = f"r{self.registers.use(register)}"
        else:
            name = self._after(Register("place", ref.variables, True, ref.offset), mine)
        return name, f"{name} is None"

    def _after(self, register: Register, mine: bool) -> str:
        number = self.registers.use(register)
        if not mine:
            return f"r{number}"
        self.used_new.add(number)
        return f"n{number}"

    def _label(self, ref: RowRef, node: n.Node, compiler: ExpressionCompiler) -> str:
        universal = self.checked.universal
        mine = self.variable in ref.variables
        offset, variables = ref.offset, ref.variables
        if ref.shift:
            if variables != universal and not (mine and not ref.first and not offset):
                return self._label_beside(ref)
            variables, mine = universal, True
            offset = offset + ref.shift if ref.first else offset - ref.shift
            if offset < 0:
                return "None"  # a row not taken yet, or before the match
        if not ref.first:
            if mine and not offset:
                return repr(self.checked.program.labels[self.variable])
            register = Register("label", variables, False, offset - 1 if mine else offset)
            return f"r{self.registers.use(register)}"
        self.registers.use(Register("place", variables, True, offset))
        return self._after(Register("label", variables, True, offset), mine)

    def _label_beside(self, ref: RowRef) -> str:
        """The label of a neighbour of a variable's row: any row of the match, so all labels are kept."""
        labels = self._after(Register("labels", self.checked.universal), True)
        place, missing = self._place(ref)
        reached = f"{self.env.use(label_at)}({labels}, i - ({place} {ref.shift:+d}))"
        return f"(None if {missing} else {reached})" if missing else reached

    def aggregate(self, ref: RowRef, aggregate: Aggregate, value: Code | None, keep: str) -> Code:
        """Parts of an aggregate, carried from row to row."""
        mine = self.variable in ref.variables
        names = []
        for part in aggregate.parts:
            source = value.source if value is not None else ""
            if value is not None and (aggregate.keeps_nulls or not value.type.nullable):
                source = "!" + source  # every value counts
            register = Register("part", ref.variables, part=part.kind, value=source, keep=keep)
            self.registers.parts.setdefault(register, part)
            names.append(self._after(register, mine))
        floor = aggregate.floor(*names) if aggregate.floor is not None else ""
        return Code(aggregate.finish(*names), aggregate.type, floor=floor)


def label_at(labels: tuple[str, ...], back: int) -> str | None:
    """Of the labels so far, the one some rows before the last; None outside of them."""
    return labels[-1 - back] if 0 <= back < len(labels) else None


def _asks_label(node: n.Node) -> bool:
    return any(isinstance(part, n.Call) and part.name == "CLASSIFIER" for part in n.walk(node))


def compile_define(checked: CheckedClause, layout: Layout) -> Definitions:
    """Compile the conditions of a clause.

    Raises:
        SqlValidationError: a condition is not boolean, or not possible in DEFINE.
    """
    env = Environment()
    registers = _Registers()
    count = len(checked.program.labels)
    scopes = [DefineScope(checked, layout, env, number, registers) for number in range(count)]
    sources: dict[int, str] = {}
    for number, condition in checked.conditions.items():
        compiler = ExpressionCompiler(checked.text, scopes[number], env, checked.dialect)
        name = checked.program.labels[number]
        sources[number] = compiler.condition(condition, f"the condition of {name}")
    takes: list[Take | None] = []
    pieces = []
    functions = []
    for number, scope in enumerate(scopes):
        piece = _take(checked, registers, number, sources.get(number, ""), scope.used_new)
        pieces.append(piece)
        source = _take_function(piece, number, len(registers.numbers))
        functions.append(source)
        trivial = not piece.condition and not piece.changed
        takes.append(None if trivial else env.function(f"take_{number}", source))
    initial = tuple(
        registers.parts[register].initial if register.what == "part" else "()" if register.what == "labels" else "None"
        for register in registers.numbers
    )
    return Definitions(
        takes=takes,
        sources=pieces,
        env=env,
        registers=tuple(registers.numbers),
        initial=env.function("initial", f"def initial():\n    return ({', '.join(initial)}{',' if initial else ''})")(),
        conditions=sources,
        functions=functions,
        reads=set().union(*(scope.reads for scope in scopes)) if scopes else set(),
        look_back=max((scope.look_back for scope in scopes), default=0),
        look_ahead=max((scope.look_ahead for scope in scopes), default=0),
        sees_number=any(scope.sees_number for scope in scopes),
        path_independent=not registers.numbers,
    )


def _take(
    checked: CheckedClause, registers: _Registers, variable: int, condition: str, used_new: set[int]
) -> TakeSource:
    """Source of taking a row as a variable."""
    name = checked.program.labels[variable]
    mine = {register: number for register, number in registers.numbers.items() if variable in register.variables}
    early = {register: number for register, number in mine.items() if number in used_new}
    late = {register: number for register, number in mine.items() if number not in used_new}
    return TakeSource(
        tuple(_updates(early, registers, name)),
        condition,
        tuple(_updates(late, registers, name)),
        tuple(sorted(mine.values())),
    )


def _take_function(piece: TakeSource, variable: int, count: int) -> str:
    lines = [f"def take_{variable}(rows, i, row, registers, number):"]
    if count:
        lines.append(f"    {', '.join(f'r{k}' for k in range(count))}, = registers")
    lines += [f"    {line}" for line in piece.before]
    if piece.condition:
        lines += [f"    if not {piece.condition}:", "        return None"]
    lines += [f"    {line}" for line in piece.after]
    if piece.changed:
        lines.append(f"    return ({', '.join(f'n{k}' if k in piece.changed else f'r{k}' for k in range(count))},)")
    else:
        lines.append("    return registers")
    return "\n".join(lines)


def _updates(updated: dict[Register, int], registers: _Registers, name: str) -> list[str]:
    """Statements for the new values of registers; parts of aggregates over the same values go together."""
    lines: list[str] = []
    parts: dict[tuple[str, str], list[tuple[int, Part]]] = {}
    for register, number in updated.items():
        if register.what == "part":
            parts.setdefault((register.value, register.keep), []).append((number, registers.parts[register]))
        else:
            lines += _update(register, number, registers, name)
    if parts:
        lines += ["a = row", f"a_label = {name!r}"]
    for (value, keep), members in parts.items():
        unchanged = [f"n{k} = r{k}" for k, _ in members]
        every = not value or value.startswith("!")
        given = value.removeprefix("!")
        steps = [f"n{k} = {part.update(f'r{k}', 'w' if value else '1')}" for k, part in members]
        block = [f"w = {given}"] if given else []
        if every:
            block += steps
        else:
            block += ["if w is None:", *_indented(unchanged), "else:", *_indented(steps)]
        lines += [f"if {keep}:", *_indented(block), "else:", *_indented(unchanged)] if keep else block
    return lines


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _update(register: Register, k: int, registers: _Registers, name: str) -> list[str]:
    """Statements for the register's value after a row of one of its variables."""
    if register.what == "labels":
        return [f"n{k} = (*r{k}, {name!r})"]
    new = "i" if register.what == "place" else repr(name)
    if not register.first:
        if not register.offset:
            return [f"n{k} = {new}"]
        before = registers.numbers[Register(register.what, register.variables, False, register.offset - 1)]
        return [f"n{k} = r{before}"]
    # The first rows stay; the place register of the one before tells whether this row is the wanted one.
    place = registers.numbers[Register("place", register.variables, True, register.offset)]
    if not register.offset:
        return [f"n{k} = {new} if r{place} is None else r{k}"]
    before = registers.numbers[Register("place", register.variables, True, register.offset - 1)]
    return [f"n{k} = {new} if r{place} is None and r{before} is not None else r{k}"]
