"""The suite of all detectors finds what it is there to find: each check fails for a detector that breaks its rule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from anomaly_app.detectors import Entries, Floats, Integers
from anomaly_app.forecasting.robust import RobustDetector, RobustVerdicts
from anomaly_app.testing import detectors as suite
from anomaly_app.testing.detectors import CHECKS, Check, Subject


class Plain(RobustDetector):
    def __init__(self) -> None:
        super().__init__(["x"], window=50)


class Random(Plain):
    calls = 0

    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        Random.calls += 1
        return super().update(series, times, points + Random.calls)


class Writing(Plain):
    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        points[0] = 0.0
        return super().update(series, times, points)


class JudgingLate(Plain):
    """The bounds of a batch are those behind it."""

    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        verdicts = super().update(series, times, points)
        if len(verdicts.lines):
            verdicts.lines[:] = verdicts.lines[-1]
        return verdicts


class Mixing(Plain):
    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        return super().update(series * 0, times, points)


class Numbered(Plain):
    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        return super().update(series, times, points + series[:, None])


class Forgetful(Plain):
    def restore(self, series: int, entries: Any) -> None:
        super().restore(series, [(key, value) for key, value in entries if key[:1] == b"s"][:0])


class Repeating(Plain):
    def changes(self, series: int) -> Entries:
        self._changed[series] = True
        return super().changes(series)


class Clinging(Plain):
    def forget(self, series: int) -> None:
        self._changed[series] = False


class Shrinking(Plain):
    def grow(self, series: int) -> None:
        if series < len(self._series):
            self._series = [None] * len(self._series)
        super().grow(series)


class LearningGaps(Plain):
    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        return super().update(series, times, np.nan_to_num(points, nan=0.0))


class Blind(Plain):
    """Takes infinite values for missing ones."""

    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        return super().update(series, times, np.where(np.isinf(points), np.nan, points))


class Infinite(Plain):
    """Learns values whose squares are not numbers."""

    def update(self, series: Integers, times: Integers, points: Floats) -> RobustVerdicts:
        return super().update(series, times, points * points * points)


class Disagreeing(RobustDetector):
    def __init__(self) -> None:
        super().__init__(["x"], window=50)

    def update(self, series: Integers, times: Integers, points: Floats) -> Any:
        class Half(RobustVerdicts):
            def scores(self) -> list[float | None]:
                return [None if score is None else score / 10 for score in super().scores()]

        verdicts = super().update(series, times, points)
        return Half(self, verdicts.times, verdicts.points, verdicts.lines)


class Hoarding(RobustDetector):
    def __init__(self) -> None:
        super().__init__(["x"], window=100_000)


class Rewriting(Plain):
    def changes(self, series: int) -> Entries:
        held = self._series[series]
        for window in held or ():
            window.stored = 0
        return [*super().changes(series), (b"x", bytes(5_000))]


BROKEN: list[tuple[Callable[[], Any], Check]] = [
    (Random, suite.check_determinism),
    (Writing, suite.check_determinism),
    (JudgingLate, suite.check_batches),
    (Mixing, suite.check_keys),
    (Numbered, suite.check_many_keys),
    (Forgetful, suite.check_restore),
    (Repeating, suite.check_restore),
    (Clinging, suite.check_forget),
    (Shrinking, suite.check_grow),
    (LearningGaps, suite.check_missing),
    (Blind, suite.check_infinite),
    (Infinite, suite.check_extremes),
    (Disagreeing, suite.check_verdicts),
    (Hoarding, suite.check_memory),
    (Rewriting, suite.check_memory),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_detector_passes(check: Check) -> None:
    check(Subject(Plain))


@pytest.mark.parametrize(("create", "check"), BROKEN, ids=lambda each: each.__name__)
def test_a_broken_one_fails(create: Callable[[], Any], check: Check) -> None:
    with pytest.raises((AssertionError, ValueError, FloatingPointError)):
        check(Subject(create))


def test_every_check_has_a_detector_that_fails_it() -> None:
    assert {check for _, check in BROKEN} == set(CHECKS)


def test_values_need_not_be_equal_if_the_subject_says_so() -> None:
    suite.assert_same([1.0, None], [1.0 + 1e-12, None], 1e-9, "row")
    suite.assert_same([math.nan], [math.nan], 0.0, "row")
    with pytest.raises(AssertionError, match=r"row\[0\]: 1.0 is not 1.1"):
        suite.assert_same([1.0], [1.1], 1e-9, "row")
