"""Source of conditions, made faster by what is known where it stands.

What a condition reads of one row and its neighbours does not change from attempt to attempt: such parts are computed
once per row, kept in lists beside the rows, and stand in the source as *values* ``s0``, ``s1``, …. Rows on which one
of them is NULL or fails are left to the plain source; so here no value is None, and tests for NULL fall away.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from anomaly_app.expressions.values import wrapped
from anomaly_app.patterns.define import Definitions, TakeSource
from anomaly_app.patterns.program import Program

_ROW = frozenset({"row", "rows", "i"})
_BUILTINS = frozenset(dir(builtins))


class RowValues:
    """Values of the rows of one key.

    Attributes:
        columns: for each value a list beside the rows.
        bad: place behind the last row on which a value is NULL or fails.
    """

    __slots__ = ("bad", "columns")

    def __init__(self, count: int) -> None:
        self.columns: tuple[list[Any], ...] = tuple([] for _ in range(count))
        self.bad = 0

    def drop(self, spare: int) -> None:
        """The first rows are gone."""
        for column in self.columns:
            del column[:spare]
        self.bad -= spare


class Specialiser:
    """Collects the values that conditions need, and rewrites the conditions.

    Args:
        define: the conditions.
    """

    def __init__(self, define: Definitions) -> None:
        self.define = define
        self.values: dict[str, str] = {}

    def take(self, label: int, seen: frozenset[int], *, at_start: bool) -> TakeSource:
        """Taking a row as a variable, where rows of the variables ``seen`` were taken before.

        Args:
            label: the variable.
            seen: variables that surely have rows.
            at_start: no row was taken before.
        """
        define, known = self.define, {}
        if at_start:
            known = {f"r{k}": ast.Constant(value) for k, value in enumerate(define.initial) if not value}
        never_null = {f"r{k}" for k in define.filled(seen)} | {f"n{k}" for k in define.filled(seen | {label})}
        piece = define.sources[label]

        def statements(lines: Iterable[str]) -> tuple[str, ...]:
            body = ast.parse("\n".join(lines)).body
            return tuple(_Rewriter(self, known, never_null).statements(body))

        condition = ""
        if piece.condition:
            tree = ast.parse(piece.condition, mode="eval").body
            condition = ast.unparse(_Rewriter(self, known, never_null).condition(tree))
        return TakeSource(
            statements(piece.before), "" if condition == "True" else condition, statements(piece.after), piece.changed
        )

    def value(self, node: ast.expr, boolean: bool) -> ast.expr:
        """The name of a value."""
        names: dict[str, str] = {}
        for part in ast.walk(node):  # equal values have equal source
            if isinstance(part, ast.NamedExpr):
                names[part.target.id] = f"v{len(names)}"
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                part.id = names.get(part.id, part.id)
        source = ast.unparse(node)
        if boolean:
            source = f"bool({source})"
        return ast.Name(self.values.setdefault(source, f"s{len(self.values)}"), ast.Load())

    def fill_source(self, failures: str) -> str:
        """Source of ``fill(rows, start, limit, columns)``.

        It appends the values of the rows from ``start`` up to ``limit`` and gives the place behind the last bad one,
        0 if there is none.
        """
        names = list(self.values.values())
        lists = [f"w{k}" for k in range(len(names))]
        fresh = [f"f{k}" for k in range(len(names))]
        over = {
            name: "i, row in enumerate(rows[start:limit], start)" if re.search(r"\bi\b", source) else "row in some"
            for source, name in self.values.items()
        }
        lines = [
            f"{', '.join(lists)}, = columns",
            "if limit - start > 2:",  # nearly always nothing is bad
            "    some = rows[start:limit]",
            "    try:",
            *(
                f"        {new} = [{source} for {over[name]}]"
                for new, (source, name) in zip(fresh, self.values.items(), strict=True)
            ),
            f"    except {failures}:",
            "        f0 = [None]",
            f"    if {' and '.join(f'None not in {new}' for new in fresh)}:",
            *(f"        {column} += {new}" for column, new in zip(lists, fresh, strict=True)),
            "        return 0",
            "bad = 0",
            "for i in range(start, limit):",
            "    row = rows[i]",
            "    try:",
            *(f"        {name} = {source}" for source, name in self.values.items()),
            f"    except {failures}:",
            f"        {' = '.join(names)} = None",
            *(f"    {column}.append({name})" for column, name in zip(lists, names, strict=True)),
            f"    if {' or '.join(f'{name} is None' for name in names)}:",
            "        bad = i + 1",
            "return bad",
        ]
        return "\n".join(["def fill(rows, start, limit, columns):", *(f"    {line}" for line in lines)])


class _Rewriter:
    """Rewrites one piece of source; names bound in it are not used outside."""

    def __init__(self, owner: Specialiser, known: Mapping[str, ast.expr], never_null: Iterable[str]) -> None:
        self.owner, self.env = owner, owner.define.env
        self.known = dict(known)
        self.never_null = set(never_null)
        self.uses: Counter[str] = Counter()

    # --- statements -----------------------------------------------------------------------------------

    def statements(self, body: list[ast.stmt]) -> Iterable[str]:
        """The rewritten lines."""
        labelled = any(_loads(statement)["a_label"] for statement in body)
        for statement in body:
            if isinstance(statement, ast.If):
                test = self.condition(statement.test)
                if isinstance(test, ast.Constant):
                    yield from self.statements(statement.body if test.value else statement.orelse)
                    continue
                yield f"if {ast.unparse(test)}:"
                yield from (f"    {line}" for line in self.statements(statement.body))
                yield "else:"
                yield from (f"    {line}" for line in self.statements(statement.orelse))
                continue
            assert isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
            name = statement.targets[0].id
            if name == "a" or (name == "a_label" and not labelled):
                continue
            value = self.expression(statement.value)
            if name == "w" and isinstance(value, (ast.Name, ast.Constant)):
                self.known[name] = value
            else:
                self.known.pop(name, None)
                yield f"{name} = {ast.unparse(value)}"

    # --- expressions ----------------------------------------------------------------------------------

    def condition(self, node: ast.expr) -> ast.expr:
        """An expression of which only the truth counts."""
        return self._simple(self._split(self._about_row(node), True))  # type: ignore[no-any-return]  # ast.NodeTransformer

    def expression(self, node: ast.expr) -> ast.expr:
        """An expression."""
        return self._simple(self._split(self._about_row(node), False))  # type: ignore[no-any-return]  # ast.NodeTransformer

    def _about_row(self, node: ast.expr) -> ast.expr:
        """``a`` is the row itself in DEFINE."""
        node = copy.deepcopy(node)
        self.uses = _loads(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and part.id == "a":
                part.id = "row"
        return node

    def _split(self, node: Any, boolean: bool) -> Any:
        """Put names of values in place of the largest parts that are about the row only."""
        if not isinstance(node, (ast.Name, ast.Constant)) and self._closed(node):
            return self.owner.value(node, boolean)
        for name, part in ast.iter_fields(node):
            truth = (
                (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))
                or (isinstance(node, ast.IfExp) and name == "test")
                or (isinstance(node, (ast.BoolOp, ast.IfExp)) and boolean)
            )  # fmt: skip
            if isinstance(part, ast.expr):
                setattr(node, name, self._split(part, truth))
            elif isinstance(part, list):
                setattr(node, name, [self._split(p, truth) if isinstance(p, ast.expr) else p for p in part])
        return node

    def _closed(self, node: ast.expr) -> bool:
        names = [part for part in ast.walk(node) if isinstance(part, ast.Name)]
        bound = {part.id for part in names if isinstance(part.ctx, ast.Store)}
        loads = Counter(part.id for part in names if isinstance(part.ctx, ast.Load))
        free = set(loads) - bound
        if not free & {"row", "rows"} or any(loads[name] != self.uses[name] for name in bound):
            return False
        return all(name in _ROW or name in self.env.names or name in _BUILTINS for name in free)

    def _simple(self, node: Any) -> Any:
        """Without tests whose result is known."""
        if isinstance(node, ast.Name):
            return copy.copy(self.known[node.id]) if node.id in self.known else node
        if isinstance(node, ast.NamedExpr):
            value = self._simple(node.value)
            if isinstance(value, (ast.Name, ast.Constant)):
                self.known[node.target.id] = value
                return value
            node.value = value
            return node
        if isinstance(node, ast.Lambda):
            return node
        if isinstance(node, ast.IfExp):
            test = self._simple(node.test)
            if isinstance(test, ast.Constant):
                return self._simple(node.body if test.value else node.orelse)
            node.test, node.body, node.orelse = test, self._simple(node.body), self._simple(node.orelse)
            return node
        if isinstance(node, ast.BoolOp):
            return self._boolean(node)
        for name, part in ast.iter_fields(node):
            if isinstance(part, ast.expr):
                setattr(node, name, self._simple(part))
            elif isinstance(part, list):
                setattr(node, name, [self._simple(item) if isinstance(item, ast.expr) else item for item in part])
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Is, ast.IsNot)):
            return self._null_test(node)
        return node

    def _boolean(self, node: ast.BoolOp) -> ast.expr:
        decides = isinstance(node.op, ast.Or)
        kept: list[ast.expr] = []
        for number, part in enumerate(node.values):
            part = self._simple(part)
            if isinstance(part, ast.Constant) and isinstance(part.value, bool):
                if part.value is decides:
                    kept.append(part)
                    break
                if number < len(node.values) - 1 or not kept:
                    if number == len(node.values) - 1:
                        kept.append(part)
                    continue
            kept.append(part)
        node.values = kept
        return kept[0] if len(kept) == 1 else node

    def _null_test(self, node: ast.Compare) -> ast.expr:
        other = node.comparators[0]
        if not isinstance(other, ast.Constant) or other.value is not None:
            return node
        negated, left = isinstance(node.ops[0], ast.IsNot), node.left
        if isinstance(left, ast.Constant):
            return ast.Constant((left.value is None) is not negated)
        if isinstance(left, ast.NamedExpr):
            if not self._filled(left.value) or self.uses[left.target.id] != 1:
                return node
            self.known[left.target.id] = left.value
        elif not self._filled(left):
            return node
        return ast.Constant(negated)

    def _filled(self, node: ast.expr) -> bool:
        """Whether an expression is never None."""
        if isinstance(node, ast.Name):
            return node.id in self.never_null or (node.id[0] == "s" and node.id[1:].isdigit())
        if isinstance(node, ast.IfExp):
            return self._filled(node.body) and self._filled(node.orelse)
        if isinstance(node, ast.Constant):
            return node.value is not None
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Name) and self.env.names.get(node.func.id) is wrapped
        return isinstance(node, (ast.BinOp, ast.UnaryOp, ast.Compare))


def _loads(node: ast.AST) -> Counter[str]:
    """How often each name is read."""
    return Counter(part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load))


def certain_labels(program: Program, same: Mapping[int, int]) -> dict[int, frozenset[int]]:
    """For each state the variables that surely have rows when it is reached.

    Args:
        program: the pattern.
        same: the state that stands for each, as several may be one.

    Example:
        >>> from anomaly_app.patterns.program import compile_pattern
        >>> from anomaly_app.sql.row_pattern_parser import parse_pattern
        >>> known = certain_labels(compile_pattern(parse_pattern("A B? C")), {n: n for n in range(4)})
        >>> {number: sorted(labels) for number, labels in known.items()}
        {0: [], 3: [0], 2: [0, 1], 1: [0, 2]}
    """
    start: frozenset[int] = frozenset()
    known = {0: start}
    waiting = [0]
    while waiting:
        number = waiting.pop(0)
        edges = program.states[number].edges if number else (*program.states[0].edges, *program.first.edges)
        for edge in edges:
            labels = known[number] | {edge.label}
            target = same[edge.target]
            before = known.get(target)
            after = labels if before is None else labels & before
            if after != before:
                known[target] = after
                waiting.append(target)
    return known
