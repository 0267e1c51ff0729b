"""Random patterns over random rows against enumerators that know nothing of automata.

Standard: all ways through the pattern, tried in order of preference; the first complete one is the match. Flink: all
labellings that its rules allow; the one complete at the earliest row, and of those the leftmost element with the most
rows (golden README, rules 1 to 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given, settings, strategies as st

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


KINDS = [more_than, over_last, over_second, small_sum, few_others, rising]


@st.composite
def conditions(draw: Any) -> dict[str, tuple[str, Condition]]:
    """Of up to three variables; one without a condition takes every row."""
    chosen = {}
    for x, other in (("A", "B"), ("B", "A"), ("C", "B")):
        kind = draw(st.sampled_from([None, *KINDS]))
        if kind is not None:
            chosen[x] = kind(x, other, draw(st.integers(0, 4)))
    return chosen


rows_of = st.lists(st.one_of(st.none(), st.integers(0, 5), st.integers(0, 5)), max_size=8)
gaps_of = st.lists(st.integers(1, 20), min_size=8, max_size=8)


def found_by(sql: str, dialect: Dialect, values: list[Any], gaps: list[int], **options: Any) -> list[list[Any]]:
    """(variable, number of the row) of every match, in order."""
    (select,) = parse_statements(sql)
    rule = Rule(select.match, SCHEMA, sql, dialect, **options)
    time, rows = 0, []
    for number, (value, gap) in enumerate(zip(values, gaps, strict=False)):
        time += gap
        rows.append((time, number, "x", value, number, time))
    operator = rule.create(Layout(SCHEMA.columns))
    findings = operator.process(rows, time) if rows else []
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

variable = st.sampled_from("ABC").map(lambda name: ("var", name))


def bigger(inner: Any) -> Any:
    return st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: ("concat", parts)),
        st.lists(inner, min_size=2, max_size=2).map(lambda parts: ("either", parts)),
        st.tuples(st.just("repeat"), inner, st.sampled_from(QUANTIFIERS), st.booleans()),
    )


patterns = st.recursive(variable, bigger, max_leaves=5)


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
    matches, start = [], 0
    while start < len(values):

        def take(labels: Labels, start: int = start) -> bool:
            if start + len(labels) > len(values):
                return False
            condition = chosen.get(labels[-1])
            return condition is None or condition[1](values, start, labels)

        found = next(ways(node, (), take), None)
        if found is not None:
            matches.append([(label, start + place) for place, label in enumerate(found)])
        start += len(found) if found and skip == "PAST LAST ROW" else 1
    return matches


SKIPS = st.sampled_from(["PAST LAST ROW", "TO NEXT ROW"])


@settings(max_examples=400, deadline=None)
@given(pattern=patterns, chosen=conditions(), values=rows_of, gaps=gaps_of, skip=SKIPS)
def test_standard(pattern, chosen, values, gaps, skip):
    chosen = usable(chosen, text(pattern))
    sql = clause(text(pattern), chosen, skip)
    expected = standard_matches(pattern, chosen, values, skip)
    for single_run in (True, False):
        assert found_by(sql, Dialect.STANDARD, values, gaps, single_run=single_run) == expected, sql


# --- Flink --------------------------------------------------------------------------------------------

Element = tuple[str, str, int, "int | None", bool]
"""Variable, quantifier as written, least and most rows, greedy."""

elements = st.tuples(
    st.sampled_from([("", 1, 1), *QUANTIFIERS]), st.booleans()
).map(lambda drawn: (drawn[0][0], drawn[0][1], drawn[0][2], drawn[1]))  # fmt: skip


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
        name, quantifier, least, most, greedy = parts[place]
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


@settings(max_examples=400, deadline=None)
@given(
    drawn=st.lists(elements, min_size=1, max_size=3),
    chosen=conditions(),
    values=rows_of,
    gaps=gaps_of,
    skip=SKIPS,
    within=st.sampled_from([None, 30]),
)
def test_flink(drawn, chosen, values, gaps, skip, within):
    parts: list[Element] = []
    for name, (quantifier, least, most, greedy) in zip("ABC", drawn, strict=False):
        reluctant = not greedy and quantifier not in ("", "?")
        parts.append((name, quantifier + ("?" if reluctant else ""), least, most, not reluctant))
    pattern = " ".join(name + quantifier for name, quantifier, *_ in parts)
    time = f" WITHIN INTERVAL '0.0{within}' SECOND" if within else ""
    chosen = usable(chosen, pattern)
    sql = clause(pattern, chosen, skip, time)
    times = [sum(gaps[: number + 1]) for number in range(len(values))]
    try:
        found = found_by(sql, Dialect.FLINK, values, gaps)
    except SqlValidationError as error:
        assert "the last element cannot be greedy" in str(error) or "can match without any row" in str(error)
        return
    expected = flink_matches(parts, chosen, values, times, skip, within)
    assert found == expected, sql
    assert found_by(sql, Dialect.FLINK, values, gaps, single_run=False) == expected, sql
