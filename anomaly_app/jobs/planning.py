"""Queries of a job that read the same tables, keyed in the same way, as one plan."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from anomaly_app.jobs.model import Input, Plan, Query, Routing
from anomaly_app.jobs.topic_tables import Source
from anomaly_app.operators import Layout
from anomaly_app.plan.physical.layouts import table_layout


def plans_of(
    queries: Iterable[Query], sources: Mapping[str, Source], partitions: Mapping[str, int]
) -> tuple[Plan, ...]:
    """The plans of a job.

    Args:
        queries: of the job.
        sources: its tables, by name.
        partitions: number of partitions by topic; a topic that is missing has more than one.
    """
    groups: dict[tuple[_Read, bool], list[Query]] = {}
    for query in queries:
        names = (scan.table for scan in query.factory.scans)
        read = sorted(set(zip(names, query.factory.spread, strict=True)), key=repr)
        is_joint = len(read) > 1 or query.factory.joint
        groups.setdefault((tuple(read), is_joint), []).append(query)
    plans: list[Plan] = []
    given: dict[str, Plan] = {}
    """Fragments that give rows to others, by the name that these have as a table."""
    for (tables, is_joint), group in groups.items():
        inputs = [
            _after(Input(sources[name], _layout(sources[name], group), keys), given.get(name)) for name, keys in tables
        ]
        first = inputs[0]
        keys = first.partition_by
        words = "-".join(_word(one) for one in inputs)
        suffix = "" if keys is None else "-" + ("-".join(keys) if keys else "all")
        name = free_name(re.sub(r"[^A-Za-z0-9._-]", "_", words + suffix), [known.name for known in plans])
        joint = tuple(inputs) if is_joint else ()
        routing = _of_several(inputs) if joint else _routing(first.source, keys, partitions)
        plans.append(Plan(name, first.source, tuple(group), first.layout, routing, keys or (), joint))
        given |= {query.passes: plans[-1] for query in group if query.passes}
    return tuple(plans)


def with_roots(plans: Iterable[Plan]) -> tuple[Plan, ...]:
    """Plans of a job whose topics may be others now: those behind fragments are told.

    Args:
        plans: those first that others read.
    """
    found: list[Plan] = []
    given: dict[str, Plan] = {}
    for plan in plans:
        joint = tuple(_after(one, given.get(one.source.name)) for one in plan.joint)
        found.append(replace(plan, joint=joint))
        given |= {query.passes: found[-1] for query in plan.queries if query.passes}
    return tuple(found)


def _after(one: Input, fragment: Plan | None) -> Input:
    """An input with the topics behind it."""
    return one if fragment is None else replace(one, span=fragment.span, roots=fragment.topics)


_Read: TypeAlias = tuple[tuple[str, tuple[str, ...] | None], ...]
"""Names of tables, and the columns that key each."""


def _word(one: Input) -> str:
    """A table in the name of a plan."""
    return "rows" if one.is_exchange else one.source.name.rpartition(".")[2]


def _layout(source: Source, queries: Sequence[Query]) -> Layout:
    """The columns of a table that somebody reads."""
    reads = (column for query in queries for column in query.factory.physical.reads[source.name])
    return table_layout(source.schema, source.columns(reads))


def _routing(source: Source, keys: tuple[str, ...] | None, partitions: Mapping[str, int]) -> Routing:
    if keys is None or (partitions.get(source.topic) == 1 and not source.topics.several):
        return Routing.DIRECT
    if not keys:
        return Routing.SINGLE
    if source.topics.several:  # a key may have rows in all of them
        return Routing.REPARTITION
    # Rows with equal PARTITION BY columns have equal record keys, if those are made of some of these columns.
    if source.key_fields and set(source.key_fields) <= set(keys):
        return Routing.DIRECT
    return Routing.REPARTITION


def _of_several(inputs: Sequence[Input]) -> Routing:
    """Always through a topic, so that all workers see the rows of all tables in one order."""
    return Routing.SINGLE if any(one.partition_by == () for one in inputs) else Routing.REPARTITION


def free_name(name: str, taken: Sequence[str]) -> str:
    """The name, or with a number behind it if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
