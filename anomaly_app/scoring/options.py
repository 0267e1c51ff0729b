"""The options of a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from anomaly_app.detectors import DetectorFunction, Option, check_options
from anomaly_app.errors import OptionError
from anomaly_app.schema import DOUBLE


def _rows(name: str, default: int, doc: str, low: int, high: int) -> Option:
    return Option(name, int, default, doc, lambda value: low <= value <= high, f"a whole number from {low} to {high}")


OPTIONS = (
    _rows("warmup", 50, "values of a series before its first score above 0; they are learnt from", 2, 100_000),
    _rows("recent", 1000, "values that a new extreme has to exceed; half of them, to score at all", 10, 100_000),
    Option(
        "history",
        int,
        5000,
        "values that are remembered to tell what is new; 0 for none: only improbable values are told then",
        lambda value: value == 0 or 50 <= value <= 100_000,
        "0, or a whole number from 50 to 100000",
    ),
    _rows(
        "subsequence",
        64,
        "values in a shape that is compared with all earlier ones; 4 times as many in a long one",
        8,
        500,
    ),
    _rows("smoothing", 24, "values in the mean", 2, 250),
    Option(
        "sensitivity",
        float,
        0.0,
        "false alarms wanted in 10,000 values; 0 for one in 1440 values, once a day at a point a minute",
        lambda value: value == 0 or 0.1 <= value <= 100,
        "0, or a number from 0.1 to 100",
    ),
    _rows("refractory", 200, "values after a score in which lower ones are attenuated, less and less", 0, 100_000),
)
"""Those of :class:`~anomaly_app.scoring.scorer.AnomalyScorer`."""

NUMBERS = "".join("d" if option.type is float else "I" for option in OPTIONS)
"""How they are stored."""


def once_in(options: Mapping[str, Any]) -> float:
    """Values in which one may be a false alarm."""
    return 10_000 / options["sensitivity"] if options["sensitivity"] else 1440.0


THRESHOLD = Option(
    "threshold",
    float,
    0.5,
    "score from which on a row is an anomaly (for alerts; the score itself does not depend on it)",
    lambda value: 0 < value <= 1,
    "a number above 0, at most 1",
)
"""What ``ANOMALY_SCORE`` has besides :data:`OPTIONS`."""


def _no_detector(options: Mapping[str, Any], names: object) -> NoReturn:
    raise NotImplementedError


_SCORER = DetectorFunction("AnomalyScorer", OPTIONS, DOUBLE, _no_detector)


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an ``AnomalyScorer``, all of them.

    Raises:
        OptionError: one is unknown or impossible, or they do not go together.

    Example:
        >>> checked({"history": 1000})["subsequence"]
        64
        >>> checked({"history": 300})
        Traceback (most recent call last):
        ...
        anomaly_app.errors.OptionError: AnomalyScorer: option 'history' is 300, expected at least 1000, that of 'recent'
    """
    options = check_options(_SCORER, given)
    check_together(options, _SCORER.name)
    return options


def check_together(options: Mapping[str, Any], name: str) -> None:
    """Whether checked options go together.

    Args:
        options: all of them.
        name: of what they are the options, for the message.

    Raises:
        OptionError: they do not.
    """
    history = options["history"]
    for wanted, whose in (
        (options["recent"], "that of 'recent'"),
        (5 * options["subsequence"], "five times that of 'subsequence'"),
        (4 * options["smoothing"], "four times that of 'smoothing'"),
    ):
        if 0 < history < wanted:
            problem = f"{name}: option 'history' is {history}, expected at least {wanted}, {whose}"
            raise OptionError("history", problem)
