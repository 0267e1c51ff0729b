"""The scoring rules of the Numenta Anomaly Benchmark, written from their description.

Lavin, Ahmad: "Evaluating Real-time Anomaly Detection Algorithms – the Numenta Anomaly Benchmark", ICMLA 2015, and the
public wiki and threads of the project. A detector gives every row a score from 0 to 1; a row is *detected* if its score
reaches the threshold, which is one for all files. Windows are where detections are right:

* The first detected row of a window counts for it: ``tp`` times :func:`reward` of where in the window it stands, from 1
  at its first row to nearly 0 at its last. A window without one costs ``fn``. More of them neither help nor harm.
* A detected row outside of all windows costs ``fp``, less if it is close behind a window (see :func:`reward`).
* The first 15 % of the rows of a file, at most 750, are probation: detections there are not looked at.
* The sum over all files is put between that of the detector that detects nothing (0) and that of the one that detects
  the first row of every window and nothing else (100).

Where the rules leave room: a window that begins in the probation keeps its length and can be found by its other rows;
one that lies wholly in it does not count, neither for what was reached nor for what can be. A window of one row has
length 1 for the rows behind it. "Nothing is detected" is a possible threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

PROBATION_SHARE, PROBATION_ROWS = 0.15, 750
FAR = 3.0
"""Window lengths behind a window from which on a false detection costs all of ``fp``."""
STEEPNESS = 5.0


class Profile(NamedTuple):
    """What a found window is worth, and what a false detection and a missed window cost."""

    tp: float
    fp: float
    fn: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "reward_low_FP_rate": Profile(1.0, 0.22, 1.0),
    "reward_low_FN_rate": Profile(1.0, 0.11, 2.0),
}


class Window(NamedTuple):
    """First and last row of a window."""

    first: int
    last: int


@dataclass(frozen=True)
class Scored:
    """The scores that a detector gave the rows of a file, and the windows of the file in row order."""

    scores: NDArray[np.float64]
    windows: Sequence[Window]


@dataclass(frozen=True)
class Result:
    """The score of a detector at one threshold.

    Args:
        score: normalised: 0 for no detection at all, 100 for perfect ones.
        threshold: the score that a detected row has at least; infinite if detecting nothing was best.
        raw: the sum over the files.
        found: windows that were found.
        windows: windows that count.
        false: rows that were detected outside of windows.
    """

    score: float
    threshold: float
    raw: float
    found: int
    windows: int
    false: int


def reward(position: float) -> float:
    """The scaled sigmoid: from almost 1 a window length before the end of a window, over 0 at its end, to -1.

    Args:
        position: rows behind the end of the window, in window lengths; negative in the window.

    Example:
        >>> round(reward(-1.0), 4), reward(0.0), round(reward(0.5), 4), reward(3.5)
        (0.9866, 0.0, -0.8483, -1.0)
    """
    return -1.0 if position > FAR else float(2 / (1 + np.exp(STEEPNESS * position)) - 1)


def probation(rows: int) -> int:
    """Rows at the beginning of a file that are not looked at.

    Example:
        >>> probation(1000), probation(20_000)
        (150, 750)
    """
    return min(int(PROBATION_SHARE * rows), PROBATION_ROWS)


def counted(scored: Scored) -> list[Window]:
    """The windows of a file that are not wholly in its probation."""
    start = probation(len(scored.scores))
    return [window for window in scored.windows if window.last >= start]


def contributions(scored: Scored, profile: Profile) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How the raw score of a file changes while the threshold falls from infinity.

    Returns:
        Thresholds and what is added when the threshold reaches each, in no order. Nothing detected is
        ``-fn`` times the windows that count.
    """
    scores, start = scored.scores, probation(len(scored.scores))
    outside = np.arange(len(scores)) >= start
    cost = np.full(len(scores), -1.0)
    thresholds: list[float] = []
    added: list[float] = []
    for window in scored.windows:
        length = max(window.last - window.first, 1)
        close = np.arange(window.last + 1, min(window.last + int(FAR * length), len(scores) - 1) + 1)
        cost[window.last + 1 :] = -1.0
        cost[close] = 2 / (1 + np.exp(STEEPNESS * (close - window.last) / length)) - 1
    for window in scored.windows:
        outside[window.first : window.last + 1] = False
    full = reward(-1.0)
    for window in counted(scored):
        rows = window.last - window.first + 1
        records: list[tuple[float, float]] = []  # a later row counts only above the best score before it
        for row in range(max(window.first, start), window.last + 1):
            if not records or scores[row] > records[-1][0]:
                gain = profile.tp * reward(-(window.last - row + 1) / rows) / full
                records.append((float(scores[row]), gain))
        before = -profile.fn
        for threshold, gain in reversed(records):
            thresholds.append(threshold)
            added.append(gain - before)
            before = gain
    false = np.flatnonzero(outside)
    return (
        np.concatenate([scores[false], np.array(thresholds)]),
        np.concatenate([cost[false] * profile.fp, np.array(added)]),
    )


