"""What every operator must keep to (see :class:`anomaly_app.operators.Operator`), as checks for its tests.

::

    check_contract(lambda: factory.create(layout), rows)

raises AssertionError if the operator's findings depend on how the rows were cut into batches, if state restored after
any row gives another future, or if ``changes()`` writes more than the rows that came in can explain. That is for rows
in order of event time; :func:`check_arrivals` does the same with rows as they come, late ones among them, for operators
that do not need the order.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from anomaly_app.operators import COLUMNS, MAX_WATERMARK, MIN_WATERMARK, TIME, Arrivals, Finding, Operator, Row

Create = Callable[[], Operator]

Step = tuple[list[Row], int]
"""Rows and the watermark behind them."""


def steps_of(rows: Sequence[Row], order: Callable[[Row], Any] | None = None) -> list[Step]:
    """The finest steps: rows of one event time at once, since a watermark never parts them.

    ``order`` is what ``order_key`` of the factory gives.

    Example:
        >>> steps_of([(5, 0), (5, 1), (9, 2)])
        [([(5, 0), (5, 1)], 5), ([(9, 2)], 9)]
    """
    ordered = sorted(rows, key=order or (lambda row: row[TIME]))
    return [(list(group), time) for time, group in groupby(ordered, key=lambda row: row[TIME])]


def merged(steps: Sequence[Step], cuts: Sequence[int]) -> Iterator[Step]:
    """Coarser steps, cut in front of these numbers of steps."""
    for start, end in zip([0, *cuts], [*cuts, len(steps)], strict=True):
        part = steps[start:end]
        if part:
            yield [row for rows, _ in part for row in rows], part[-1][1]


def told(finding: Finding) -> tuple[Any, ...]:
    """All that a finding says, to be compared."""
    return (
        finding.key,
        finding.time,
        finding.values,
        finding.last,
        tuple(finding.bindings),
        finding.number,
        (finding.alert, finding.score, finding.explanation, finding.timed_out),
    )


def check_contract(
    create: Create,
    rows: Sequence[Row],
    *,
    order: Callable[[Row], Any] | None = None,
    seed: int = 0,
    splits: int = 3,
    per_row: int = 4,
    time: bool = True,
) -> None:
    """Run all checks over some rows.

    Args:
        create: makes a fresh operator.
        rows: in order of position; event times in ms.
        order: what ``order_key`` of the factory gives.
        seed: of the random batches.
        splits: how many ways to cut the rows into batches.
        per_row: entries that a row may cost, see :func:`check_writes`.
        time: time may move between the rows, too.

    Raises:
        AssertionError: the operator breaks the contract; the message says how.
    """
    steps = steps_of(rows, order)
    expected = check_batches(create, steps, seed=seed, splits=splits)
    if time:
        check_time(create, steps, expected, seed=seed)
    check_restore(create, steps, expected, seed=seed)
    check_ids(expected)
    check_writes(create, steps, per_row=per_row)


def run(operator: Operator, steps: Sequence[Step] | Iterator[Step]) -> list[tuple[Any, ...]]:
    """Findings of some steps and of the end of the input."""
    found = [told(finding) for rows, watermark in steps for finding in operator.process(rows, watermark)]
    return found + [told(finding) for finding in operator.advance(MAX_WATERMARK)]


def check_batches(create: Create, steps: Sequence[Step], *, seed: int, splits: int) -> list[tuple[Any, ...]]:
    """Any batches give the same findings in the same order; gives them back."""
    expected = run(create(), steps)
    choose = random.Random(seed)
    for number in range(splits):
        cuts = sorted(choose.sample(range(1, len(steps)), choose.randrange(len(steps)))) if number and steps else []
        found = run(create(), merged(steps, cuts))
        assert found == expected, f"batches cut at {cuts} give other findings:\n{found}\ninstead of\n{expected}"
    return expected


def check_time(create: Create, steps: Sequence[Step], expected: Sequence[tuple[Any, ...]], *, seed: int = 0) -> None:
    """Time that moves between the rows gives the same findings, each as soon as time is that far."""
    choose = random.Random(seed)
    finer: list[Step] = []
    for number, step in enumerate(steps):
        following = steps[number + 1][1] if number + 1 < len(steps) else MAX_WATERMARK
        free = range(step[1] + 1, min(following, step[1] + 100))
        finer += [step, *(([], time) for time in sorted(choose.sample(free, min(2, len(free)))))]
    found = run(create(), finer)
    assert found == list(expected), f"with time moved between rows:\n{found}\ninstead of\n{list(expected)}"


def check_restore(create: Create, steps: Sequence[Step], expected: Sequence[tuple[Any, ...]], *, seed: int = 0) -> None:
    """State restored after any step gives the findings that were still to come.

    Where the source is the log, rows are fed again from the oldest needed one on, and (since another operator may
    need older ones) from the very first, and from somewhere between.
    """
    choose = random.Random(seed)
    operator = create()
    entries: dict[bytes, bytes] = {}
    before = 0
    past: list[Row] = []
    for number, (rows, watermark) in enumerate(steps):
        before += len(operator.process(rows, watermark))
        past += rows
        for key, value in operator.changes():
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        oldest = operator.oldest_time()
        needed = watermark + 1 if oldest is None else oldest
        between = choose.choice([row[TIME] for row in past])
        for start in dict.fromkeys((MIN_WATERMARK, min(between, needed), needed)):
            restored = create()
            restored.restore(list(entries.items()))
            if not restored.keeps_rows:
                restored.process([row for row in past if row[TIME] >= start], watermark)
                restored.problems.clear()
            for _ in restored.changes():
                pass
            future = run(restored, steps[number + 1 :])
            assert future == list(expected[before:]), (
                f"restored behind event time {watermark} (rows again from {start}):\n{future}\n"
                f"instead of\n{list(expected[before:])}"
            )


def check_ids(expected: Sequence[tuple[Any, ...]]) -> None:
    """Key, last row and number tell every finding from every other."""
    ids = [repr((key, last, number)) for key, _, _, last, _, number, _ in expected]
    assert len(set(ids)) == len(ids), f"two findings have one id: {sorted(i for i in ids if ids.count(i) > 1)[:2]}"


def check_writes(create: Create, steps: Sequence[Step], *, per_row: int = 4, size: int = 400) -> None:
    """What ``changes()`` gives grows with the rows that came in, not with those that are held.

    Args:
        create: makes a fresh operator.
        steps: rows.
        per_row: entries that a row may cost in all, once put and once deleted.
        size: bytes that an entry may have, per row that it came with.
    """
    operator = create()
    total = count = 0
    for rows, watermark in steps:
        findings = operator.process(rows, watermark)
        changes = list(operator.changes())
        count += len(rows) + len(findings)
        total += len(changes) - 1  # one entry per step is free: how far the operator has come
        assert total <= per_row * count, f"{total} entries for {count} rows and findings: held rows are written again"
        written = sum(len(key) + len(value or b"") for key, value in changes)
        allowed = size * (len(changes) + 1)
        assert written <= allowed, f"{written} bytes in {len(changes)} entries: an entry grows with the rows held"


# --- rows as they come ----------------------------------------------------------------------------------

Told = list[tuple[Any, ...]]
"""Findings and late rows of some batches, in order."""


def check_arrivals(
    create: Create,
    rows: Sequence[Row],
    *,
    delay_ms: int,
    seed: int = 0,
    splits: int = 3,
    per_row: int = 4,
    ordered: bool = True,
) -> None:
    """Run the checks for an operator that takes rows as they come.

    Args:
        create: makes a fresh operator.
        rows: in order of arrival, which is that of their positions, whatever their event times.
        delay_ms: bound on disorder: how far the watermark stays behind the greatest event time.
        seed: of the random batches.
        splits: how many ways to cut the rows into batches.
        per_row: entries that a row may cost, see :func:`check_writes`.
        ordered: findings come in one order, whatever the batches; else only which ones they are counts.

    Raises:
        AssertionError: the operator breaks the contract; the message says how.
    """

    def arranged(what: Told) -> Told:
        return sorted(what, key=(lambda one: one[0]) if ordered else repr)

    one_by_one = cut_into(rows, range(1, len(rows)), delay_ms)
    expected = arranged(arrive(create(), one_by_one))
    choose = random.Random(seed)
    for number in range(splits):
        cuts = sorted(choose.sample(range(1, len(rows)), choose.randrange(len(rows)))) if number and rows else []
        found = arranged(arrive(create(), cut_into(rows, cuts, delay_ms)))
        assert found == expected, f"batches cut at {cuts} give\n{found}\ninstead of\n{expected}"
    operator, written = create(), 0
    entries: dict[bytes, bytes] = {}
    before: Told = []
    for number, batch in enumerate(one_by_one):
        before += arrive(operator, [batch], end=False)
        changes = list(operator.changes())
        written += len(changes) - 1
        for key, value in changes:
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        assert written <= per_row * (number + 1 + len(before)), f"{written} entries for {number + 1} rows"
        restored = create()
        restored.restore(list(entries.items()))
        assert not list(restored.changes()), "what has been restored is written again"
        cuts = sorted(choose.sample(range(number + 2, len(rows)), min(2, max(0, len(rows) - number - 2))))
        future = arrive(restored, cut_into(rows, [number + 1, *cuts], delay_ms)[1:])
        both = arranged(before + future)
        assert both == expected, f"restored behind row {number}:\n{both}\ninstead of\n{expected}"
    check_ids([tuple(one) for kind, *one in expected if kind == "finding"])


def cut_into(rows: Sequence[Row], cuts: Sequence[int], delay_ms: int) -> list[Arrivals]:
    """Batches of rows, cut in front of these numbers of rows.

    Example:
        >>> [(batch.rows, batch.watermark) for batch in cut_into([(5_000, 0), (7_000, 1), (6_000, 2)], [1], 500)]
        [([(5000, 0)], 4500), ([(7000, 1), (6000, 2)], 6500)]
    """
    batches: list[Arrivals] = []
    watermark = highest = MIN_WATERMARK
    for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        batch = Arrivals(list(rows[start:end]), watermark=watermark, highest=highest, delay_ms=delay_ms)
        watermark, highest = batch.watermark, batch.highest
        batches.append(batch)
    return batches


def arrive(operator: Operator, batches: Sequence[Arrivals], *, end: bool = True) -> Told:
    """Findings and late rows (their time and position) of some batches, and of the end of the input."""
    found: Told = []
    late: Told = []
    for batch in batches:
        found += [("finding", *told(one)) for one in operator.process(batch.rows, batch.watermark, batch)]
        late += [("late", row[:COLUMNS]) for row in operator.late]
        operator.late.clear()
        inside = getattr(operator, "late_inside", [])  # of those that a task drives
        late += [("late inside", one.node, one.row[:COLUMNS], one.number) for one in inside]
        inside.clear()
    if end:
        found += [("finding", *told(one)) for one in operator.advance(MAX_WATERMARK)]
    return found + late
