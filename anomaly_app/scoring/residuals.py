"""How improbable the values of many series are: state and tables of their recursions, and the recursion over them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from anomaly_app.detectors import Floats, Integers
from anomaly_app.forecasting.storage import Storage
from anomaly_app.scoring.options import once_in
from anomaly_app.scoring.places import PART, PLACES, places
from anomaly_app.scoring.residual import FIELDS, OUTPUTS, kernel


class Residuals:
    """The recursions of many series.

    Args:
        options: checked ones of ``ANOMALY_SCORE``.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._kernel = kernel(options["warmup"], once_in(options))
        self.storage = Storage(len(FIELDS), PLACES, PART)

    def one(self, series: int, times: Integers, values: Floats) -> Floats:
        """Outputs of some points of one series."""
        own, storage = places(times), self.storage
        at = [each.tolist() for each in own]
        state, out = self._kernel.one_series(
            storage.state[:, series].tolist(), (values.tolist(), *at, at[0], at[2]), storage.table[:, series].data
        )
        storage.state[:, series] = state
        storage.wrote(series, own.season)
        return np.array(out).reshape(len(values), -1).T[: len(OUTPUTS)]

    def many(self, series: Integers, times: Integers, values: Floats) -> Floats:
        """Outputs of one point of each of some series."""
        own, storage = places(times), self.storage
        at = run_of(series)
        state = storage.state[:, at] if isinstance(at, slice) else np.take(storage.state, series, axis=1)
        inputs = np.stack([values, *(storage.table[place, series] for place in own), own.season, own.low])
        out = self._kernel.many_series(state, inputs)
        if not isinstance(at, slice):
            storage.state[:, series] = state
        for place, result in zip(own, out[len(OUTPUTS) :], strict=True):
            storage.table[place, series] = result
        storage.wrote(series, own.season)
        return out[: len(OUTPUTS)]


def run_of(numbers: Integers) -> slice | Integers:
    """The same as a slice, if it is one: then numpy need not copy.

    Example:
        >>> run_of(np.array([3, 4, 5])), run_of(np.array([3, 5, 4])).tolist()
        (slice(3, 6, None), [3, 5, 4])
    """
    first = int(numbers[0])
    if int(numbers[-1]) - first == len(numbers) - 1 and bool((numbers[1:] > numbers[:-1]).all()):
        return slice(first, first + len(numbers))
    return numbers
