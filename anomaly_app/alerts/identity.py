"""Ids that are the same on every replay."""

from __future__ import annotations

import hashlib
from typing import Any


def alert_id(job: str, query: str, key: tuple[Any, ...], partition: int, offset: int, number: int) -> str:
    """The id of a finding, from what names it and nothing else: no clock, no batch, no worker.

    Args:
        job: name of the job.
        query: name of the query in the job.
        key: values of the PARTITION BY columns in memory form.
        partition: of the source topic.
        offset: of the last source row.
        number: as in :class:`~anomaly_app.operators.Finding`.

    Returns:
        128 bits as 32 hex digits.

    Example:
        >>> alert_id("sales", "unusual", ("user-67",), 3, 1042, 0)
        '58c9a95613a44ea364fec35ac830aed7'
    """
    # ascii() is one-to-one on these values, and does not depend on the interpreter's Unicode version as repr() does.
    text = ascii((job, query, key, partition, offset, number))
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()
