"""Random patterns over random rows against enumerators that know nothing of automata.

Standard: all ways through the pattern, tried in order of preference; the first complete one is the match. Flink: all
labellings that its rules allow; the one complete at the earliest row, and of those the leftmost element with the most
rows (golden README, rules 1 to 7).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, reject, settings, strategies as st

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.typed import Dialect
from anomaly_app.operators import MAX_WATERMARK, Layout
from anomaly_app.patterns.rule import Rule
from anomaly_app.schema import BIGINT, INT, STRING, TIMESTAMP_3, Column, Schema
from anomaly_app.sql import parse_statements

SCHEMA = Schema((Column("k", STRING), Column("v", INT), Column("n", BIGINT), Column("ts", TIMESTAMP_3)), rowtime="ts")
V, N = 3, 4

Labels = tuple[str, ...]
Condition = Callable[[list[Any], int, Labels], bool]
"""(values, place of the first row, labels up to the current row) to whether the current row is taken."""


def values_of(values: list[Any], start: int, labels: Labels, variable: str) -> list[Any]:
    return [values[start + place] for place, label in enumerate(labels) if label == variable]


def over(a: Any, b: Any) -> bool:
    return a is not None and b is not None and a > b


def more_than(x: str, other: str, k: int) -> tuple[str, Condition]:
    return f"{x}.v > {k}", lambda values, start, labels: over(values[start + len(labels) - 1], k)


def over_last(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], start: int, labels: Labels) -> bool:
        others = values_of(values, start, labels, other)
        return bool(others) and over(values[start + len(labels) - 1], others[-1])

    return f"{x}.v > LAST({other}.v)", holds


def over_second(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], start: int, labels: Labels) -> bool:
        others = values_of(values, start, labels, other)
        return len(others) > 1 and over(values[start + len(labels) - 1], others[1])

    return f"{x}.v > FIRST({other}.v, 1)", holds


def small_sum(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], start: int, labels: Labels) -> bool:
        present = [value for value in values_of(values, start, labels, x) if value is not None]
        return bool(present) and sum(present) < 3 * k

    return f"SUM({x}.v) < {3 * k}", holds


def few_others(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], start: int, labels: Labels) -> bool:
        return sum(value is not None for value in values_of(values, start, labels, other)) < k

    return f"COUNT({other}.v) < {k}", holds


def rising(x: str, other: str, k: int) -> tuple[str, Condition]:
    def holds(values: list[Any], start: int, labels: Labels) -> bool:
        place = start + len(labels) - 1
        return place > 0 and over(values[place], values[place - 1])

    return f"{x}.v > PREV({x}.v)", holds


Kind = Callable[[str, str, int], tuple[str, Condition]]
KINDS: list[Kind] = [more_than, over_last, over_second, small_sum, few_others, rising]


def conditions(choose: Random, kinds: Sequence[Kind] = KINDS) -> dict[str, tuple[str, Condition]]:
    """Of up to three variables; one without a condition takes every row."""
    chosen = {}
    for x, other in (("A", "B"), ("B", "A"), ("C", "B")):
        if choose.random() < 0.85:
            chosen[x] = choose.choice(kinds)(x, other, choose.randint(0, 4))
    return chosen


def rows_of(choose: Random) -> tuple[list[int | None], list[int]]:
    """Values, and how long after the one before each row comes."""
    count = choose.randint(1, 9)
    values = [None if choose.random() < 0.1 else choose.randint(0, 5) for _ in range(count)]
    return values, [choose.randint(1, 20) for _ in range(count)]


# Seeds, since patterns drawn by hypothesis itself stay too small to tell anything.
seeds = st.integers(0, 1 << 40)


EXAMPLES_EACH = int(os.environ.get("ANOMALY_EXAMPLES", "400"))
EXAMPLES = settings(max_examples=EXAMPLES_EACH, deadline=None)
pytestmark = pytest.mark.timeout(max(60, EXAMPLES_EACH))


def found_by(
    sql: str, dialect: Dialect, values: list[Any], gaps: list[int], cuts: Sequence[int] = (), **options: Any
) -> list[list[Any]]:
    """(variable, number of the row) of every match, in order; ``cuts`` are where batches begin."""
    (select,) = parse_statements(sql)
    rule = Rule(select.match, SCHEMA, sql, dialect, **options)
    time, rows = 0, []
    for number, (value, gap) in enumerate(zip(values, gaps, strict=False)):
        time += gap
        rows.append((time, number, "x", value, number, time))
    operator = rule.create(Layout(SCHEMA.columns))
    findings = []
    for start, end in pairwise([0, *cuts, len(rows)]):
        findings += operator.process(rows[start:end], rows[end - 1][0])
    findings += operator.advance(MAX_WATERMARK)
    assert not operator.problems
    return [[(label, row[N]) for label, row in finding.bindings] for finding in findings]


def usable(chosen: dict[str, tuple[str, Condition]], pattern: str) -> dict[str, tuple[str, Condition]]:
    """The conditions of the variables in a pattern, if they are about no others."""
    return {
        name: (sql, condition)
        for name, (sql, condition) in chosen.items()
        if name in pattern and all(other in pattern for other in "ABC" if f"{other}.v" in sql)
    }


def clause(pattern: str, chosen: dict[str, tuple[str, Condition]], skip: str, within: str = "") -> str:
    define = f" DEFINE {', '.join(f'{name} AS {sql}' for name, (sql, _) in chosen.items())}" if chosen else ""
    return (
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES COUNT(*) AS c "
        f"AFTER MATCH SKIP {skip} PATTERN ({pattern}){within}{define})"
    )


# --- the standard -------------------------------------------------------------------------------------

QUANTIFIERS = [("*", 0, None), ("+", 1, None), ("?", 0, 1), ("{2}", 2, 2), ("{1,2}", 1, 2), ("{0,2}", 0, 2)]


def pattern_of(choose: Random, leaves: int) -> Any:
    """A pattern with so many places of variables."""
    if choose.random() < 0.35:
        return ("repeat", pattern_of(choose, leaves), choose.choice(QUANTIFIERS), choose.random() < 0.4)
    if leaves == 1:
        return ("var", choose.choice("AABBC"))
    cut = choose.randint(1, leaves - 1)
    parts = [pattern_of(choose, cut), pattern_of(choose, leaves - cut)]
    return ("concat" if choose.random() < 0.65 else "either", parts)


def text(node: Any) -> str:
    if node[0] == "var":
        return node[1]
    if node[0] == "repeat":
        return f"({text(node[1])}){node[2][0]}{'?' if node[3] else ''}"
    return "(" + (" " if node[0] == "concat" else " | ").join(map(text, node[1])) + ")"


def ways(node: Any, labels: Labels, take: Callable[[Labels], bool]) -> Iterator[Labels]:
    """All ways through a pattern, the preferred first; ``take`` tells whether the last label's row may carry it."""
    if node[0] == "var":
        if take((*labels, node[1])):
            yield (*labels, node[1])
    elif node[0] == "concat":
        first, *rest = node[1]
        for after in ways(first, labels, take):
            if rest:
                yield from ways(("concat", rest), after, take)
            else:
                yield after
    elif node[0] == "either":
        for part in node[1]:
            yield from ways(part, labels, take)
    else:
        _, body, (_, least, most), reluctant = node
        yield from repeated(body, least, most, reluctant, 0, labels, take)


