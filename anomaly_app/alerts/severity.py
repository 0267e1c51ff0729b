"""How bad a finding is: what its rule says, and no guess."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from anomaly_app.alerts.record import Severity

DEFAULT: Severity = "medium"

_LEVELS: dict[str, Severity] = {"low": "low", "medium": "medium", "high": "high", "critical": "critical"}
_SCORES = ("score", "risk_score", "riskscore")
_BOUNDS: tuple[tuple[float, Severity], ...] = ((0.9, "critical"), (0.7, "high"), (0.4, "medium"))
_MULTIPLES: tuple[tuple[float, Severity], ...] = ((3.0, "critical"), (2.0, "high"), (1.25, "medium"))
"""Of the distance from the forecast to the bound: what is just outside of a band is most often chance."""


def score_of(output: Mapping[str, Any]) -> float | None:
    """The output column ``score``, ``risk_score`` or ``riskScore``, if it is a finite number.

    Args:
        output: names of the output columns in lower case, and values in memory form.
    """
    for name in _SCORES:
        value = output.get(name)
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None


def severity_of(output: Mapping[str, Any], detected: float | None = None) -> Severity:
    """The output column ``severity`` if it names a level, else that of its score, of the detector's score, "medium".

    A score from 0 to 1 is a probability: from 0.9 critical, from 0.7 high, from 0.4 medium, below low. A detector's
    score above 1 is a multiple of the distance from the forecast to the bound: from 3 critical, from 2 high, from 1.25
    medium, below low. An output column above 1 is on a scale that nobody knows here.

    Args:
        output: names of the output columns in lower case, and values in memory form.
        detected: score of a detector; None without.

    Example:
        >>> severity_of({"severity": "HIGH"}), severity_of({"risk_score": 0.95}), severity_of({"qty": 30})
        ('high', 'critical', 'medium')
        >>> severity_of({}, 2.5), severity_of({}, 1.01), severity_of({}, 0.8)
        ('high', 'low', 'high')
    """
    said = output.get("severity")
    if isinstance(said, str) and said.strip().lower() in _LEVELS:
        return _LEVELS[said.strip().lower()]
    score = score_of(output)
    if score is not None and 0 <= score <= 1:
        return _level(score, _BOUNDS)
    if score is not None or detected is None or detected < 0:
        return DEFAULT
    return _level(detected, _MULTIPLES if detected > 1 else _BOUNDS)


def _level(score: float, bounds: tuple[tuple[float, Severity], ...]) -> Severity:
    return next((level for bound, level in bounds if score >= bound), "low")
