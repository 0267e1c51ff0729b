"""Detectors of several fields at once: half-space trees and a robust Mahalanobis distance."""

from anomaly_app.multivariate.categories import category_code
from anomaly_app.multivariate.functions import FUNCTIONS

__all__ = ["FUNCTIONS", "category_code"]
