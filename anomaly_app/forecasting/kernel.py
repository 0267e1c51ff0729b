"""A recursion written once, run in two ways: over floats for few series, over arrays for many.

A model is a function over :class:`~anomaly_app.forecasting.symbols.Symbol`, which is called once and traced: its
arithmetic becomes a straight line of operations. From that line two functions are made. One runs a point after another
through Python floats, all state in local variables; the other does one numpy operation per line for thousands of
series, into buffers that stay in the cache. Both only add, subtract, multiply, divide, compare and take square roots,
in the same order, and IEEE 754 says what each of these gives; so both give the same bits.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anomaly_app.detectors import Floats
from anomaly_app.forecasting.symbols import Number, Symbol, Trace

CHUNK = 10_240
"""Series that go through the operations at once: a buffer has 80 kB, and those in use stay in the cache."""

_INFIX = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "less": "<", "greater": ">", "equal": "=="}
_BOTH = {"maximum": ">", "minimum": "<"}
_BOOLEAN = {"less", "greater", "equal"}


def _take(table: Floats, index: Floats, out: Floats) -> None:
    """Entries of a table; series that were trained together, or long ago, all have the same."""
    low = index.min()
    if low == index.max():
        out.fill(table[int(low)])
    else:
        np.take(table, index.astype(np.int64), out=out, mode="clip")


class _Buffers(threading.local):
    """Room for intermediate results, which all kernels share: one runs at a time in a thread."""

    def __init__(self) -> None:
        self._registers = np.empty((0, CHUNK))
        self._flags = np.empty((0, CHUNK), dtype=np.bool_)

    def rows(self, registers: int, flags: int) -> tuple[Floats, NDArray[np.bool_]]:
        """At least so many rows of numbers and of truth values."""
        if len(self._registers) < registers:
            self._registers = np.empty((registers, CHUNK))
        if len(self._flags) < flags:
            self._flags = np.empty((flags, CHUNK), dtype=np.bool_)
        return self._registers, self._flags


_buffers = _Buffers()


@functools.lru_cache(maxsize=1_024)
def _row_of(value: float) -> Floats:
    """A constant as an array: numpy takes the larger of two arrays much faster than of an array and a number."""
    return np.full(CHUNK, value)


Step: TypeAlias = Callable[[Mapping[str, Symbol]], Mapping[str, Number]]
"""A recursion: takes state fields and inputs by name; gives the fields that change, and the outputs."""


class Kernel:
    """A traced recursion.

    Args:
        step: the recursion. What it returns under the name of a field is the field's next value.
        fields: of the state, in the order in which they are stored.
        inputs: given for each point.
        outputs: names of the results of each point.
        slots: inputs that are read from a table, and for each the result that takes its place there; ``one_series``
            then takes the number of the entry as that input.

    Example:
        >>> def mean(given):
        ...     count = given["count"] + 1.0
        ...     error = given["x"] - given["mean"]
        ...     return {"count": count, "mean": given["mean"] + error / count, "error": error}
        >>> kernel = Kernel(mean, ["count", "mean"], ["x"], ["error"])
        >>> kernel.one_series([0.0, 0.0], [[1.0, 2.0, 6.0]])
        ([3.0, 3.0], [1.0, 1.0, 4.5])
        >>> state = np.zeros((2, 3))
        >>> kernel.many_series(state, np.array([[1.0, 2.0, 6.0]]))[0].tolist(), state[1].tolist()
        ([1.0, 2.0, 6.0], [1.0, 2.0, 6.0])
    """

    def __init__(
        self,
        step: Step,
        fields: Sequence[str],
        inputs: Sequence[str],
        outputs: Sequence[str],
        slots: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.slots = dict(slots)
        self.fields, self.inputs, self.outputs = tuple(fields), tuple(inputs), tuple(outputs)
        trace = Trace()
        given = {name: trace.input(name) for name in (*fields, *inputs)}
        self._results = dict(step(given))
        self._trace = trace
        self._order = self._needed(list(trace.nodes.values()))
        self._scalar: Any = self._make_scalar()
        self._vector, self._registers, self._flags, constants = self._make_vector()
        self._constants = [_row_of(constant) for constant in constants]

    def one_series(
        self, state: Sequence[float], inputs: Sequence[Sequence[float]], table: Any = None
    ) -> tuple[list[float], list[float]]:
        """Run the points of one series through its state.

        Args:
            state: values of the fields.
            inputs: for each input, its value at each point.
            table: that of the slots, written to; anything with numbered entries.

        Returns:
            The state behind the last point, and the outputs, one point after another.
        """
        return self._scalar(state, inputs, table)  # type: ignore[no-any-return]  # generated code

    def many_series(self, state: Floats, inputs: Floats) -> Floats:
        """Run one point of each of many series through their states, which change in place.

        Args:
            state: shape (fields, n); each row contiguous.
            inputs: shape (inputs, n).

        Returns:
            Shape (outputs, n).
        """
        count = state.shape[1]
        out = np.empty((len(self.outputs), count))
        registers, flags = _buffers.rows(self._registers, self._flags)
        with np.errstate(all="ignore"):  # the same as Python's floats: infinity, and no word about it
            for start in range(0, count, CHUNK):
                end = min(start + CHUNK, count)
                size = end - start
                self._vector(
                    state[:, start:end],
                    inputs[:, start:end],
                    out[:, start:end],
                    registers[:, :size],
                    flags[:, :size],
                    [row[:size] for row in self._constants],
                )
        return out

    # --- code ---------------------------------------------------------------------------------------------------------

    def _needed(self, nodes: list[Symbol]) -> list[Symbol]:
        """The operations that some result depends on."""
        wanted = {id(value) for value in self._results.values() if isinstance(value, Symbol)}
        for node in reversed(nodes):
            if id(node) in wanted:
                wanted.update(id(argument) for argument in node.arguments if isinstance(argument, Symbol))
        return [node for node in nodes if id(node) in wanted and node.operation != "input"]

    def _uses(self) -> dict[int, int]:
        """How many operations and results use a symbol."""
        uses: dict[int, int] = {}
        for value in [*(a for node in self._order for a in node.arguments), *self._results.values()]:
            if isinstance(value, Symbol):
                uses[id(value)] = uses.get(id(value), 0) + 1
        return uses

    def _make_scalar(self) -> Callable[..., Any]:
        uses = self._uses()
        texts: dict[int, str] = {}
        lines: list[str] = []

        def text(value: Any) -> str:
            if not isinstance(value, Symbol):
                return repr(float(value))
            return f"v_{value.arguments[0]}" if value.operation == "input" else texts[id(value)]

        twice = {id(a) for node in self._order if node.operation in _BOTH for a in node.arguments}  # in the text
        for number, node in enumerate(self._order):
            name = node.operation
            parts = [argument if isinstance(argument, str) else text(argument) for argument in node.arguments]
            if name in _INFIX:
                made = f"({parts[0]} {_INFIX[name]} {parts[1]})"
            elif name in _BOTH:
                made = f"({parts[0]} if {parts[0]} {_BOTH[name]} {parts[1]} else {parts[1]})"
            elif name == "where":
                made = f"({parts[1]} if {parts[0]} else {parts[2]})"
            elif name == "take":
                made = f"{parts[1]}[int({parts[0]})]"
            else:
                made = f"{name}({parts[0]})"
            texts[id(node)] = made
            if uses[id(node)] > 1 or id(node) in twice or name in _BOTH or made.count("(") > 40:  # parsers have limits
                lines.append(f"t{number} = {made}")
                texts[id(node)] = f"t{number}"
        changed = [name for name in self.fields if name in self._results]
        out = ", ".join(text(self._results[name]) for name in self.outputs)
        if out:
            lines.append(f"out += ({out},)")
        lines[:0] = [f"v_{name} = table[entry_{name}]" for name in self.slots]
        lines += [f"table[entry_{name}] = {text(self._results[result])}" for name, result in self.slots.items()]
        if changed:
            left = ", ".join(f"v_{name}" for name in changed)
            lines.append(f"{left} = {', '.join(text(self._results[name]) for name in changed)}")
        state = "".join(f"v_{name}, " for name in self.fields)
        points = "".join(f"{'entry' if name in self.slots else 'v'}_{name}, " for name in self.inputs)
        body = "\n        ".join(lines)
        source = (
            f"def run(state, inputs, table):\n    [{state}] = state\n    out = []\n"
            f"    for {points}in zip(*inputs):\n        {body}\n    return [{state}], out\n"
        )
        names: dict[str, Any] = {name: table.tolist() for name, table in self._trace.tables.items()}
        names["sqrt"] = math.sqrt
        exec(compile(source, "<kernel over floats>", "exec"), names)
        return names["run"]  # type: ignore[no-any-return]  # generated code

    def _make_vector(self) -> tuple[Callable[..., None], int, int, list[float]]:
        """The function, how many number and truth buffers it needs, and the numbers to be given as arrays."""
        last: dict[int, int] = {}
        for number, node in enumerate(self._order):
            for argument in node.arguments:
                if isinstance(argument, Symbol):
                    last[id(argument)] = number
        end = len(self._order)
        owner = self._owners(last)
        constants: list[float] = []
        for value in self._results.values():
            if isinstance(value, Symbol):
                last[id(value)] = end
        place: dict[int, str] = {}
        for number, name in enumerate(self.fields):
            place[id(self._trace.input(name))] = f"s{number}"
        for number, name in enumerate(self.inputs):
            place[id(self._trace.input(name))] = f"i{number}"
        free: dict[str, list[str]] = {"r": [], "b": []}
        made = {"r": 0, "b": 0}
        lines: list[str] = []

        def text(value: Any) -> str:
            return place[id(value)] if isinstance(value, Symbol) else repr(float(value))

        for number, node in enumerate(self._order):
            kind = "b" if node.operation in _BOOLEAN else "r"
            arguments = [argument for argument in node.arguments if isinstance(argument, Symbol)]
            ending = {place[id(a)] for a in arguments if last[id(a)] == number}
            target = owner.get(id(node))
            reusable = node.operation not in {"where", "take"}  # these write before all is read
            if target is None and reusable:
                target = next((p for p in sorted(ending) if p[0] == kind), None)
            if target is None:
                if not free[kind]:
                    free[kind].append(f"{kind}{made[kind]}")
                    made[kind] += 1
                target = free[kind].pop()
            parts = [text(argument) for argument in node.arguments if not isinstance(argument, str)]
            if node.operation in {"maximum", "minimum"} and not isinstance(node.arguments[1], Symbol):
                constants.append(float(node.arguments[1]))
                parts[1] = f"k{len(constants) - 1}"
            if node.operation == "where":
                lines += [f"copyto({target}, {parts[2]})", f"copyto({target}, {parts[1]}, where={parts[0]})"]
            elif node.operation == "take":
                lines.append(f"take({node.arguments[1]}, {parts[0]}, {target})")
            else:
                lines.append(f"{node.operation}({', '.join(parts)}, out={target})")
            place[id(node)] = target
            for register in ending - {target}:
                if register[0] in free:
                    free[register[0]].append(register)
        # results that are not yet where they belong; states last, because outputs may be old states
        lines += [
            f"copyto(o{number}, {text(self._results[name])})"
            for number, name in enumerate(self.outputs)
            if text(self._results[name]) != f"o{number}"
        ]
        moved = [
            (f"s{number}", text(self._results[name]))
            for number, name in enumerate(self.fields)
            if name in self._results and text(self._results[name]) != f"s{number}"
        ]
        lines += self._moves(moved)
        rows = [
            f"{name}{number} = {array}[{number}]"
            for name, array, count in (
                ("s", "state", len(self.fields)),
                ("i", "inputs", len(self.inputs)),
                ("o", "outputs", len(self.outputs)),
                ("r", "registers", made["r"]),
                ("b", "flags", made["b"]),
                ("k", "constants", len(constants)),
            )
            for number in range(count)
        ]
        body = "\n    ".join([*rows, *lines])
        source = f"def run(state, inputs, outputs, registers, flags, constants):\n    {body}\n"
        names: dict[str, Any] = {name: getattr(np, name) for name in (*_INFIX, *_FUNCTIONS)}
        names |= {"take": _take, **self._trace.tables}
        exec(compile(source, "<kernel over arrays>", "exec"), names)
        return names["run"], made["r"], made["b"], constants

    def _owners(self, last: Mapping[int, int]) -> dict[int, str]:
        """Results that can be computed right into their row: an output, or a field whose old value is used no more."""
        owner: dict[int, str] = {}
        outputs = {id(self._results[name]) for name in self.outputs}
        position = {id(node): number for number, node in enumerate(self._order)}
        for number, name in enumerate(self.fields):
            value = self._results.get(name)
            old = self._trace.input(name)
            if not isinstance(value, Symbol) or id(value) not in position or id(value) in owner or id(old) in outputs:
                continue
            used = last.get(id(old), -1)
            needs_copy = any(result is old for key, result in self._results.items() if key != name)
            strict = value.operation in {"where", "take"}
            fits = used < position[id(value)] or (used == position[id(value)] and not strict)
            if fits and not needs_copy:
                owner[id(value)] = f"s{number}"
        for number, name in enumerate(self.outputs):
            value = self._results[name]
            if isinstance(value, Symbol) and id(value) in position:
                owner.setdefault(id(value), f"o{number}")
        return owner

    @staticmethod
    def _moves(moved: list[tuple[str, str]]) -> list[str]:
        """Copies that are one assignment of all: a row is written once no later copy reads it."""
        lines: list[str] = []
        left = list(moved)
        while left:
            sources = {source for _, source in left}
            ready = next((pair for pair in left if pair[0] not in sources), None)
            if ready is None:  # a ring of rows: one of them is kept aside
                target = left[0][0]
                lines.append(f"spare = {target}.copy()")
                left = [(t, "spare" if s == target else s) for t, s in left]
                continue
            lines.append(f"copyto({ready[0]}, {ready[1]})")
            left.remove(ready)
        return lines


_FUNCTIONS = ("sqrt", "maximum", "minimum", "copyto")
