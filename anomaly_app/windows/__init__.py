"""Windows: aggregates of keys over stretches of time, detector functions over the rows of a key, the sigma rule.

::

    from anomaly_app import Rows, query
    from anomaly_app.windows import SigmaRule

    query(SigmaRule("amount", by="userId", time="ts"), tables={"transactions": Rows(…)})
"""

from anomaly_app.windows.sigma import SigmaRule, Threshold, read_thresholds

__all__ = ["SigmaRule", "Threshold", "read_thresholds"]