def repeated(body, least, most, reluctant, done, labels, take) -> Iterator[Labels]:
    if reluctant and done >= least:
        yield labels
    if most is None or done < most:
        for after in ways(body, labels, take):
            if after == labels and done >= least:
                yield after  # an iteration without a row, beyond the minimum, is the last one
            else:
                yield from repeated(body, least, most, reluctant, done + 1, after, take)
    if not reluctant and done >= least:
        yield labels


def standard_matches(node: Any, chosen: dict[str, tuple[str, Condition]], values: list[Any], skip: str) -> list[Any]:
    matches, start, tried = [], 0, 0
    while start < len(values):

        def take(labels: Labels, start: int = start) -> bool:
            nonlocal tried
            tried += 1
            if tried > 20_000:
                reject()  # the enumerator, unlike the engine, is exponential
            if start + len(labels) > len(values):
                return False
            condition = chosen.get(labels[-1])
            return condition is None or condition[1](values, start, labels)

        found = next(ways(node, (), take), None)
        if found is not None:
            matches.append([(label, start + place) for place, label in enumerate(found)])
        start += len(found) if found and skip == "PAST LAST ROW" else 1
    return matches


STRATEGIES = [
    {},
    {"automaton": False},
    {"single_run": False},
    {"single_run": False, "automaton": False},
]
SKIPS = ["PAST LAST ROW", "TO NEXT ROW"]


@EXAMPLES
@given(seed=seeds)
def test_standard(seed):
    choose = Random(seed)
    pattern, skip = pattern_of(choose, choose.randint(1, 4)), choose.choice(SKIPS)
    chosen = usable(conditions(choose), text(pattern))
    values, gaps = rows_of(choose)
    sql = clause(text(pattern), chosen, skip)
    expected = standard_matches(pattern, chosen, values, skip)
    for strategies in STRATEGIES:
        assert found_by(sql, Dialect.STANDARD, values, gaps, **strategies) == expected, sql


def test_equal_states_with_other_rows_behind_them_are_both_followed():
    """BA is behind AA in preference and in the same state, but only with BA can C hold."""
    sql = clause("(A | B)+ C", {"C": ("FIRST(B.n) = 0", lambda *_: True)}, "PAST LAST ROW")
    found = found_by(sql, Dialect.STANDARD, [1, 1, 1], [1, 1, 1])
    assert found == [[("B", 0), ("A", 1), ("C", 2)]]


# --- Flink --------------------------------------------------------------------------------------------

Element = tuple[str, str, int, "int | None", bool]
"""Variable, quantifier as written, least and most rows, greedy."""


