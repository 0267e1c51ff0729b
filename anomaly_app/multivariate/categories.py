"""How rare the values of a category are: decayed counts in tables of bounded size, one a series and field."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from anomaly_app.detectors import Floats, Integers

TABLE = 128
"""Values counted of one field of one series: a hundred merchants fit; of more, the rarest are forgotten first."""
_UNSEEN = 0.5
"""What a value that was never seen counts for (Krichevsky and Trofimov 1981)."""


@lru_cache(maxsize=1 << 16)
def category_code(text: str) -> float:
    """A text as the number by which a detector knows a category: the same in every process.

    53 bits of a hash, so that a double holds it exactly: of a million texts two are the same with a probability of
    1 in 18,000.

    Args:
        text: value of a field that the option ``categories`` names.

    Example:
        >>> category_code("merchant_1") == category_code("merchant_1") != category_code("merchant_2")
        True
        >>> category_code("merchant_1")
        8950290263054854.0
    """
    return float(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 11)


class Counters:
    """Decayed counts of categories, many series at once.

    Args:
        fields: categories in a point.
        memory: points after which a count has faded to 1/e.
    """

    def __init__(self, fields: int, memory: int) -> None:
        self.fields, self._memory = fields, memory
        self._codes = np.full((0, fields, TABLE), np.nan)
        self._counts = np.zeros((0, fields, TABLE))

    def grow(self, series: int) -> None:
        """Make room for series 0 … ``series`` - 1."""
        more = series - len(self._codes)
        if more > 0:
            self._codes = np.concatenate([self._codes, np.full((more, self.fields, TABLE), np.nan)])
            self._counts = np.concatenate([self._counts, np.zeros((more, self.fields, TABLE))])

    def forget(self, series: int) -> None:
        """Make a series as if nothing had been counted."""
        self._codes[series], self._counts[series] = np.nan, 0.0

    def rarity(self, series: Integers, codes: Floats, own: float = 0.0) -> Floats:
        """Minus the logarithm of the share of points that had the category, in nats, shape (n, fields).

        Args:
            series: shape (n,).
            codes: shape (n, fields).
            own: what the point itself counts for in the tables, and is left out.
        """
        counts = self._counts[series]
        count = np.where(self._codes[series] == codes[:, :, None], counts, 0.0).max(axis=2)
        values = 1 + np.count_nonzero(counts, axis=2)
        total = counts.sum(axis=2) + _UNSEEN * values
        return np.asarray(np.log((total - own) / (np.maximum(count - own, 0.0) + _UNSEEN)))

    def learn(self, series: int, codes: Floats) -> None:
        """Count points of one series.

        Args:
            series: whose they are.
            codes: shape (points, fields).
        """
        for field in range(self.fields):
            table, counts = self._codes[series, field], self._counts[series, field]
            counts *= np.exp(-len(codes) / self._memory)
            found, times = np.unique(codes[:, field], return_counts=True)
            known = dict(zip(table.tolist(), range(TABLE), strict=True))
            for code, more in zip(found.tolist(), times.tolist(), strict=True):
                place = known.get(code)
                if place is None:
                    place = int(counts.argmin())
                    if counts[place] >= more:
                        continue  # the table is full of what is more frequent
                    table[place], counts[place] = code, 0.0
                counts[place] += more

    def dump(self, series: int) -> bytes:
        """What is counted of a series; as :meth:`load` takes it."""
        both: bytes = self._codes[series].tobytes() + self._counts[series].tobytes()
        return both

    def load(self, series: int, data: bytes) -> None:
        """Take back what :meth:`dump` gave; raises ``ValueError`` if it is of another size."""
        both = np.frombuffer(data).reshape(2, self.fields, TABLE)
        self._codes[series], self._counts[series] = both
