"""The alert record."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

Severity: TypeAlias = Literal["low", "medium", "high", "critical"]

SILENCE, SILENCE_OVER = "silence", "silence_over"
"""Types of the alerts of a source to which nothing comes, and to which records come again."""


class AlertSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where the last row of a finding stands.

    Args:
        topic: of the job's source table, also behind a repartition.
        partition: of that topic.
        offset: in that partition.
    """

    topic: str
    partition: int
    offset: int


class UsedRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A source row that a finding used.

    Args:
        variable: the pattern variable that it was, or another role.
        event_time: ISO-8601 in UTC with milliseconds.
        partition: of the source topic.
        offset: in that partition.
        values: the columns that the job reads.
        topic: where the row stands, if the query reads several.
    """

    variable: str
    event_time: str
    partition: int
    offset: int
    values: dict[str, Any]
    topic: str | None = None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What a finding tells the world; everything in it can be written as JSON.

    Args:
        id: 32 hex digits; the same finding has the same id on every replay, so that repeats are harmless.
        job: name of the job.
        version: of the job: a hash of its text.
        query: name of the query in the job; "" for the silence of a source.
        key: PARTITION BY columns and their values; empty without; of a silence, the table.
        type: ``pattern`` for a row pattern, ``anomaly`` for a row that a detector flagged, ``window`` for a group of a
            window that passed HAVING, ``selection`` for rows that passed a SELECT, ``silence`` for a source to which
            nothing comes and ``silence_over`` when records come again.
        severity: how bad.
        score: what the rule's output says, else what the detector says.
        event_time: ISO-8601 in UTC with milliseconds.
        detected_at: the same, by the clock of the worker.
        explanation: one or two sentences for a person.
        rows: what the finding used, in row order; from a long match its first and last rows.
        rows_total: how many it used.
        payload: output columns of the query.
        source: where the last row stands; partition and offset -1 for a silence.
        models: version of each model that the query asks, by its name; left out without.
    """

    id: str
    job: str
    version: str
    query: str
    key: dict[str, Any]
    type: str
    severity: Severity
    score: float | None
    event_time: str
    detected_at: str
    explanation: str
    rows: list[UsedRow]
    rows_total: int
    payload: dict[str, Any]
    source: AlertSource
    models: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
