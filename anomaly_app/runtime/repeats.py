"""Fewer log lines: aiokafka says ten times a second, in four places, that a broker is away."""

from __future__ import annotations

import logging

QUIET_S = 10.0
"""A warning or error is logged once in this time."""
MOST_KNOWN = 1_000
LOGGERS = (
    "aiokafka",
    "aiokafka.client",
    "aiokafka.conn",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
    "aiokafka.producer.sender",
)


class Repeats(logging.Filter):
    """Drops warnings and errors that were logged a moment ago, whatever their arguments.

    Example:
        >>> repeats, record = Repeats(), logging.LogRecord("kafka", logging.ERROR, "", 0, "node %d is away", (1,), None)
        >>> repeats.filter(record), repeats.filter(record)
        (True, False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log a record."""
        if record.levelno < logging.WARNING:
            return True
        what = record.name, record.msg
        if record.created - self._logged.get(what, float("-inf")) < QUIET_S:
            return False
        if len(self._logged) >= MOST_KNOWN:
            self._logged.clear()
        self._logged[what] = record.created
        return True


def drop_repeats() -> None:
    """Let the loggers of aiokafka repeat themselves less; a second call changes nothing."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(present, Repeats) for present in logger.filters):
            logger.addFilter(Repeats())
