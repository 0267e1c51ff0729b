"""Random patterns over random rows, against enumerators (``tests/support/pattern_oracles.py``).

ANOMALY_EXAMPLES is how many pairs of a pattern and rows each test tries; one pattern, which takes long to compile, is
run over several rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given as draw, settings, strategies as st
from pattern_oracles import (
    KINDS,
    SKIPS,
    STRATEGIES,
    Case,
    Clause,
    Given,
    TooMany,
    before_fall,
    beyond,
    conditions,
    expected,
    findings_by,
    flink_case,
    found_by,
    given,
    more_than,
    pattern_of,
    rising,
    rows_of,
    standard_case,
    text,
)

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.typed import Dialect

EXAMPLES = int(os.environ.get("ANOMALY_EXAMPLES", "5000"))
ROWS_EACH = 8
pytestmark = pytest.mark.timeout(max(60, EXAMPLES // 80))


def tried(check: Callable[[Random], int], examples: int = EXAMPLES) -> None:
    """Run a check, which gives how many pairs it has tried, on random seeds until there are enough."""
    count = 0

    # Seeds, since patterns drawn by hypothesis itself stay too small to tell anything; so there is nothing to shrink.
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @draw(seed=st.integers(0, 1 << 60))
    def run(seed: int) -> None:
        nonlocal count
        if count < examples:
            count += check(Random(seed))

    run()
    assert count >= examples


def fewest(rows: Given, differs: Callable[[Given], bool]) -> Given:
    """Rows of which none can be left out without the difference going away."""
    values, times = rows
    for place in range(len(values)):
        fewer = Given(values[:place] + values[place + 1 :], times[:place] + times[place + 1 :])
        if fewer.values and differs(fewer):
            return fewest(fewer, differs)
    return rows


def check_case(choose: Random, dialect: Dialect, case: Case, strategies: list[dict[str, bool] | None]) -> int:
    clause, pattern, absent = case(choose)
    try:
        rule = clause.rule(dialect)
    except SqlValidationError as error:
        refused = ("the last element cannot be greedy", "can match without any row", "can match none")
        assert any(reason in str(error) for reason in refused), error
        return 0
    pairs = 0
    for _ in range(ROWS_EACH):
        rows = rows_of(choose)
        try:
            wanted = expected(dialect, pattern, clause, rows, absent=absent)
        except TooMany:
            continue
        pairs += 1
        for some in strategies:
            if found_by(rule, rows, strategies=some) != wanted:
                _fail(rule, dialect, clause, pattern, absent, rows, some)
    return pairs


def _fail(rule, dialect, clause, pattern, absent, rows, strategies) -> None:
    def differs(fewer: Given) -> bool:
        wanted = expected(dialect, pattern, clause, fewer, absent=absent)
        return found_by(rule, fewer, strategies=strategies) != wanted

    rows = fewest(rows, differs)
    wanted = expected(dialect, pattern, clause, rows, absent=absent)
    assert found_by(rule, rows, strategies=strategies) == wanted, f"{clause.sql}\n{rows}\n{strategies}"


# --- matches ------------------------------------------------------------------------------------------


def test_standard():
    tried(lambda choose: check_case(choose, Dialect.STANDARD, standard_case, STRATEGIES))


def test_flink():
    tried(lambda choose: check_case(choose, Dialect.FLINK, flink_case, STRATEGIES))


def test_equal_states_with_other_rows_behind_them_are_both_followed():
    """BA is behind AA in preference and in the same state, but only with BA can C hold."""
    clause = Clause("(A | B)+ C", {"C": ("FIRST(B.n) = 0", lambda *_: True)})
    ((_, _, rows),) = found_by(clause.rule(Dialect.STANDARD), given([1, 1, 1], [1, 1, 1]))
    assert rows == (("B", 0), ("A", 1), ("C", 2))


# --- time-outs, absence, NO SKIP ----------------------------------------------------------------------


@pytest.mark.parametrize("dialect", list(Dialect))
def test_beyond_the_standard(dialect):
    tried(lambda choose: check_case(choose, dialect, lambda choose: beyond(choose, dialect), [None]))


# --- strategies ---------------------------------------------------------------------------------------


def check_strategies(choose: Random) -> int:
    """More rows than an enumerator can take, in batches: attempts that fail late, and that meet earlier ones."""
    dialect = choose.choice(list(Dialect))
    within = choose.choice([None, 30, 90])
    if dialect is Dialect.FLINK:
        parts = [name + choose.choice(["", "?", "*?", "+", "+?", "{1,3}"]) for name in "ABC"[: choose.randint(2, 3)]]
        pattern = " ".join(parts)
    else:
        pattern = text(pattern_of(choose, choose.randint(1, 5)))
    chosen = conditions(choose, pattern, choose.choice([KINDS, [more_than, rising, before_fall]]))
    clause = Clause(pattern, chosen, choose.choice(SKIPS), within)
    try:
        rule = clause.rule(dialect)
    except SqlValidationError:
        return 0
    high = choose.randint(1, 5)
    for _ in range(ROWS_EACH):
        values = [None if choose.random() < 0.03 else choose.randint(0, high) for _ in range(60)]
        rows = given(values, [choose.randint(1, 12) for _ in values])
        cuts = sorted(choose.sample(range(1, 60), choose.randint(0, 5)))
        threads = findings_by(rule, rows, strategies=STRATEGIES[-1])
        for some in STRATEGIES[:-1]:
            assert findings_by(rule, rows, cuts, some) == threads, f"{clause.sql}\n{rows}\n{some}"
    return ROWS_EACH


def test_strategies_agree_on_long_inputs():
    tried(check_strategies, EXAMPLES // 5)
