"""A score from 0 to 1 for unattended series: ``AnomalyScorer`` in Python, ``ANOMALY_SCORE`` in SQL.

::

    from anomaly_app import AnomalyScorer

    scorer = AnomalyScorer()                                # one for each series
    for timestamp_ms, value in readings:
        if scorer.score(timestamp_ms, value) >= 0.5:
            print(timestamp_ms, value, scorer.reason())

    SELECT ts, value, ANOMALY_SCORE(value, ts, JSON_OBJECT('history' VALUE 2000))
      OVER (PARTITION BY sensor ORDER BY ts RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS score
    FROM readings

It is for series of which nothing is known: no model of them has to be right, there is nothing to train and nothing to
configure. Two questions are asked of each value, and the larger answer counts:

* *How improbable is it?* The error of a forecast from the last values and from the same time of the day before, over
  the error that comes once in 1440 values of this series, which is estimated from the tail of its errors; and an event
  is told once. See :mod:`anomaly_app.scoring.residual`. Scores above 0.52. A slow trend, of which no single value is
  improbable, scores 0.5 to 0.51, see :mod:`anomaly_app.scoring.drift`.
* *How new is it?* Whether the value, or the mean of the last 24, is beyond all that it has been in the last 500, 1000
  and 5000 rows, and whether the last 64 or 256 values look less like anything before than ever: a slow shift, or a
  pattern that is missing though its values are usual. See :mod:`anomaly_app.scoring.novelty`. Scores 0.5 to 0.51, since
  how new something is says little about how much it matters.

From 0.5 on a score is worth an alert: about one value in 1440 of a series without anomalies, once a day at a point a
minute. A score says how rare something is, not whether it matters. Where a series is understood, a model of it says
more: see :mod:`anomaly_app.forecasting`.

State: 32 bytes in the store for each of the last ``history`` values, and up to 256 more, and 23 kB for the times of
the week; with a ``history`` of 0 only the first question is asked, which has no more than those 23 kB. Values of many
series that come together are scored in vectors, see :mod:`anomaly_app.scoring.novelties`.
"""

from __future__ import annotations

from anomaly_app.scoring.scorer import AnomalyScorer

__all__ = ["AnomalyScorer"]
