"""Models that foretell the next value of a series, bounds around the forecast, and their SQL functions."""

from anomaly_app.forecasting.functions import FUNCTIONS

__all__ = ("FUNCTIONS",)
