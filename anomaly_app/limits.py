"""What the operators of a query may hold."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operators of one query may hold in one partition.

    Args:
        rows_per_key: rows that one attempt may take; beyond it the attempt is given up and counted.
        threads: ways one attempt may follow at once.
        groups: open groups of a windowed GROUP BY: a key in a slice of time.
        keys: of a query with detectors, each with a model.
        lookup_rows: of a table that a query looks rows up in.
    """

    rows_per_key: int = 100_000
    threads: int = 10_000
    groups: int = 1_000_000
    keys: int = 1_000_000
    lookup_rows: int = 1_000_000
