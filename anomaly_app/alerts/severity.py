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


def severity_of(output: Mapping[str, Any]) -> Severity:
    """The output column ``severity`` if it names a level, else the score's, else "medium".

    A score speaks if it lies in 0 to 1: from 0.9 critical, from 0.7 high, from 0.4 medium, below low.

    Args:
        output: names of the output columns in lower case, and values in memory form.

    Example:
        >>> severity_of({"severity": "HIGH"}), severity_of({"risk_score": 0.95}), severity_of({"qty": 30})
        ('high', 'critical', 'medium')
    """
    said = output.get("severity")
    if isinstance(said, str) and said.strip().lower() in _LEVELS:
        return _LEVELS[said.strip().lower()]
    score = score_of(output)
    if score is None or not 0 <= score <= 1:
        return DEFAULT
    return next((level for bound, level in _BOUNDS if score >= bound), "low")
