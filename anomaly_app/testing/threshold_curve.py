"""Precision and recall for each threshold of a score, drawn: ``python -m anomaly_app.testing.threshold_curve``."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Point(NamedTuple):
    """How a threshold does.

    Args:
        threshold: rows of at least this score are told.
        precision: share of what is told that is right.
        recall: share of what is right that is told.
    """

    threshold: float
    precision: float
    recall: float


def curve(scored: Sequence[tuple[float, bool]]) -> list[Point]:
    """A point for each score, from the highest.

    Args:
        scored: score, and whether it is what is looked for.

    Raises:
        ValueError: nothing of what is looked for is there.

    Example:
        >>> curve([(0.9, True), (0.5, False), (0.4, True)])[-1]
        Point(threshold=0.4, precision=0.6666666666666666, recall=1.0)
    """
    wanted = sum(right for _, right in scored)
    if not wanted:
        raise ValueError("none of the rows is what is looked for")
    points: list[Point] = []
    told = found = 0
    for score, right in sorted(scored, reverse=True):
        told, found = told + 1, found + right
        if points and points[-1].threshold == score:
            points.pop()
        points.append(Point(score, found / told, found / wanted))
    return points


def read(scores: Path, truth: Path) -> list[tuple[float, bool]]:
    """Scores of payments, and whether they were frauds.

    Args:
        scores: CSV with ``TransactionID`` and ``score``.
        truth: lines of JSON with ``TransactionID``, of the frauds.
    """
    frauds = {json.loads(line)["TransactionID"] for line in truth.read_text("utf-8").splitlines()}
    with scores.open(newline="", encoding="utf-8") as file:
        return [(float(row["score"]), int(row["TransactionID"]) in frauds) for row in csv.DictReader(file)]


def draw(points: Sequence[Point], output: Path) -> None:
    """Draw precision and recall over the threshold into a PNG or SVG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    thresholds = [point.threshold for point in points]
    axes.plot(thresholds, [point.precision for point in points], label="precision: what is told is a fraud")
    axes.plot(thresholds, [point.recall for point in points], label="recall: frauds that are told")
    axes.set(xlabel="threshold of the score", ylim=(0, 1.02), xlim=(0, 1))
    axes.legend(loc="lower left", frameon=False)
    axes.grid(alpha=0.3)
    figure.savefig(output, dpi=110)


def main() -> None:
    """Draw the curve, and print the point of 0.5."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path, help="CSV of scored payments")
    parser.add_argument("truth", type=Path, help="truth.jsonl of anomaly generate payments")
    parser.add_argument("--output", type=Path, default=Path("curve.png"))
    given = parser.parse_args()
    points = curve(read(given.scores, given.truth))
    draw(points, given.output)
    told = [point for point in points if point.threshold >= 0.5]
    if told:
        print(f"at 0.5: precision {told[-1].precision:.1%}, recall {told[-1].recall:.1%}")


if __name__ == "__main__":
    main()
