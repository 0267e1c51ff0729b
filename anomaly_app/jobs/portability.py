"""What Flink 2.3 would refuse of a job that is right here: a job file is meant to run on both."""

from __future__ import annotations

from collections.abc import Mapping

from anomaly_app.jobs.options import IDLE_CLOCK, NULLS
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.plan.nodes import Calc, Detect, LookupJoin, Materialize, Node, Rank, walk

SEVERAL_TIMES = "table.exec.sink.rowtime-inserter"
"""Flink's option: with ``DISABLED`` it takes an INSERT of more than one event-time attribute."""

ON_CONFLICT = "table.exec.sink.require-on-conflict"
"""Flink's option: with ``false`` rows that are not unique by the primary key of a sink need no ON CONFLICT clause."""

OF_FLINK_ONLY = frozenset({SEVERAL_TIMES, ON_CONFLICT})
"""Options that a job file needs for Flink, and that change nothing here."""


def refused_by_flink(
    node: Node, sink: str, primary_key: tuple[str, ...], settled: bool, settings: Mapping[str, str]
) -> list[str]:
    """What Flink 2.3 says no to in an INSERT, in words that name the way out.

    Each was tried on Flink 2.3.0 (``tests/flink``).

    Args:
        node: the query.
        sink: name of the table.
        primary_key: its columns; empty without.
        settled: the statement has an ON CONFLICT clause.
        settings: what SET has said so far; ``OF_FLINK_ONLY`` count.
    """
    found: list[str] = []
    detectors = dict.fromkeys(call.function.name for one in walk(node) if isinstance(one, Detect) for call in one.calls)
    if detectors:
        found.append(f"it has no {', '.join(detectors)}")
    joins = [one for one in walk(node) if isinstance(one, LookupJoin)]
    if joins:
        tables = ", ".join(dict.fromkeys(join.table.name for join in joins))
        found.append(
            f"it looks up neither in files nor in compacted topics: {tables} needs another connector, such as 'jdbc'"
        )
    if any(join.as_of_call for join in joins):
        found.append(
            "FOR SYSTEM_TIME AS OF takes no PROCTIME() there, only a column: declare one, as in pt AS PROCTIME(), and "
            "join AS OF it"
        )
    times = _event_times(node)
    if len(times) > 1 and settings.get(SEVERAL_TIMES, "").upper() != "DISABLED":
        found.append(
            f"{' and '.join(times)} of the INSERT INTO {sink} are event-time attributes, one is allowed: "
            f"CAST the others AS TIMESTAMP(3), or SET '{SEVERAL_TIMES}' = 'DISABLED'"
        )
    # Of ROW_NUMBER Flink knows a key, and of rows that may be taken back where they are not materialized.
    keyed = not isinstance(node, Materialize) and (node.updating or any(isinstance(one, Rank) for one in walk(node)))
    if primary_key and not settled and not keyed and settings.get(ON_CONFLICT, "").lower() != "false":
        found.append(
            f"several rows may have the same primary key ({', '.join(primary_key)}) of {sink}: write ON CONFLICT DO "
            f"DEDUPLICATE behind the query, or SET '{ON_CONFLICT}' = 'false'"
        )
    return found


def unknown_to_flink(source: Source) -> list[str]:
    """What Flink 2.3 says no to in a table that is read."""
    ours = [name for name, used in ((NULLS, source.skips_nulls), (IDLE_CLOCK, source.idle_clock)) if used]
    return [f"table {source.name}: it has no option '{name}'" for name in ours]


def _event_times(node: Node) -> list[str]:
    """All columns that are event-time attributes: a node names one of several copies only."""
    if not isinstance(node, Calc):
        return [name for name in node.names if name in node.rowtimes]
    below = _event_times(node.input)
    return [name for name, item in zip(node.names, node.items, strict=True) if item.bare in below]
