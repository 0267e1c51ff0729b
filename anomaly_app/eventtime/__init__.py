"""Event time: watermarks, disorder, lateness.

A watermark ``w`` says: no row with an event time at or below ``w`` is expected any more. A row that comes anyway
is late. Time is data here; nothing in this package reads a clock.
"""

from anomaly_app.eventtime.reorder import ReorderBuffer
from anomaly_app.eventtime.watermark import UpstreamWatermarks, split_ahead, with_times

__all__ = ["ReorderBuffer", "UpstreamWatermarks", "split_ahead", "with_times"]
