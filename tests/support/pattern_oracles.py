"""Row patterns by brute force: random patterns, conditions and rows, and enumerators that know nothing of automata.

Standard: all ways through the pattern, in order of preference; the first complete one is the match. Flink: all
labellings that its rules allow; the one complete at the earliest row, and of those the leftmost element with the most
rows (golden README, rules 1 to 7). Both with WITHIN, time-outs, ``NOT C`` at the end, and NO SKIP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from anomaly_app.expressions.typed import Dialect
from anomaly_app.limits import Limits
from anomaly_app.operators import MAX_WATERMARK, Finding, Layout
from anomaly_app.patterns.operator import PatternOperator
from anomaly_app.patterns.rule import Rule
from anomaly_app.schema import BIGINT, INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.sql import parse_statements

SCHEMA = Schema((Column("k", STRING), Column("v", INT), Column("n", BIGINT), Column("ts", TIMESTAMP_3)), rowtime="ts")
N = 4

Taken = tuple[tuple[str, int], ...]
"""Variable and place of each row; the last one is the current row."""

Condition = Callable[[list[Any], Taken], bool]
"""(values, rows) to whether the current row is taken."""

Conditions = dict[str, tuple[str, Condition]]
"""SQL and function of the variables that have a condition."""


class TooMany(Exception):
    """An enumerator, unlike the engine, is exponential."""


# --- conditions ---------------------------------------------------------------------------------------


def values_of(values: list[Any], taken: Taken, variable: str) -> list[Any]:
    return [values[place] for label, place in taken if label == variable]


def over(a: Any, b: Any) -> bool:
    return a is not None and b is not None and a > b


def more_than(x: str, other: str, k: int) -> tuple[str, Condition]:
    return f"{x}.v > {k}", lambda values, taken: over(values[taken[-1][1]], k)


def over_last(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], taken: Taken) -> bool:
        others = values_of(values, taken, other)
        return bool(others) and over(values[taken[-1][1]], others[-1])

    return f"{x}.v > LAST({other}.v)", holds


def over_second(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], taken: Taken) -> bool:
        others = values_of(values, taken, other)
        return len(others) > 1 and over(values[taken[-1][1]], others[1])

    return f"{x}.v > FIRST({other}.v, 1)", holds


def small_sum(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], taken: Taken) -> bool:
        present = [value for value in values_of(values, taken, x) if value is not None]
        return bool(present) and sum(present) < 3 * k

    return f"SUM({x}.v) < {3 * k}", holds


def few_others(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], taken: Taken) -> bool:
        return sum(value is not None for value in values_of(values, taken, other)) < k

    return f"COUNT({other}.v) < {k}", holds


def rising(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], taken: Taken) -> bool:
        place = taken[-1][1]
        return place > 0 and over(values[place], values[place - 1])

    return f"{x}.v > PREV({x}.v)", holds


def before_fall(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], taken: Taken) -> bool:
        place = taken[-1][1]
        return place + 1 < len(values) and over(values[place], values[place + 1])

    return f"{x}.v > NEXT({x}.v)", holds


Kind = Callable[[str, str, int], tuple[str, Condition]]
KINDS: list[Kind] = [more_than, over_last, over_second, small_sum, few_others, rising, before_fall]


def conditions(choose: Random, pattern: str, kinds: Sequence[Kind] = KINDS, always: str = "") -> Conditions:
    """Of the variables of a pattern, about no others; one without a condition takes every row."""
    chosen = {}
    for x, other in (("A", "B"), ("B", "A"), ("C", "B")):
        if choose.random() < 0.85 or x == always:
            sql, condition = choose.choice(kinds)(x, other, choose.randint(0, 4))
            if x in pattern and all(name in pattern for name in "ABC" if f"{name}.v" in sql):
                chosen[x] = sql, condition
    return chosen


# --- patterns and rows --------------------------------------------------------------------------------

QUANTIFIERS = [("*", 0, None), ("+", 1, None), ("?", 0, 1), ("{2}", 2, 2), ("{1,2}", 1, 2), ("{0,2}", 0, 2)]


def pattern_of(choose: Random, leaves: int, names: str = "AABBC") -> Any:
    """A pattern with so many places of variables."""
    if choose.random() < 0.35:
        return ("repeat", pattern_of(choose, leaves, names), choose.choice(QUANTIFIERS), choose.random() < 0.4)
    if leaves == 1:
        return ("var", choose.choice(names))
    cut = choose.randint(1, leaves - 1)
    parts = [pattern_of(choose, cut, names), pattern_of(choose, leaves - cut, names)]
    return ("concat" if choose.random() < 0.65 else "either", parts)


def text(node: Any) -> str:
    if node[0] == "var":
        return node[1]
    if node[0] == "repeat":
        return f"({text(node[1])}){node[2][0]}{'?' if node[3] else ''}"
    return "(" + (" " if node[0] == "concat" else " | ").join(map(text, node[1])) + ")"


Element = tuple[str, str, int, "int | None", bool]
"""Of a pattern of Flink: variable, quantifier as written, least and most rows, greedy."""


def elements_of(choose: Random, names: str) -> list[Element]:
    parts: list[Element] = []
    for name in names:
        quantifier, least, most = choose.choice([("", 1, 1), *QUANTIFIERS])
        reluctant = choose.random() < 0.5 and quantifier not in ("", "?")
        parts.append((name, quantifier + ("?" if reluctant else ""), least, most, not reluctant))
    return parts


class Given(NamedTuple):
    """Rows: values and event times in ms."""

    values: list[Any]
    times: list[int]


def rows_of(choose: Random) -> Given:
    values = [None if choose.random() < 0.1 else choose.randint(0, 5) for _ in range(choose.randint(1, 9))]
    return given(values, [choose.randint(1, 20) for _ in values])


def given(values: list[Any], gaps: list[int]) -> Given:
    """``gaps`` are how long after the one before each row comes."""
    return Given(values, [sum(gaps[: number + 1]) for number in range(len(values))])


# --- the engine ---------------------------------------------------------------------------------------

STRATEGIES = [
    {"single_run": True, "automaton": True},
    {"single_run": True, "automaton": False},
    {"single_run": False, "automaton": True},
    {"single_run": False, "automaton": False},
]


@dataclass(frozen=True, slots=True)
class Clause:
    """What is asked.

    Args:
        pattern: as text, with NOT.
        chosen: conditions.
        skip: behind AFTER MATCH.
        within: in ms.
        timeouts: time-outs are shown.
    """

    pattern: str
    chosen: Conditions
    skip: str = "SKIP PAST LAST ROW"
    within: int | None = None
    timeouts: bool = False

    @property
    def sql(self) -> str:
        defined = ", ".join(f"{name} AS {sql}" for name, (sql, _) in self.chosen.items())
        within = f" WITHIN INTERVAL '0.{self.within:03d}' SECOND" if self.within else ""
        return (
            "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES COUNT(*) AS c, MATCH_ROWTIME() AS at "
            f"ONE ROW PER MATCH {'SHOW TIMEOUT MATCHES ' * self.timeouts}AFTER MATCH {self.skip} "
            f"PATTERN ({self.pattern}){within}{' DEFINE ' if defined else ''}{defined})"
        )

    def rule(self, dialect: Dialect) -> Rule:
        (select,) = parse_statements(self.sql)
        return Rule(select.match, SCHEMA, self.sql, dialect)


Found = tuple[bool, int, tuple[tuple[str, int], ...]]
"""Timed out, event time, and variable and number of each row."""

LAYOUT = Layout(SCHEMA.columns)


def findings_by(
    rule: Rule, rows: Given, cuts: Sequence[int] = (), strategies: dict[str, bool] | None = None
) -> list[Finding]:
    """What the engine finds, in order; ``cuts`` are where batches begin."""
    if strategies is None:
        operator = rule.create(LAYOUT)
    else:
        operator = PatternOperator(rule.compile(LAYOUT), Limits(), **strategies)
    made = [(time, n, "x", value, n, time) for n, (value, time) in enumerate(zip(*rows, strict=True))]
    findings = []
    for start, end in pairwise([0, *cuts, len(made)]):
        findings += operator.process(made[start:end], made[end - 1][0])
    findings += operator.advance(MAX_WATERMARK)
    assert not operator.problems
    return findings


def found_by(rule: Rule, rows: Given, strategies: dict[str, bool] | None = None) -> list[Found]:
    return [
        (f.timed_out, f.time, tuple((label, row[N]) for label, row in f.bindings))
        for f in findings_by(rule, rows, strategies=strategies)
    ]


# --- random clauses ------------------------------------------------------------------------------------

Case = Callable[[Random], "tuple[Clause, Any, str]"]
"""A random clause, its pattern for the enumerator, and the variable behind NOT."""

SKIPS = ["SKIP PAST LAST ROW", "SKIP TO NEXT ROW"]
WITHIN = [None, 30]
BEYOND = [*SKIPS, "NO SKIP"]


def standard_case(choose: Random) -> tuple[Clause, Any, str]:
    pattern = pattern_of(choose, choose.randint(1, 4))
    chosen = conditions(choose, text(pattern))
    return Clause(text(pattern), chosen, choose.choice(SKIPS), choose.choice(WITHIN)), pattern, ""


def flink_case(choose: Random) -> tuple[Clause, Any, str]:
    parts = elements_of(choose, "ABC"[: choose.randint(2, 3)])
    pattern = " ".join(name + quantifier for name, quantifier, *_ in parts)
    return Clause(pattern, conditions(choose, pattern), choose.choice(SKIPS), choose.choice(WITHIN)), parts, ""


def beyond(choose: Random, dialect: Dialect) -> tuple[Clause, Any, str]:
    """At least one of time-outs, absence and NO SKIP."""
    skip, timeouts = choose.choice(BEYOND), choose.random() < 0.5
    absent = "C" if choose.random() < 0.5 or not (timeouts or skip == "NO SKIP") else ""
    if dialect is Dialect.FLINK:
        parts: Any = elements_of(choose, "AB" if absent else "ABC"[: choose.randint(2, 3)])
        pattern = " ".join(name + quantifier for name, quantifier, *_ in parts)
    else:
        parts = pattern_of(choose, choose.randint(1, 3), "AABBC" if choose.random() < 0.5 or not absent else "AB")
        pattern = text(parts)
    if absent:
        pattern = f"{pattern} NOT {absent}"
    within = choose.choice([20, 30, 50]) if timeouts or absent else choose.choice(WITHIN)
    return Clause(pattern, conditions(choose, pattern, always=absent), skip, within, timeouts), parts, absent


# --- one start ----------------------------------------------------------------------------------------

Ways = tuple[list[Taken], "Taken | None"]
"""Complete ways from a start, the preferred first, and the preferred one that wants a row where time is over."""


def standard_ways(node: Any, absent: str, clause: Clause, values: list[Any], start: int, stop: int) -> Ways:
    left: list[Taken] = []
    tried = 0

    def take(taken: Taken, label: str) -> bool:
        nonlocal tried
        tried += 1
        if tried > 5_000:
            raise TooMany
        place = start + len(taken)
        if place >= stop:
            left.append(taken)
            return False
        return holds(clause, values, taken, label, place)

    complete: dict[Taken, None] = {}  # without repetitions, in order
    for taken in ways(node, (), take, start):
        if not absent or stays_away(clause, values, taken, absent, start + len(taken), stop):
            complete[taken] = None
            if clause.skip != "NO SKIP":
                break
    return list(complete), left[0] if left else None


def holds(clause: Clause, values: list[Any], taken: Taken, label: str, place: int) -> bool:
    condition = clause.chosen.get(label)
    return condition is None or condition[1](values, (*taken, (label, place)))


def stays_away(clause: Clause, values: list[Any], taken: Taken, absent: str, place: int, stop: int) -> bool:
    return not any(holds(clause, values, taken, absent, at) for at in range(place, stop))


def ways(node: Any, taken: Taken, take: Callable[[Taken, str], bool], start: int) -> Iterator[Taken]:
    """All ways through a pattern, the preferred first; ``take`` tells whether the next row may carry a label."""
    if node[0] == "var":
        if take(taken, node[1]):
            yield (*taken, (node[1], start + len(taken)))
    elif node[0] == "concat":
        first, *rest = node[1]
        for after in ways(first, taken, take, start):
            if rest:
                yield from ways(("concat", rest), after, take, start)
            else:
                yield after
    elif node[0] == "either":
        for part in node[1]:
            yield from ways(part, taken, take, start)
    else:
        _, body, (_, least, most), reluctant = node
        yield from repeated(body, least, most, reluctant, 0, taken, take, start)


def repeated(body, least, most, reluctant, done, taken, take, start) -> Iterator[Taken]:
    if reluctant and done >= least:
        yield taken
    if most is None or done < most:
        for after in ways(body, taken, take, start):
            if after == taken and done >= least:
                yield after  # an iteration without a row, beyond the minimum, is the last one
            else:
                yield from repeated(body, least, most, reluctant, done + 1, after, take, start)
    if not reluctant and done >= least:
        yield taken


def flink_ways(parts: list[Element], absent: str, clause: Clause, values: list[Any], start: int, stop: int) -> Ways:
    complete: list[tuple[tuple[int, ...], Taken]] = []
    left: list[tuple[tuple[int, ...], Taken]] = []
    tried = 0

    def fits(taken: Taken, label: str) -> bool:
        nonlocal tried
        tried += 1
        if tried > 5_000:
            raise TooMany
        return holds(clause, values, taken, label, start + len(taken))

    def go(place: int, count: int, counts: tuple[int, ...], taken: Taken, barred: tuple[str, ...]) -> None:
        at_stop = start + len(taken) >= stop
        if place == len(parts):
            # A way that has to wait for NOT leaves its last loop only as one that goes on would.
            blocked = absent and not at_stop and any(fits(taken, other) for other in barred)
            if not blocked and (not absent or stays_away(clause, values, taken, absent, start + len(taken), stop)):
                complete.append((counts, taken))
            return
        name, _, least, most, greedy = parts[place]
        if most is None or count < most:
            if at_stop:
                left.append(((*counts, count), taken))
            elif not any(fits(taken, other) for other in barred) and fits(taken, name):
                go(place, count + 1, counts, (*taken, (name, start + len(taken))), ())
        if count >= least:
            loops = greedy and most != least and (least, most) != (0, 1)
            go(place + 1, 0, (*counts, count), taken, (*barred, name) if loops else barred)

    go(0, 0, (), (), ())
    complete.sort(key=lambda way: way[0], reverse=True)
    return [taken for _, taken in complete], max(left, default=(0, None))[1]


# --- a clause -----------------------------------------------------------------------------------------


def expected(dialect: Dialect, pattern: Any, clause: Clause, rows: Given, *, absent: str = "") -> list[Found]:
    """What the clause gives over the rows, in order; ``pattern`` is a tree (standard) or elements (Flink)."""
    values, times = rows
    found: list[tuple[Any, Found]] = []
    ahead = any("NEXT" in condition for condition, _ in clause.chosen.values())

    def seen(place: int) -> tuple[int, int, int]:
        """When a row is taken: with NEXT, when the one behind it comes."""
        place = min(place + ahead, len(values) - 1)
        return times[place], 0, place

    start = 0
    while start < len(values):
        deadline = times[start] + clause.within if clause.within is not None else None
        stop = len(values)
        if deadline is not None:
            stop = next((k for k in range(start, stop) if times[k] >= deadline), stop)
        ways_of = flink_ways if dialect is Dialect.FLINK else standard_ways
        complete, left = ways_of(pattern, absent, clause, values, start, stop)
        if clause.skip != "NO SKIP":
            if dialect is Dialect.FLINK:
                complete.sort(key=len)
            complete = complete[:1]
        over = max(seen(stop - 1), (deadline, 1, start)) if deadline is not None else None
        for order, taken in enumerate(complete):
            ended = times[taken[-1][1]] if taken else times[start]
            last = taken[-1][1] if taken else start
            decided = (over, stop - 1, 1) if absent else (seen(last), last, 0)
            found.append(((*decided, start, order), (False, deadline if absent else ended, taken)))
        if not complete and left is not None:
            if deadline is None and dialect is Dialect.FLINK and clause.skip != "NO SKIP":
                break  # it may go on for good: what began later never comes out
            if clause.timeouts:
                found.append(((over, stop - 1, 1, start, 0), (True, deadline, left)))
        skips = clause.skip == "SKIP PAST LAST ROW" and complete and complete[0]
        start += len(complete[0]) if skips else 1
    if clause.skip == "NO SKIP":
        found.sort(key=lambda entry: entry[0])
    return [entry for _, entry in found]
