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
configure. Five signals are made of a series, and each is asked how far it is beyond what it has been:

* the value itself, upwards and downwards;
* the mean of the last 24 values (``smoothing``), upwards and downwards: a shift that no single value gives away;
* the mean of the last 6 less that of the last 96 (a quarter of ``smoothing`` and 4 times as many), upwards and
  downwards: a change that is fast for this series, though its level is known;
* the distance of the shape of the last 64 values (``subsequence``) to the most similar shape before them, upwards
  (a *left discord*; see :mod:`anomaly_app.scoring.discord`): a pattern that breaks, though all its values are usual;
* the same of the last 256 values, in means of 4: a pattern that is missing.

A signal scores only where it exceeds all of its last 500 values, by the number of standard deviations by which it does;
a quarter for those, a quarter more if it does so for the last 1000 (``recent``), the other half if for all of the last
5000 (``history``), see :mod:`anomaly_app.scoring.records`. The largest of the eight scores counts. Within 200 values
after one (``refractory``) whatever is not higher is attenuated, the closer the more. A new extreme is learnt at once:
the next has to exceed it, so that a shift of the level is told when it happens and not for ever.

From 0.5 on a score is worth an alert if a missed anomaly costs ten false alarms: in noise without anomalies about one
value in a thousand scores that much once a series is a thousand values long (before, some three to six in all), hardly
any 0.8. A score says how rare something is, not whether it matters. Where a series is understood, a model of it says
more: see :mod:`anomaly_app.forecasting`.

State: 40 bytes in the store for each of the last ``history`` values, and up to 256 more; with the defaults 540 kB a
series in memory and 35 us a value, 120 kB with a history of 1000.
"""

from __future__ import annotations

from anomaly_app.scoring.scorer import AnomalyScorer

__all__ = ["AnomalyScorer"]
