"""A MATCH_RECOGNIZE clause, checked: names resolved, defaults filled in, what means nothing refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.tokens import Span
from anomaly_app.expressions.typed import Dialect
from anomaly_app.patterns.program import Program, compile_pattern, variables
from anomaly_app.schema import TIMESTAMPS, Column, Kind, Origin, Schema
from anomaly_app.sql.row_pattern import (
    Absence,
    Alternation,
    Anchor,
    Concat,
    Exclusion,
    MatchRecognize,
    PatternNode,
    Permute,
    Quantified,
    RowsPerMatch,
    SkipTo,
    Variable,
)
from anomaly_app.words import nearest

MAX_PERMUTED = 7
"""Elements of a PERMUTE: it is written out, and 7 make 5,040 orders."""


@dataclass(frozen=True, slots=True)
class OrderColumn:
    """An ORDER BY item; ``nulls_first`` has its default filled in."""

    column: Column
    descending: bool
    nulls_first: bool


@dataclass(slots=True)
class CheckedClause:
    """What the engine needs to know of a clause.

    Args:
        clause: the tree.
        text: the whole statement, for errors.
        schema: of the table.
        dialect: whose semantics.
        program: of the pattern; its ``labels`` are the names that CLASSIFIER() gives.
        sets: numbers of the variables behind each name (a variable or a subset), by upper-case name.
        universal: numbers of all variables.
        conditions: of the variables that have one, by number.
        partition_by: columns.
        order_by: columns.
        rows_per_match: with its default.
        skip_to: with its default.
        skip_set: variables of the skip target.
        unbound: variables that no row of a match carries: the one that must not follow.
    """

    clause: MatchRecognize
    text: str
    schema: Schema
    dialect: Dialect
    program: Program
    sets: dict[str, frozenset[int]]
    universal: frozenset[int]
    conditions: dict[int, n.Node]
    partition_by: list[Column]
    order_by: list[OrderColumn]
    rows_per_match: RowsPerMatch
    skip_to: SkipTo
    skip_set: frozenset[int]
    unbound: frozenset[int]

    @property
    def timeouts(self) -> bool:
        """Whether attempts that WITHIN ends without a match are shown, too."""
        return self.clause.timeouts is not None

    @property
    def all_rows(self) -> bool:
        """Whether a match gives one output row for each of its rows."""
        return self.rows_per_match is not RowsPerMatch.ONE

    @property
    def in_time_order(self) -> bool:
        """Whether ORDER BY begins with the time attribute, ascending: rows come in order as the watermark moves."""
        order, time = self.order_by, self.schema.rowtime or self.schema.proctime
        return bool(order) and time is not None and order[0].column.name == time and not order[0].descending

    def column(self, name: str, span: Span) -> Column:
        """A column of the table by name; an error naming the nearest if there is none."""
        return find_column(self.schema, name, self.text, span)


def find_column(schema: Schema, name: str, text: str, span: Span) -> Column:
    """A column of a table; raises SqlValidationError with a hint if there is none."""
    column = schema.find(name)
    if column is not None:
        return column
    names = [column.name for column in schema.columns]
    raise SqlValidationError(f"unknown column {name!r}{nearest(name, names)}", text, *span)


def check_clause(clause: MatchRecognize, schema: Schema, text: str, dialect: Dialect) -> CheckedClause:
    """Resolve and check a clause.

    Raises:
        SqlValidationError: something is unknown, twice, contradictory or not supported in the dialect.
    """
    checker = _Checker(clause, schema, text, dialect)
    return checker.check()


class _Checker:
    def __init__(self, clause: MatchRecognize, schema: Schema, text: str, dialect: Dialect) -> None:
        self.clause, self.schema, self.text, self.dialect = clause, schema, text, dialect

    def fail(self, span: Span, problem: str) -> SqlValidationError:
        return SqlValidationError(problem, self.text, *span)

    def check(self) -> CheckedClause:
        clause = self.clause
        self._check_permutes(clause.pattern)
        all_ways = clause.skip is not None and clause.skip.to is SkipTo.NO_SKIP
        program = compile_pattern(clause.pattern, self.text, self.dialect, all_ways=all_ways)
        sets = {name.upper(): frozenset({number}) for number, name in enumerate(program.labels)}
        program.labels = [self._display(name, clause.pattern) for name in program.labels]
        universal = frozenset(range(len(program.labels)))
        self._subsets(sets)
        clause = self.clause = self._with_fields(clause, sets)
        conditions = self._conditions(sets)
        names: set[str] = set()
        for measure in clause.measures:
            if measure.name.upper() in names:
                raise self.fail(measure.span, f"two measures are named {measure.name}")
            names.add(measure.name.upper())
        rows = clause.rows_per_match or RowsPerMatch.ONE
        if rows is RowsPerMatch.ALL_UNMATCHED and any(state.excluded for state in program.states):
            raise self.fail(clause.pattern.span, "an exclusion {- -} cannot be combined with WITH UNMATCHED ROWS")
        unbound = self._absence(program)
        skip_to, skip_set = self._skip(sets, unbound)
        if skip_to is SkipTo.NO_SKIP:
            self._check_all_ways(program)
        self._check_timeouts()
        if self.dialect is Dialect.FLINK:
            self._check_flink(program)
        partition = [self._plain_column(expr, "PARTITION BY") for expr in clause.partition_by]
        order = self._order()
        if clause.within_ms is not None:
            self._check_within(order)
        return CheckedClause(
            clause, self.text, self.schema, self.dialect, program, sets, universal, conditions, partition, order, rows,
            skip_to, skip_set, unbound,
        )  # fmt: skip

    def _with_fields(self, clause: MatchRecognize, sets: Mapping[str, frozenset[int]]) -> MatchRecognize:
        """``A.meta.temp`` and ``meta.temp`` as ``(A.meta).temp`` and ``(meta).temp``: fields of a column."""

        def change(ref: n.Node) -> n.Node:
            if not isinstance(ref, n.ColumnRef):
                return ref
            own = 2 if ref.parts[0].upper() in sets else 1
            if len(ref.parts) <= own:
                return ref
            column = self.schema.find(ref.parts[own - 1])
            if column is None or column.type.kind is not Kind.ROW:
                return ref
            node: n.Node = n.ColumnRef(ref.span, ref.parts[:own])
            for name in ref.parts[own:]:
                node = n.Field(ref.span, node, name)
            return node

        return replace(
            clause,
            measures=tuple([replace(each, expr=n.rewritten(each.expr, change)) for each in clause.measures]),
            define=tuple([replace(each, condition=n.rewritten(each.condition, change)) for each in clause.define]),
        )

    def _display(self, name: str, pattern: PatternNode) -> str:
        """As CLASSIFIER() shows a variable: in upper case unless it was quoted."""
        for node in _walk_pattern(pattern):
            if isinstance(node, Variable) and node.name == name:
                return name if self.text[node.span.start : node.span.start + 1] in ('"', "`") else name.upper()
        return name.upper()

    def _check_permutes(self, pattern: PatternNode) -> None:
        for node in _walk_pattern(pattern):
            if isinstance(node, Permute) and len(node.parts) > MAX_PERMUTED:
                raise self.fail(node.span, f"PERMUTE of more than {MAX_PERMUTED} elements is not supported")

    def _subsets(self, sets: dict[str, frozenset[int]]) -> None:
        singles = dict(sets)
        for subset in self.clause.subsets:
            folded = subset.name.upper()
            if folded in singles:
                raise self.fail(subset.span, f"{subset.name} is a pattern variable: a subset needs a name of its own")
            if folded in sets:
                raise self.fail(subset.span, f"subset {subset.name} is given twice")
            members: set[int] = set()
            for member in subset.members:
                if member.upper() not in singles:
                    what = "a subset" if member.upper() in sets else "not a pattern variable"
                    raise self.fail(subset.span, f"{member} is {what}: a subset is made of pattern variables")
                members |= singles[member.upper()]
            sets[folded] = frozenset(members)

    def _conditions(self, sets: dict[str, frozenset[int]]) -> dict[int, n.Node]:
        conditions: dict[int, n.Node] = {}
        subsets = {subset.name.upper() for subset in self.clause.subsets}
        for definition in self.clause.define:
            folded = definition.name.upper()
            if folded in subsets:
                raise self.fail(definition.span, f"{definition.name} is a subset: it cannot be defined")
            if folded not in sets:
                names = [name for name in sets if name not in subsets]
                hint = nearest(definition.name, names)
                raise self.fail(definition.span, f"{definition.name} is defined but not in PATTERN{hint}")
            (number,) = sets[folded]
            if number in conditions:
                raise self.fail(definition.span, f"{definition.name} is defined twice")
            conditions[number] = definition.condition
        return conditions

    def _absence(self, program: Program) -> frozenset[int]:
        """Check ``NOT v``; gives ``v``, unless rows may carry it before."""
        clause, pattern = self.clause, self.clause.pattern
        *before, last = pattern.parts if isinstance(pattern, Concat) and pattern.parts else (pattern,)
        for node in _walk_pattern(pattern):
            if not isinstance(node, Absence):
                continue
            name = node.body.name
            if node is not last:
                raise self.fail(node.span, f"NOT {name} can stand at the end of the whole pattern only")
            if clause.within_ms is None:
                raise self.fail(node.span, f"NOT {name} needs WITHIN: how long {name} must not follow")
            if program.waits(program.first):
                raise self.fail(node.span, f"NOT {name} needs a row before it: the rest of the pattern can match none")
            for anchor in _walk_pattern(pattern):
                if isinstance(anchor, Anchor) and not anchor.start:
                    raise self.fail(anchor.span, f"$ and NOT {name} exclude each other: behind $ nothing can follow")
            bound = {label for part in before for label in variables(part)}
            if name.upper() not in {label.upper() for label in bound}:
                return frozenset({program.states[program.waiting].label})
        return frozenset()

    def _check_timeouts(self) -> None:
        place = self.clause.timeouts
        if place is None:
            return
        if self.clause.within_ms is None:
            raise self.fail(place, "SHOW TIMEOUT MATCHES needs WITHIN: without it no attempt times out")
        if self.clause.rows_per_match is RowsPerMatch.ALL_UNMATCHED:
            raise self.fail(place, "SHOW TIMEOUT MATCHES cannot be combined with WITH UNMATCHED ROWS")

    def _check_all_ways(self, program: Program) -> None:
        skip = self.clause.skip
        assert skip is not None
        if self.clause.rows_per_match is RowsPerMatch.ALL_UNMATCHED:
            raise self.fail(skip.span, "NO SKIP cannot be combined with WITH UNMATCHED ROWS")
        if program.matches_empty:
            raise self.fail(skip.span, "NO SKIP needs a pattern that takes a row: this one can match none")
        for definition in self.clause.define:
            for node in n.walk(definition.condition):
                if isinstance(node, n.Call) and node.name == "MATCH_NUMBER":
                    raise self.fail(node.span, "with NO SKIP a condition cannot see MATCH_NUMBER: matches overlap")

    def _skip(self, sets: dict[str, frozenset[int]], unbound: frozenset[int]) -> tuple[SkipTo, frozenset[int]]:
        skip = self.clause.skip
        if skip is None:
            return (SkipTo.NEXT_ROW if self.dialect is Dialect.FLINK else SkipTo.PAST_LAST_ROW), frozenset()
        if not skip.variable:
            return skip.to, frozenset()
        if skip.variable.upper() not in sets:
            raise self.fail(skip.span, f"{skip.variable} is not a pattern variable{nearest(skip.variable, sets)}")
        if sets[skip.variable.upper()] <= unbound:
            raise self.fail(skip.span, f"{skip.variable} has no row in a match: it is what must not follow")
        return skip.to, sets[skip.variable.upper()]

    def _plain_column(self, expr: n.Node, where: str) -> Column:
        if isinstance(expr, n.ColumnRef) and len(expr.parts) > 1:
            outer = self.schema.find(expr.parts[0])
            if outer is not None and outer.type.kind is Kind.ROW:
                problem = f"{where} takes columns, and {'.'.join(expr.parts)} is a field of one"
                raise self.fail(expr.span, f"{problem}: make it a column of the table, or of a query below this one")
        if not isinstance(expr, n.ColumnRef) or len(expr.parts) > 2:
            raise self.fail(expr.span, f"{where} takes columns only")
        column = find_column(self.schema, expr.parts[-1], self.text, expr.span)
        if column.type.kind in (Kind.ARRAY, Kind.MAP, Kind.ROW):
            raise self.fail(
                expr.span, f"{where} takes plain values; {column.name} is {column.type.with_nullable(True)}"
            )
        return column

    def _order(self) -> list[OrderColumn]:
        flink = self.dialect is Dialect.FLINK
        order = []
        for item in self.clause.order_by:
            column = self._plain_column(item.expr, "ORDER BY")
            # Flink sorts NULL as the smallest value, Trino (and the recorded standard answers) as the last.
            first = item.nulls_first if item.nulls_first is not None else flink is not item.descending and flink
            order.append(OrderColumn(column, item.descending, first))
        if flink:
            time = self.schema.rowtime or self.schema.proctime
            if not order or order[0].column.name != time or order[0].descending:
                wanted = f"ORDER BY {time}" if time else "a table with a time attribute: WATERMARK FOR … or PROCTIME()"
                place = self.clause.order_by[0].expr.span if order else self.clause.span
                raise self.fail(place, f"rows of a stream are ordered by time, ascending: expected {wanted}")
        return order

    def _check_within(self, order: list[OrderColumn]) -> None:
        place = self.clause.within_span
        if self.clause.within_ms is not None and self.clause.within_ms <= 0:
            raise self.fail(place, "WITHIN must be longer than zero: no match could be shorter")
        time = order[0].column if order and not order[0].descending else None
        if time is None or (time.type.kind not in TIMESTAMPS and time.origin is not Origin.PROCTIME):
            raise self.fail(place, "WITHIN needs ORDER BY a time column, ascending")
        if time.name not in (self.schema.rowtime, self.schema.proctime):
            raise self.fail(place, f"WITHIN needs a table whose time attribute is {time.name}")

    def _check_flink(self, program: Program) -> None:
        """What Flink refuses because its automaton cannot do it."""
        pattern = self.clause.pattern
        last = pattern
        while isinstance(last, (Concat, Alternation)) and last.parts:
            last = last.parts[-1]
        if isinstance(last, Quantified) and not last.reluctant and isinstance(last.body, Variable):
            if last.maximum != last.minimum and (last.minimum, last.maximum) != (0, 1):
                shown = self.text[slice(*last.span)]
                problem = (
                    f"the last element cannot be greedy: a stream never ends, so {shown} would wait for ever; "
                    f"write {shown}? or add an element, or use dialect standard"
                )
                raise self.fail(last.span, problem)
        if program.states[0].accepts:
            problem = "the pattern can match without any row: Flink refuses that; dialect standard allows it"
            raise self.fail(pattern.span, problem)


def _walk_pattern(node: PatternNode) -> Iterable[PatternNode]:
    yield node
    if isinstance(node, (Concat, Alternation, Permute)):
        for part in node.parts:
            yield from _walk_pattern(part)
    elif isinstance(node, (Quantified, Exclusion, Absence)):
        yield from _walk_pattern(node.body)
