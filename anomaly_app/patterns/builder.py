"""Row patterns written in Python: a builder that makes the text of a query and nothing else. Expressions are SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypedDict, Unpack

from anomaly_app.errors import SqlSyntaxError, SqlValidationError
from anomaly_app.expressions.parser import parse_expression
from anomaly_app.expressions.tokens import tokenize
from anomaly_app.sql.row_pattern import RowsPerMatch


class Repeat(TypedDict, total=False):
    """How often a step is taken: ``times`` exactly, or from ``at_least`` to ``at_most``; if reluctant, rather fewer."""

    times: int
    at_least: int
    at_most: int
    reluctant: bool


@dataclass(frozen=True, slots=True)
class Pattern:
    """A row pattern. Every method gives a new one; start with :meth:`begin`, :meth:`either` or :meth:`any_order`.

    Errors of syntax are raised where the expression is given, others (types, names) by :func:`anomaly_app.query`;
    both point into the expression.

    Example:
        >>> unusual = (
        ...     Pattern.begin("A", at_least=1, reluctant=True)
        ...     .then("B").where("B.qty > 3 * AVG(A.qty)")
        ...     .within(seconds=10).partition_by("user_id").order_by("ts")
        ...     .measure(qty="B.qty").skip_past_last_row()
        ... )
        >>> print(unusual.sql("sales"))
        SELECT * FROM sales MATCH_RECOGNIZE (
          PARTITION BY user_id
          ORDER BY ts
          MEASURES
            B.qty AS qty
          ONE ROW PER MATCH
          AFTER MATCH SKIP PAST LAST ROW
          PATTERN (A+? B) WITHIN INTERVAL '10' SECOND
          DEFINE
            B AS B.qty > 3 * AVG(A.qty)
        )
    """

    text: str
    variable: str = ""
    conditions: tuple[tuple[str, str], ...] = ()
    measures: tuple[tuple[str, str], ...] = ()
    subsets: tuple[str, ...] = ()
    partition: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    rows: RowsPerMatch = RowsPerMatch.ONE
    skip: str = ""
    bound: str = ""
    timeouts: bool = False

    @classmethod
    def begin(cls, step: str | Pattern, **repeat: Unpack[Repeat]) -> Pattern:
        """The first step; the arguments are those of :meth:`then`."""
        return cls("").then(step, **repeat)

    @classmethod
    def either(cls, *steps: str | Pattern) -> Pattern:
        """One of the steps, the first one preferred."""
        return cls(f"({' | '.join(map(_text, steps))})", conditions=_conditions(steps))

    @classmethod
    def any_order(cls, *steps: str | Pattern) -> Pattern:
        """All steps, in any order (PERMUTE)."""
        return cls(f"PERMUTE({', '.join(map(_text, steps))})", conditions=_conditions(steps))

    def then(self, step: str | Pattern, **repeat: Unpack[Repeat]) -> Pattern:
        """A further step.

        Args:
            step: a pattern variable, or a pattern as a group; of a group only steps and conditions count.
            repeat: how often, see :class:`Repeat`; once if nothing is said.
        """
        variable, text = (step, _text(step)) if isinstance(step, str) else ("", f"({step.text})")
        text = f"{self.text} {text}{_quantifier(repeat)}".lstrip()
        return replace(self, text=text, variable=variable, conditions=self.conditions + _conditions([step]))

    def never(self, variable: str) -> Pattern:
        """At the end: no row of the variable until the time of :meth:`within` has passed (``NOT v``)."""
        return replace(self, text=f"{self.text} NOT {_text(variable)}", variable=variable)

    def where(self, condition: str) -> Pattern:
        """The condition of the last step's variable, a SQL expression; called again, all must hold."""
        if not self.variable:
            raise SqlValidationError("where() is about one variable: the last step is a group or there is none")
        return replace(self, conditions=(*self.conditions, (self.variable, _expression(condition))))

    def subset(self, **members: Sequence[str]) -> Pattern:
        """Names for several variables together, as in ``subset(U=("A", "B"))``."""
        made = tuple(f"{name} = ({', '.join(names)})" for name, names in members.items())
        return replace(self, subsets=self.subsets + made)

    def within(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, show_timeouts: bool = False
    ) -> Pattern:
        """The last row comes less than that after the first, to the millisecond; attempts that it ends may be shown."""
        span = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        number = f"{span:.3f}".rstrip("0").rstrip(".")
        bound = f" WITHIN INTERVAL '{number}' SECOND" + ("(9)" if span >= 100 else "")
        return replace(self, bound=bound, timeouts=show_timeouts)

    def partition_by(self, *columns: str) -> Pattern:
        """Columns that key the rows."""
        return replace(self, partition=columns)

    def order_by(self, *columns: str) -> Pattern:
        """The time column; and perhaps more columns, for rows of equal time."""
        return replace(self, order=columns)

    def measure(self, **expressions: str) -> Pattern:
        """Columns of the output: names and SQL expressions."""
        made = tuple((name, _expression(text)) for name, text in expressions.items())
        return replace(self, measures=self.measures + made)

    def all_rows(self, *, empty_matches: bool = True, unmatched_rows: bool = False) -> Pattern:
        """One output row for each row of a match, in place of one for the match."""
        some = RowsPerMatch.ALL_SHOW_EMPTY if empty_matches else RowsPerMatch.ALL_OMIT_EMPTY
        return replace(self, rows=RowsPerMatch.ALL_UNMATCHED if unmatched_rows else some)

    def no_skip(self) -> Pattern:
        """Every way through the rows from every row is a match."""
        return replace(self, skip="NO SKIP")

    def skip_past_last_row(self) -> Pattern:
        """After a match, go on behind its last row."""
        return replace(self, skip="SKIP PAST LAST ROW")

    def skip_to_next_row(self) -> Pattern:
        """After a match, go on at its second row."""
        return replace(self, skip="SKIP TO NEXT ROW")

    def skip_to(self, variable: str, *, first: bool = False) -> Pattern:
        """After a match, go on at the last (or first) row of a variable or subset."""
        return replace(self, skip=f"SKIP TO {'FIRST' if first else 'LAST'} {variable}")

    def sql(self, table: str) -> str:
        """The query over a table."""
        defined: dict[str, str] = {}
        for name, text in self.conditions:
            defined[name] = f"({defined[name]}) AND ({text})" if name in defined else text
        clauses = [
            f"PARTITION BY {', '.join(self.partition)}" if self.partition else "",
            f"ORDER BY {', '.join(self.order)}" if self.order else "",
            _listed("MEASURES", [f"{text} AS {name}" for name, text in self.measures]),
            self.rows.value + " SHOW TIMEOUT MATCHES" * self.timeouts,
            f"AFTER MATCH {self.skip}" if self.skip else "",
            f"PATTERN ({self.text}){self.bound}",
            f"SUBSET {', '.join(self.subsets)}" if self.subsets else "",
            _listed("DEFINE", [f"{name} AS {condition}" for name, condition in defined.items()]),
        ]
        return f"SELECT * FROM {table} MATCH_RECOGNIZE (\n  " + "\n  ".join(filter(None, clauses)) + "\n)"


