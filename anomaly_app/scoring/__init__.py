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
configure. Three signals are made of a series, and each is asked how far it is beyond what it has been:

* the value itself, upwards and downwards;
* the mean of the last 24 values (``smoothing``), upwards and downwards: a shift that no single value gives away;
* the distance of the shape of the last 64 values (``subsequence``) to the most similar shape before them, upwards
  (a *left discord*; see :mod:`anomaly_app.scoring.discord`): a pattern that breaks, though all its values are usual.

A signal scores only where it exceeds all of its last 1000 values (``recent``), by the number of standard deviations by
which it does; it scores twice as much if it does so for all of the last 5000 (``history``), see
:mod:`anomaly_app.scoring.records`. The largest of the five scores counts, and within 100 values after one
(``refractory``) only a higher one is reported. A new extreme is learnt at once: the next has to exceed it, so that a
shift of the level is told when it happens and not for ever.

From 0.5 on a score is worth an alert if a missed anomaly costs ten false alarms: in noise without anomalies one value
in a thousand scores that much once a series is a thousand values long (before, some four in all), hardly any 0.8. A
score says how rare something is, not whether it matters. Where a series is understood, a model of it says more: see
:mod:`anomaly_app.forecasting`.

State: 24 bytes in the store for each of the last ``history`` values, and up to 256 more; with the defaults 370 kB a
series in memory and 20 us a value. With a history of 1000 it is 80 kB and 15 us, and 3 points less on NAB.
"""

from __future__ import annotations

from anomaly_app.scoring.scorer import AnomalyScorer

__all__ = ["AnomalyScorer"]
