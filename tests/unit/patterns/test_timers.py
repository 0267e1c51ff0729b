"""Timers of starts: due when the watermark passes, whatever became of the start in the meantime."""

from __future__ import annotations

import random

import pytest

from anomaly_app.patterns.keys import KeyState
from anomaly_app.patterns.timers import Timers


def waiting(key, time):
    state = KeyState(key)
    state.rows.append((time, 0))
    return state


@pytest.mark.parametrize("within", [1, 10_000, 86_400_000])
def test_due_exactly_when_the_watermark_reaches_the_deadline(within):
    timers = Timers(within)
    choose = random.Random(within)
    states = [waiting(n, choose.randrange(within * 3)) for n in range(200)]
    for state in states:
        timers.set(state)
    passed = -1
    for watermark in sorted(choose.randrange(within * 5) for _ in range(50)):
        oldest = min((s.rows[0][0] for s in states if s.rows[0][0] + within > passed), default=None)
        assert timers.oldest() == oldest
        due = {state.key for state in timers.due(watermark)}
        assert due == {s.key for s in states if passed < s.rows[0][0] + within <= watermark}
        passed = max(passed, watermark)


def test_a_later_start_moves_the_timer_and_an_attempt_that_is_over_needs_none():
    timers = Timers(100)
    moved, over = waiting("moved", 0), waiting("over", 0)
    for state in (moved, over):
        timers.set(state)
    moved.rows.append((70, 1))
    moved.start = 1
    over.start = 1
    assert list(timers.due(169)) == []
    assert not over.timer and moved.timer
    assert timers.oldest() == 70
    assert [state.key for state in timers.due(170)] == ["moved"]
    assert timers.oldest() is None and not moved.timer


def test_a_timer_set_while_others_are_due():
    timers = Timers(100)
    timers.set(waiting("first", 0))
    seen = []
    for state in timers.due(100):
        seen.append(state.key)
        timers.set(waiting("second", 1))
    assert seen == ["first"]
    assert [state.key for state in timers.due(101)] == ["second"]
