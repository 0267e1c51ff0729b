"""The SQL function of this package: ``ANOMALY_SCORE(value, rowtime, JSON_OBJECT(…)) OVER (…)``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anomaly_app.detectors import Detector, DetectorFunction
from anomaly_app.schema import DOUBLE
from anomaly_app.scoring.bank import ResidualBank, ScorerBank
from anomaly_app.scoring.options import OPTIONS, THRESHOLD, check_together
from anomaly_app.wishes import WISHES, as_wished, wish


def create_bank(options: Mapping[str, Any], names: Sequence[str]) -> Detector:
    """A detector that scores values.

    Args:
        options: checked ones of ``ANOMALY_SCORE``.
        names: of the value.

    Raises:
        OptionError: options do not go together.

    Example:
        >>> import numpy as np
        >>> from anomaly_app.detectors import check_options
        >>> detector = create_bank(check_options(ANOMALY_SCORE, {}), ["price"])
        >>> detector.grow(1)
        >>> prices = np.random.default_rng(1).normal(20, 1, 500)
        >>> prices[499] = 35
        >>> verdicts = detector.update(np.zeros(500, int), np.arange(500) * 1000, prices[:, None])
        >>> verdicts.flags()[499]
        True
        >>> verdicts.explain(499)
        'score 0.86: the value is above the forecast of 20.012 by 15, 2.4 times what comes once in 1440 values'
    """
    check_together(options, ANOMALY_SCORE.name)
    asked = wish(options, ANOMALY_SCORE.name)
    bank: Detector = ScorerBank(options) if options["history"] else ResidualBank(options)
    return as_wished(bank, asked, None, options["threshold"])


ANOMALY_SCORE = DetectorFunction(
    "ANOMALY_SCORE",
    (*OPTIONS, THRESHOLD, *WISHES),
    DOUBLE,
    create_bank,
    doc="how anomalous a value is for its series, from 0 to 1; nothing has to be known of the series",
)

FUNCTIONS: tuple[DetectorFunction, ...] = (ANOMALY_SCORE,)
"""Those of this package."""
