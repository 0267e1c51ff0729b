"""The detector functions that SQL knows, by name."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anomaly_app.detectors import DetectorFunction

PACKAGES = ("anomaly_app.forecasting", "anomaly_app.multivariate", "anomaly_app.scoring")
"""Each has its functions as ``FUNCTIONS`` in a module ``functions``."""

USE = "OVER ([PARTITION BY …] ORDER BY rowtime RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"


@functools.cache
def functions() -> Mapping[str, DetectorFunction]:
    """All detector functions by name; the packages are read when a query first needs to know them.

    Raises:
        ValueError: two packages give the same name another meaning.
    """
    known: dict[str, DetectorFunction] = {}
    for package in PACKAGES:
        for function in importlib.import_module(f"{package}.functions").FUNCTIONS:
            if function.name in known:
                raise ValueError(f"there are two detector functions {function.name}")
            known[function.name] = function
    return known
