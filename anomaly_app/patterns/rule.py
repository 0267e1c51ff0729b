"""A row pattern rule: a checked clause, compiled, that makes operators."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Protocol

from anomaly_app.expressions.typed import Dialect
from anomaly_app.limits import Limits
from anomaly_app.operators import POSITION, TIME, Layout, Row
from anomaly_app.patterns.all_ways import AllWaysOperator
from anomaly_app.patterns.clause import OrderColumn, check_clause
from anomaly_app.patterns.compiled import CompiledRule
from anomaly_app.patterns.define import compile_define
from anomaly_app.patterns.measures import compile_measures
from anomaly_app.patterns.operator import PatternOperator
from anomaly_app.schema import Column, Schema
from anomaly_app.sql.row_pattern import MatchRecognize, SkipTo


class Projection(Protocol):
    """What a query does with the output rows of the clause: its SELECT list and WHERE."""

    @property
    def output(self) -> tuple[Column, ...]:
        """Columns of the query."""
        ...

    @property
    def apply(self) -> Callable[[tuple[Any, ...]], tuple[Any, ...] | None]:
        """An output row of the clause to one of the query; None if WHERE does not hold."""
        ...


class Rule:
    """A bound MATCH_RECOGNIZE query: an :class:`~anomaly_app.operators.OperatorFactory`.

    Args:
        clause: the tree.
        schema: of the table.
        text: the whole statement, for errors.
        dialect: whose semantics.
        project: makes the query's projection from the output columns of the clause; None for ``SELECT *``.
        in_order: the output columns are those of the clause in their order, though a sink may name them differently.
        limits: on what an operator may hold.
        single_run: use the strategy for patterns with one way to go on where it applies; False for tests.
        automaton: use the strategy for conditions that see no labels where it applies; False for tests.
        reads_log: its rows are those of a source that can be read again; else all that are held are stored.

    Raises:
        SqlValidationError: the clause means nothing, or nothing that is supported.
    """

    needs_order = True
    detects = True

    def __init__(
        self,
        clause: MatchRecognize,
        schema: Schema,
        text: str,
        dialect: Dialect,
        *,
        project: Callable[[tuple[Column, ...]], Projection | None] | None = None,
        in_order: bool = False,
        limits: Limits | None = None,
        single_run: bool = True,
        automaton: bool = True,
        reads_log: bool = True,
    ) -> None:
        self.reads_log = reads_log
        self.checked = check_clause(clause, schema, text, dialect)
        self.limits = limits or Limits()
        self.single_run, self.automaton = single_run, automaton
        self._compiled: dict[Layout, CompiledRule] = {}
        self._projection: Projection | None = None
        whole = self.compile(Layout(schema.columns))
        self._projection = project(whole.measures.output) if project is not None else None
        self.output: Sequence[Column] = self._projection.output if self._projection else whole.measures.output
        self.measures = self._measure_texts(whole.measures.output) if in_order or not self._projection else {}
        self._compiled.clear()
        self.reads: Sequence[str] = tuple(column.name for column in schema.columns if column.name in whole.reads)

    # --- the operator contract ----------------------------------------------------------------------

    @property
    def partition_by(self) -> Sequence[str]:
        """Names of the columns that key the rule."""
        return tuple(column.name for column in self.checked.partition_by)

    def create(self, layout: Layout) -> PatternOperator:
        """A fresh operator for rows of that layout."""
        if self.checked.skip_to is SkipTo.NO_SKIP:
            return AllWaysOperator(self.compile(layout), self.limits)
        return PatternOperator(self.compile(layout), self.limits, single_run=self.single_run, automaton=self.automaton)

    def order_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """Orders rows of equal event time by the further ORDER BY columns; None without."""
        order = self.checked.order_by
        if not self.checked.in_time_order or len(order) < 2:
            return None
        return _sort_key(order[1:], layout, by_time=True)

    def sort_key(self, layout: Layout) -> Callable[[Row], Any] | None:
        """Orders a whole bounded input where ORDER BY does not begin with the time attribute; None otherwise."""
        if self.checked.in_time_order or not self.checked.order_by:
            return None
        return _sort_key(self.checked.order_by, layout, by_time=False)

    # --- for people ---------------------------------------------------------------------------------

    @property
    def definitions(self) -> dict[str, str]:
        """Text of the DEFINE condition of each pattern variable, "" if it has none."""
        checked = self.checked
        texts = dict.fromkeys(checked.program.labels, "")
        for number, condition in checked.conditions.items():
            texts[checked.program.labels[number]] = _collapsed(checked.text[slice(*condition.span)])
        return texts

    @property
    def pattern_text(self) -> str:
        """Text of the pattern in parentheses, with WITHIN."""
        clause, text = self.checked.clause, self.checked.text
        within = f" {text[slice(*clause.within_span)]}" if clause.within_ms is not None else ""
        return _collapsed(f"({text[slice(*clause.pattern.span)]}){within}")

    @property
    def all_rows(self) -> bool:
        """Whether a match gives one output row for each of its rows, so that measures are running ones."""
        return self.checked.all_rows

    def _measure_texts(self, columns: Sequence[Column]) -> dict[str, str]:
        """Names of the output columns that are measures, and the text of each."""
        checked = self.checked
        texts = {
            measure.name: _collapsed(checked.text[slice(*measure.expr.span)]) for measure in checked.clause.measures
        }
        keys = {column.name for column in checked.partition_by}
        named = zip(self.output, columns, strict=True)
        return {out.name: texts[column.name] for out, column in named if column.name in texts.keys() - keys}

    @property
    def description(self) -> str:
        """One line about the rule."""
        return f"row pattern {self.pattern_text}"

    # --- compilation --------------------------------------------------------------------------------

    def compile(self, layout: Layout) -> CompiledRule:
        """The rule for rows of a layout; compiled once."""
        known = self._compiled.get(layout)
        if known is None:
            known = self._compiled[layout] = self._compile(layout)
        return known

    def _compile(self, layout: Layout) -> CompiledRule:
        checked = self.checked
        indexes = [layout.index(column.name) for column in checked.partition_by]
        key_of: Callable[[Row], Any] = itemgetter(*indexes) if indexes else _no_key
        further = self.order_key(layout) or self.sort_key(layout)
        return CompiledRule(
            checked,
            layout,
            compile_define(checked, layout),
            compile_measures(checked, layout),
            self._projection.apply if self._projection else None,
            key_of,
            len(indexes) == 1,
            functools.partial(_in_order, further) if further is not None else itemgetter(TIME, POSITION),
            self.reads_log,
        )


def _no_key(row: Row) -> tuple[()]:
    return ()


def _in_order(order: Callable[[Row], Any], row: Row) -> tuple[Any, ...]:
    return (*order(row), row[POSITION])


def _collapsed(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


class _Descending:
    """A value that sorts the other way round."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and bool(other.value == self.value)

    def __hash__(self) -> int:
        return hash(self.value)


def _sort_key(order: Sequence[OrderColumn], layout: Layout, *, by_time: bool) -> Callable[[Row], Any]:
    """Sort key of some columns, behind the event time if ``by_time``; NULLs where the clause wants them."""
    columns = [(layout.index(item.column.name), item.descending, item.nulls_first) for item in order]

    def key(row: Row) -> tuple[Any, ...]:
        parts: list[Any] = [row[TIME]] if by_time else []
        for index, descending, nulls_first in columns:
            value = row[index]
            if value is None:
                parts.append((not nulls_first, 0))
            else:
                parts.append((nulls_first, _Descending(value) if descending else value))
        return tuple(parts)

    return key
