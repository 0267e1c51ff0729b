"""A source that falls silent: one alert when nothing new has come for too long, one when records are back.

Silence is judged by the wall clock, from the ends of all partitions of the topic: they move with every record, whoever
reads it and whatever it says. All that must be remembered is small, and outlives the process that watches.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from anomaly_app.alerts.identity import alert_id
from anomaly_app.alerts.record import SILENCE, SILENCE_OVER, Alert, AlertSource
from anomaly_app.alerts.values import iso_time
from anomaly_app.errors import StateError
from anomaly_app.jobs.model import Job
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.words import duration

NOWHERE = -1
"""Partition and offset of an alert that no row caused."""


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of a source.

    Args:
        ends: offset behind the last record, by partition.
        since_ms: when they were first seen like this, in ms since 1970.
        told: that the source is silent.
    """

    ends: tuple[int, ...]
    since_ms: int
    told: bool = False


class SilenceWatch:
    """Watches one source table of a job.

    Args:
        job: that reads it.
        source: the table.
        after_ms: how long nothing may come.
        remembered: :meth:`memory` of the watch before this one; None if there was none.

    Attributes:
        news: there is something to remember that was not asked for yet.

    Raises:
        StateError: ``remembered`` is unreadable.

    Example:
        >>> from anomaly_app.jobs.topic_tables import Format
        >>> from anomaly_app.schema import Schema
        >>> watch = SilenceWatch(Job("j", "1", "", "", ()), Source("sales", Schema(()), "t", Format("json")), 60_000)
        >>> watch.observe([7, 4], 0), watch.observe([7, 4], 59_999)
        (None, None)
        >>> print(watch.observe([7, 4], 60_000).explanation)
        Nothing has come to topic t (table sales) since 1970-01-01 00:00:00.000: for 1 minute.
        >>> watch.observe([7, 4], 99_000) is None, watch.observe([7, 5], 120_000).type
        (True, 'silence_over')
    """

    def __init__(self, job: Job, source: Source, after_ms: int, remembered: bytes | None = None) -> None:
        self._job, self._source, self._after_ms = job, source, after_ms
        self._seen: Seen | None = None
        if remembered is not None:
            try:
                self._seen = msgspec.msgpack.decode(remembered, type=Seen)
            except msgspec.DecodeError as error:
                raise StateError(f"what is stored of the silence of {source.topic} is unreadable: {error}") from error
        self.news = False

    def observe(self, ends: Sequence[int], now_ms: int) -> Alert | None:
        """Take note of where the topic ends now.

        Args:
            ends: offset behind the last record, by partition.
            now_ms: wall clock, in ms since 1970.

        Returns:
            The alert that is due.
        """
        seen, standing = self._seen, tuple(ends)
        if seen is None or seen.ends != standing:
            self._remember(Seen(standing, now_ms))
            return self._alert(seen, now_ms, over=True) if seen is not None and seen.told else None
        if seen.told:
            return None
        if now_ms < seen.since_ms:  # the clock was set back
            self._remember(Seen(standing, now_ms))
        elif now_ms - seen.since_ms >= self._after_ms:
            self._remember(Seen(standing, seen.since_ms, told=True))
            return self._alert(seen, now_ms, over=False)
        return None

    def memory(self) -> bytes:
        """What the next watch must know."""
        self.news = False
        return msgspec.msgpack.encode(self._seen)

    def _remember(self, seen: Seen) -> None:
        self._seen, self.news = seen, True

    def _alert(self, seen: Seen, now_ms: int, *, over: bool) -> Alert:
        name, topic = self._source.name, self._source.topic
        since, silent_ms = iso_time(seen.since_ms, " ", ""), now_ms - seen.since_ms
        where = f"topic {topic} (table {name})"
        if over:
            explanation = f"Records come to {where} again: nothing had come since {since}, for {duration(silent_ms)}."
        else:
            explanation = f"Nothing has come to {where} since {since}: for {duration(silent_ms)}."
        return Alert(
            # A silence is named by where the topic stands: the same for every worker and after every restart.
            id=alert_id(self._job.name, SILENCE, (name, topic, seen.ends), NOWHERE, NOWHERE, int(over)),
            job=self._job.name,
            version=self._job.version,
            query="",
            key={"table": name},
            type=SILENCE_OVER if over else SILENCE,
            severity="low" if over else "high",
            score=None,
            event_time=iso_time(now_ms if over else seen.since_ms + self._after_ms),
            detected_at=iso_time(now_ms),
            explanation=explanation,
            rows=[],
            rows_total=0,
            payload={
                "topic": topic,
                "silent_since": iso_time(seen.since_ms),
                "silent_s": silent_ms / 1000,
                "silence_after_s": self._after_ms / 1000,
            },
            source=AlertSource(topic=topic, partition=NOWHERE, offset=NOWHERE),
        )