def _text(step: str | Pattern) -> str:
    """A step in the pattern; raises SqlSyntaxError for a text that is not one variable."""
    if isinstance(step, Pattern):
        return step.text
    if [token.kind for token in tokenize(step)] not in (["word", "end"], ["quoted", "end"]):
        raise SqlSyntaxError("expected the name of a pattern variable", step, 0, len(step))
    return step


def _conditions(steps: Sequence[str | Pattern]) -> tuple[tuple[str, str], ...]:
    return tuple(pair for step in steps if isinstance(step, Pattern) for pair in step.conditions)


def _quantifier(repeat: Repeat) -> str:
    times, least, most = repeat.get("times"), repeat.get("at_least"), repeat.get("at_most")
    if times is least is most is None:
        return ""
    if times is not None and not least is most is None:
        raise SqlSyntaxError("times goes neither with at_least nor with at_most")
    low, high = (least or 0, most) if times is None else (times, times)
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((low, high))
    many = f"{{{low}}}" if low == high else f"{{{low},{'' if high is None else high}}}"
    return (short or many) + ("?" if repeat.get("reluctant") else "")


def _expression(text: str) -> str:
    """The text of an expression without comments around it; raises SqlSyntaxError if it is none."""
    parse_expression(text)
    tokens = tokenize(text)  # the last one is the end
    return text[tokens[0].span.start : tokens[-2].span.end]


def _listed(clause: str, items: Sequence[str]) -> str:
    return f"{clause}\n    " + ",\n    ".join(items) if items else ""