def optimise(files: Sequence[Scored], profile: Profile) -> Result:
    """The best score of a detector over all thresholds, the highest threshold of those that are equally good.

    Example:
        >>> scored = Scored(np.array([0.0] * 50 + [0.9] + [0.0] * 49), [Window(50, 59)])
        >>> optimise([scored], PROFILES["standard"]).score
        100.0
    """
    pairs = [contributions(file, profile) for file in files]
    thresholds = np.concatenate([pair[0] for pair in pairs]) if pairs else np.zeros(0)
    order = np.argsort(-thresholds, kind="stable")
    thresholds = thresholds[order]
    nothing = -profile.fn * sum(len(counted(file)) for file in files)
    raw = nothing + np.cumsum(np.concatenate([pair[1] for pair in pairs])[order] if pairs else thresholds)
    last = np.flatnonzero(np.append(thresholds[1:] != thresholds[:-1], True)) if len(thresholds) else np.zeros(0, int)
    best = last[np.argmax(raw[last])] if len(last) else -1
    if best < 0 or raw[best] <= nothing:
        return evaluate(files, profile, np.inf)
    return evaluate(files, profile, float(thresholds[best]))


class Outcome(NamedTuple):
    """What a detector reached on one file.

    Args:
        gained: raw score above that of detecting nothing.
        found: windows that were found.
        windows: windows that count.
        false: rows that were detected outside of windows.
    """

    gained: float
    found: int
    windows: int
    false: int


def outcome(file: Scored, profile: Profile, threshold: float) -> Outcome:
    """What was reached on a file at a threshold."""
    reached, added = contributions(file, profile)
    windows = counted(file)
    detected = file.scores >= threshold
    detected[: probation(len(detected))] = False
    found = sum(bool(detected[window.first : window.last + 1].any()) for window in windows)
    for window in file.windows:
        detected[window.first : window.last + 1] = False
    return Outcome(float(added[reached >= threshold].sum()), found, len(windows), int(detected.sum()))


def evaluate(files: Sequence[Scored], profile: Profile, threshold: float) -> Result:
    """The score of a detector at a threshold.

    Raises:
        ValueError: no window counts, so that there is nothing to compare with.
    """
    gained, found, windows, false = map(sum, zip(*(outcome(file, profile, threshold) for file in files), strict=True))
    if not windows:
        raise ValueError("no file has a window outside of its probation")
    score = 100 * gained / ((profile.tp + profile.fn) * windows)
    return Result(score, threshold, gained - profile.fn * windows, found, windows, false)


def scored(scores: ArrayLike, windows: Sequence[tuple[int, int]]) -> Scored:
    """Scores and windows as this module wants them.

    Raises:
        ValueError: windows out of order, overlapping or beyond the rows.
    """
    values = np.asarray(scores, np.float64)
    made = [Window(*window) for window in windows]
    behind = -1
    for window in made:
        if not behind < window.first <= window.last < len(values):
            raise ValueError(f"window {tuple(window)} does not fit {len(values)} rows or the window before it")
        behind = window.last
    return Scored(values, made)