def flink_labellings(
    parts: list[Element], chosen: dict[str, tuple[str, Condition]], values: list[Any], start: int, stop: int
) -> tuple[list[tuple[tuple[int, ...], Labels]], bool]:
    """Complete labellings (rows of each element, labels) in front of ``stop``, and whether one is open there."""
    complete: list[tuple[tuple[int, ...], Labels]] = []
    still_open = False

    def holds(name: str, labels: Labels) -> bool:
        condition = chosen.get(name)
        return condition is None or condition[1](values, start, (*labels, name))

    def go(place: int, count: int, counts: tuple[int, ...], labels: Labels, barred: tuple[str, ...]) -> None:
        nonlocal still_open
        if place == len(parts):
            complete.append((counts, labels))
            return
        name, _, least, most, greedy = parts[place]
        at_stop = start + len(labels) >= stop
        if most is None or count < most:
            if at_stop:
                still_open = True
            elif not any(holds(other, labels) for other in barred) and holds(name, labels):
                go(place, count + 1, counts, (*labels, name), ())
        if count >= least:
            loops = greedy and most != least and (least, most) != (0, 1)
            go(place + 1, 0, (*counts, count), labels, (*barred, name) if loops else barred)

    go(0, 0, (), (), ())
    return complete, still_open


def flink_matches(parts, chosen, values, times, skip, within):
    matches, start = [], 0
    while start < len(values):
        stop = len(values)
        if within is not None:
            stop = next((k for k in range(start, len(values)) if times[k] - times[start] >= within), stop)
        complete, still_open = flink_labellings(parts, chosen, values, start, stop)
        length = 1
        if complete:
            earliest = min(len(labels) for _, labels in complete)
            _, labels = max((counts, labels) for counts, labels in complete if len(labels) == earliest)
            matches.append([(label, start + place) for place, label in enumerate(labels)])
            length = len(labels) if skip == "PAST LAST ROW" else 1
        elif still_open and within is None:
            break  # it may go on for good: what began later never comes out
        start += length
    return matches


@EXAMPLES
@given(seed=seeds)
def test_flink(seed):
    choose = Random(seed)
    skip, within = choose.choice(SKIPS), choose.choice([None, 30])
    parts: list[Element] = []
    for name in "ABC"[: choose.randint(2, 3)]:
        quantifier, least, most = choose.choice([("", 1, 1), *QUANTIFIERS])
        reluctant = choose.random() < 0.5 and quantifier not in ("", "?")
        parts.append((name, quantifier + ("?" if reluctant else ""), least, most, not reluctant))
    pattern = " ".join(name + quantifier for name, quantifier, *_ in parts)
    values, gaps = rows_of(choose)
    chosen = usable(conditions(choose), pattern)
    time = f" WITHIN INTERVAL '0.0{within}' SECOND" if within else ""
    sql = clause(pattern, chosen, skip, time)
    times = [sum(gaps[: number + 1]) for number in range(len(values))]
    try:
        found = found_by(sql, Dialect.FLINK, values, gaps)
    except SqlValidationError as error:
        assert "the last element cannot be greedy" in str(error) or "can match without any row" in str(error)
        return
    expected = flink_matches(parts, chosen, values, times, skip, within)
    assert found == expected, sql
    for strategies in STRATEGIES[1:]:
        assert found_by(sql, Dialect.FLINK, values, gaps, **strategies) == expected, sql


# --- strategies ---------------------------------------------------------------------------------------


@EXAMPLES
@given(seed=seeds)
def test_strategies_agree_on_long_inputs(seed):
    """More rows than an enumerator can take, in batches: attempts that fail late, and that meet earlier ones."""
    choose = Random(seed)
    dialect = choose.choice(list(Dialect))
    within = choose.choice([None, 30, 90])
    if dialect is Dialect.FLINK:
        parts = [name + choose.choice(["", "?", "*?", "+", "+?", "{1,3}"]) for name in "ABC"[: choose.randint(2, 3)]]
        pattern = " ".join(parts)
    else:
        pattern = text(pattern_of(choose, choose.randint(1, 5)))
    kinds = choose.choice([KINDS, [more_than, rising]])
    chosen = usable(conditions(choose, kinds), pattern)
    time = f" WITHIN INTERVAL '0.0{within}' SECOND" if within else ""
    sql = clause(pattern, chosen, choose.choice(SKIPS), time)
    high = choose.randint(1, 5)
    values = [None if choose.random() < 0.03 else choose.randint(0, high) for _ in range(60)]
    gaps = [choose.randint(1, 12) for _ in values]
    cuts = sorted(choose.sample(range(1, 60), choose.randint(0, 5)))
    try:
        expected = found_by(sql, dialect, values, gaps, single_run=False, automaton=False)
    except SqlValidationError:
        return
    for strategies in STRATEGIES[:-1]:
        assert found_by(sql, dialect, values, gaps, cuts, **strategies) == expected, sql
