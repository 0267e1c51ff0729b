"""What names and functions mean inside DEFINE and MEASURES: columns of variables, navigation, aggregates.

Every reference ends at one row: "the last but ``offset`` row of these variables", moved ``shift`` rows over the
partition. :class:`PatternScope` resolves expressions to such references and leaves to its two kinds (one for DEFINE,
one for MEASURES) how such a row is reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.aggregates import AGGREGATES, Aggregate, compile_aggregate
from anomaly_app.expressions.compiler import PATTERN_FUNCTIONS, ExpressionCompiler
from anomaly_app.expressions.typed import Code, Environment
from anomaly_app.operators import Layout, Row
from anomaly_app.patterns.clause import CheckedClause
from anomaly_app.schema import BIGINT, BOOLEAN, STRING, TEXTS, DataType, Kind
from anomaly_app.words import nearest

NAVIGATION = frozenset({"FIRST", "LAST", "PREV", "NEXT"})
CONTEXT = frozenset(PATTERN_FUNCTIONS)

MAX_OFFSET = 10_000
"""Largest offset of FIRST, LAST, PREV and NEXT: each reaches a row that must be kept."""


@dataclass(frozen=True, slots=True)
class RowRef:
    """A row of a match (or near it).

    Args:
        variables: numbers of the variables whose rows are counted.
        first: counted from the first, else from the last.
        offset: how many of them to pass over.
        shift: then so many rows over the partition, negative for PREV.
        final: of the whole match, else up to the current row.
    """

    variables: frozenset[int]
    first: bool = False
    offset: int = 0
    shift: int = 0
    final: bool = False


@dataclass(frozen=True, slots=True)
class RowSource:
    """Source that reaches a row.

    Args:
        missing: source of a test whether there is no such row; "" if there always is one.
        row: source of the row, valid if the test fails.
        label: source of the name of its variable (may be None).
    """

    missing: str
    row: str
    label: str


def row_at(rows: Sequence[Row], index: int) -> Row | None:
    """A row by its place; None beyond the ends."""
    return rows[index] if 0 <= index < len(rows) else None


class PatternScope:
    """Resolves the names of one expression; subclasses say how rows are reached."""

    def __init__(self, checked: CheckedClause, layout: Layout, env: Environment) -> None:
        self.checked, self.layout, self.env = checked, layout, env
        self.reads: set[str] = set()
        self.look_back = self.look_ahead = 0
        self.sees_number = False

    in_define = False
    tentative: frozenset[int] = frozenset()  # carried by the current row while its condition is tested

    # --- for the subclasses -----------------------------------------------------------------------

    def locate(self, ref: RowRef, node: n.Node, compiler: ExpressionCompiler) -> RowSource:
        """Source that reaches a row."""
        raise NotImplementedError

    def aggregate(self, ref: RowRef, aggregate: Aggregate, value: Code | None, keep: str) -> Code:
        """An aggregate; ``value`` and ``keep`` (a condition, or "") are about the row named ``a``."""
        raise NotImplementedError

    # --- names --------------------------------------------------------------------------------------

    def variables(self, name: str, node: n.Node, compiler: ExpressionCompiler) -> frozenset[int]:
        """The variables behind a name."""
        found = self.checked.sets.get(name.upper())
        if found is None:
            problem = f"{name} is neither a pattern variable nor a subset{nearest(name, self.checked.sets)}"
            raise compiler.fail(node, problem)
        if found <= self.checked.unbound and not found & self.tentative:
            raise compiler.fail(node, f"{name} has no row in a match: it is what must not follow")
        return found

    def column(self, node: n.ColumnRef) -> Code:
        """``x`` or ``A.x``: of the last row so far."""
        compiler = ExpressionCompiler(self.checked.text, self, self.env, self.checked.dialect)
        if len(node.parts) > 2:
            column = self.checked.schema.find(node.parts[1])
            if column is not None and node.parts[0].upper() in self.checked.sets:
                problem = f"{column.name} is {column.type.with_nullable(True)}: it has no field {node.parts[2]!r}"
                raise compiler.fail(node, problem)
            raise compiler.fail(node, "expected a column, or a pattern variable and a column")
        variables = self.checked.universal
        if len(node.parts) == 2:
            variables = self.variables(node.parts[0], node, compiler)
        return self._navigate(RowRef(variables), node, node, compiler)

    def read(self, node: n.ColumnRef, row: str) -> Code:
        """A column of a row."""
        column = self.checked.column(node.parts[-1], node.span)
        self.reads.add(column.name)
        return Code(f"{row}[{self.layout.index(column.name)}]", column.type)

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """Navigation, aggregates and the functions about the match."""
        if node.name in ("FIRST", "LAST", "PREV", "NEXT"):
            return self._navigation(node, compiler)
        if node.name in AGGREGATES:
            return self._aggregate(node, compiler)
        if node.name not in CONTEXT:
            if node.semantics:
                raise compiler.fail(node, f"{node.semantics} applies to FIRST, LAST and aggregates, not {node.name}")
            return None
        if node.semantics and node.name != "CLASSIFIER":
            raise compiler.fail(node, f"{node.semantics} does not apply to {node.name}")
        if node.name == "CLASSIFIER":
            ref = RowRef(self._argument_variables([node], node, compiler), final=self._final(node, compiler))
            return self._navigate(ref, node, node, compiler)
        if node.args and (node.name != "MATCH_ROWTIME" or len(node.args) > 1):
            raise compiler.fail(node, f"{node.name} takes no argument")
        if node.name == "MATCH_NUMBER":
            self.sees_number = True
            return Code("number", BIGINT.with_nullable(False))
        if node.name == "MATCH_TIMED_OUT":
            return self._timed_out(node, compiler)
        return self._match_time(node, compiler)

    def _timed_out(self, node: n.Call, compiler: ExpressionCompiler) -> Code:
        if self.in_define:
            raise compiler.fail(node, f"{node.name} is known at the end: it may stand in MEASURES only")
        if not self.checked.timeouts:
            raise compiler.fail(node, f"{node.name} needs SHOW TIMEOUT MATCHES: else only matches are shown")
        return Code("timed_out", BOOLEAN.with_nullable(False))

    def _match_time(self, node: n.Call, compiler: ExpressionCompiler) -> Code:
        if self.in_define:
            raise compiler.fail(node, f"{node.name} is known when the match is: it may stand in MEASURES only")
        schema = self.checked.schema
        if node.name == "MATCH_PROCTIME":
            if schema.proctime is None:  # nothing here reads the clock, so that a replay gives the same rows
                raise compiler.fail(node, "MATCH_PROCTIME needs a table with a processing-time column")
            return Code("time", DataType(Kind.TIMESTAMP_LTZ, 3, nullable=False))
        rowtime = schema.find(schema.rowtime) if schema.rowtime else None
        if rowtime is None:
            raise compiler.fail(node, "MATCH_ROWTIME needs a table with a WATERMARK")
        for argument in node.args:  # Flink lets it name the time attribute
            name = argument.parts[-1] if isinstance(argument, n.ColumnRef) else ""
            if schema.find(name) is not rowtime:
                raise compiler.fail(
                    argument, f"the argument of MATCH_ROWTIME must be the time attribute {rowtime.name}"
                )
            self._argument_variables([argument], node, compiler)
        return Code("time", DataType(rowtime.type.kind, 3, nullable=bool(node.args)))

    def _final(self, node: n.Call, compiler: ExpressionCompiler) -> bool:
        if node.semantics == "FINAL" and self.in_define:
            raise compiler.fail(node, "FINAL cannot stand in DEFINE: the match is not known yet")
        return node.semantics == "FINAL"

    # --- navigation ---------------------------------------------------------------------------------

    def _navigation(self, node: n.Call, compiler: ExpressionCompiler) -> Code:
        physical = node.name in ("PREV", "NEXT")
        if not 1 <= len(node.args) <= 2:
            raise compiler.fail(node, f"{node.name} takes an expression and perhaps an offset")
        if node.distinct or node.filter is not None:
            raise compiler.fail(node, f"{node.name} takes neither DISTINCT nor FILTER")
        offset = self._offset(node, 1 if physical else 0, compiler)
        argument = node.args[0]
        if not any(isinstance(part, n.ColumnRef) or _is_classifier(part) for part in n.walk(argument)):
            raise compiler.fail(node, f"{node.name} needs a column (or CLASSIFIER) of the row that it moves to")
        if not physical:
            final = self._final(node, compiler)
            ref = RowRef(
                self._argument_variables(node.args[:1], node, compiler), node.name == "FIRST", offset, 0, final
            )
            return self._navigate(ref, argument, node, compiler)
        if node.semantics:
            raise compiler.fail(node, f"{node.semantics} does not apply to {node.name}: it moves over the partition")
        shift = -offset if node.name == "PREV" else offset
        if isinstance(argument, n.Call) and argument.name in ("FIRST", "LAST"):
            inner = argument
            if not 1 <= len(inner.args) <= 2:
                raise compiler.fail(inner, f"{inner.name} takes an expression and perhaps an offset")
            variables = self._argument_variables(inner.args[:1], inner, compiler)
            first = inner.name == "FIRST"
            ref = RowRef(variables, first, self._offset(inner, 0, compiler), shift, self._final(inner, compiler))
            return self._navigate(ref, inner.args[0], node, compiler)
        ref = RowRef(self._argument_variables(node.args[:1], node, compiler), shift=shift)
        return self._navigate(ref, argument, node, compiler)

    def _offset(self, node: n.Call, default: int, compiler: ExpressionCompiler) -> int:
        if len(node.args) < 2:
            return default
        given = node.args[1]
        value = given.value if isinstance(given, n.Literal) else None
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise compiler.fail(given, f"the offset of {node.name} must be a whole number from 0, written out")
        if value > MAX_OFFSET:
            raise compiler.fail(given, f"the offset of {node.name} is beyond {MAX_OFFSET}")
        return value

    def _navigate(self, ref: RowRef, expr: n.Node, node: n.Node, compiler: ExpressionCompiler) -> Code:
        self.look_back = max(self.look_back, -ref.shift)
        self.look_ahead = max(self.look_ahead, ref.shift)
        place = self.locate(ref, node, compiler)
        if isinstance(expr, n.ColumnRef):
            code = self.read(expr, place.row)
        elif isinstance(expr, n.Call) and expr.name == "CLASSIFIER":
            code = Code(place.label, STRING.with_nullable(place.label == "None" or not place.label.startswith("'")))
        else:
            name = self.env.temporary()
            scope = RowScope(self, ref.variables, name, place.label, node)
            code = ExpressionCompiler(compiler.text, scope, self.env, compiler.dialect).value(expr)
            reached = f"({name} := {place.row}) is None"
            place = replace(place, missing=f"{place.missing} or {reached}" if place.missing else reached)
        if not place.missing:
            return code
        return Code(f"(None if {place.missing} else {code.source})", code.type.with_nullable(True))

    def _argument_variables(self, args: Sequence[n.Node], node: n.Node, compiler: ExpressionCompiler) -> frozenset[int]:
        """The variables that the arguments of one call are about: exactly one name."""
        names: dict[str | None, n.Node] = {}
        skipped: set[int] = set()
        for arg in args:
            for part in n.walk(arg):
                if id(part) in skipped:
                    continue
                if isinstance(part, n.ColumnRef):
                    names.setdefault(part.parts[0].upper() if len(part.parts) > 1 else None, part)
                elif isinstance(part, n.Star):
                    names.setdefault(part.qualifier.upper() if part.qualifier else None, part)
                elif isinstance(part, n.Call) and _is_classifier(part):
                    names.setdefault(self._classifier_variable(part, compiler), part)
                    skipped |= {id(below) for below in part.args}
        if len(names) > 1:
            shown = " and ".join(name or "all variables" for name in names)
            problem = f"one call is about one variable, but here are {shown}: use one call for each"
            raise compiler.fail(node, problem)
        for name, part in names.items():
            if name is not None:
                return self.variables(name, part, compiler)
        return self.checked.universal

    def _classifier_variable(self, node: n.Call, compiler: ExpressionCompiler) -> str | None:
        if not node.args:
            return None
        arg = node.args[0]
        if len(node.args) > 1 or not isinstance(arg, n.ColumnRef) or len(arg.parts) > 1:
            raise compiler.fail(node, "CLASSIFIER takes a pattern variable or nothing")
        return arg.parts[0].upper()

    # --- aggregates -----------------------------------------------------------------------------------

    def _aggregate(self, node: n.Call, compiler: ExpressionCompiler) -> Code:
        if node.over is not None:
            raise compiler.fail(node, "OVER is not possible inside MATCH_RECOGNIZE")
        most = 2 if node.name == "LISTAGG" else 1
        counted = node.name == "COUNT" and len(node.args) == 1 and isinstance(node.args[0], n.Star)
        if not 1 <= len(node.args) <= most and not (node.name == "COUNT" and not node.args):
            raise compiler.fail(node, f"{node.name} takes one argument, not {len(node.args)}")
        about = [*node.args[:1], *([node.filter] if node.filter is not None else [])]
        ref = RowRef(self._argument_variables(about, node, compiler), final=self._final(node, compiler))
        scope = RowScope(self, ref.variables, "a", "a_label", node)
        inner = ExpressionCompiler(compiler.text, scope, self.env, compiler.dialect)
        with self.env.apart("u"):
            value = None if counted or not node.args else inner.value(node.args[0])
            keep = inner.condition(node.filter, "the FILTER") if node.filter is not None else ""
        separator = None
        if len(node.args) == 2:
            separator = compiler.value(node.args[1])
            if not isinstance(separator.constant, str) or separator.type.kind not in TEXTS:
                raise compiler.fail(node.args[1], "the separator of LISTAGG must be a text, written out")
        aggregate = compile_aggregate(
            node.name,
            value.type if value is not None else None,
            self.env,
            compiler.dialect,
            distinct=node.distinct,
            separator=separator,
        )
        if aggregate is None:
            shown = str(value.type.with_nullable(True)) if value is not None else "rows"
            hint = ": CAST it to a number" if value is not None and value.type.kind in TEXTS else ""
            raise compiler.fail(node, f"{node.name} of {shown} is not defined{hint}")
        return self.aggregate(ref, aggregate, value, keep)


def _is_classifier(node: n.Node) -> bool:
    return isinstance(node, n.Call) and node.name == "CLASSIFIER"


class RowScope:
    """Inside a navigation or an aggregate: all names are about one row."""

    def __init__(self, outer: PatternScope, variables: frozenset[int], row: str, label: str, node: n.Node) -> None:
        self.outer, self.of, self.row, self.label, self.node = outer, variables, row, label, node

    def column(self, node: n.ColumnRef) -> Code:
        """A column of the row."""
        return self.outer.read(node, self.row)

    def call(self, node: n.Call, compiler: ExpressionCompiler) -> Code | None:
        """Only functions of the row itself."""
        if node.name == "CLASSIFIER":
            return Code(self.label, STRING)
        if node.name == "MATCH_NUMBER":
            return self.outer.call(node, compiler)
        if node.name in CONTEXT or node.name in AGGREGATES:
            name = self.node.name if isinstance(self.node, n.Call) else "this call"
            raise compiler.fail(node, f"{node.name} cannot stand inside {name}")
        return None
