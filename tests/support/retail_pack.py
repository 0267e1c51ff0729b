"""The job files of the retail pack over events in order of arrival, over all topics."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from anomaly_app.cli.files import JsonLines
from anomaly_app.jobs.binder import BoundQuery, BoundTable, bind_text
from anomaly_app.jobs.joint_task import JointSlot, JointTask
from anomaly_app.operators import COLUMNS, POSITION, Row
from anomaly_app.rows import Rows, batches_of, to_python_rows

PACK = resources.files("anomaly_app").joinpath("jobs/retail")
JOBS = ("refunds", "gates", "shrinkage")
TOPICS = {
    "pos_events": "pos-events",
    "staff_shifts": "staff-shifts",
    "security_events": "security-events",
    "inventory_counts": "inventory-counts",
}
ORIGINAL = {
    "retail.refund.same_cashier": "TRUE",
    "retail.shift.any_store": "TRUE",
    "retail.shift.last_only": "TRUE",
    "retail.gate.window": "5 min",
    "retail.gate.any_event": "TRUE",
}
"""What makes the pack behave as the original job does."""

Event = Mapping[str, Any]
"""``topic`` and ``value``, as in the golden cases: the JSON of a record, read or not."""


def text_of(job: str) -> str:
    """A job file of the pack."""
    return PACK.joinpath(f"{job}.sql").read_text("utf-8")


@cache
def bound_job(job: str, parameters: tuple[tuple[str, str], ...]) -> tuple[BoundQuery, ...]:
    """The queries of a job file of the pack, bound once."""
    head, *inserts = re.split(r"^(?=INSERT INTO)", text_of(job), flags=re.MULTILINE)
    return tuple(bind_text(head + insert, {}, parameters=dict(parameters)) for insert in inserts)


def encoded(event: Event) -> bytes:
    """The bytes of a record."""
    value = event["value"]
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()


def rows_of(events: Sequence[Event], tables: Sequence[BoundTable]) -> tuple[list[tuple[int, Row]], list[str]]:
    """Table and row of each event that one of the tables reads, and why others cannot be read."""
    numbers = {TOPICS[table.name]: number for number, table in enumerate(tables)}
    read: list[tuple[int, int, Row]] = []
    bad: list[str] = []
    for topic, number in numbers.items():
        lines = [(place, encoded(event)) for place, event in enumerate(events) if event["topic"] == topic]
        places = [place for place, _ in lines]
        unreadable: list[Any] = []
        file = JsonLines(lines, unreadable)
        bad += [one.reason for one in unreadable]
        places = list(file.lines)
        for batch, rejected in batches_of(Rows(rows=file), tables[number]):
            bad += [one.reason for one in rejected]
            read += [(places[row[POSITION]], number, row) for row in batch]
    read.sort(key=lambda one: one[0])
    return [(number, (row[0], place, *row[COLUMNS:])) for place, number, row in read], bad


def run_job(
    job: str, events: Sequence[Event], parameters: Mapping[str, str] | None = None, *, flushed: bool = True
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Alerts of a job file, in the order of the events that caused them; and what was dropped.

    Args:
        job: name of the file.
        events: in order of arrival.
        parameters: in place of what the file says.
        flushed: time goes on behind the last event.
    """
    told: dict[str, Any] = {"rejected": [], "late": [], "problems": []}
    alerts: list[tuple[int, dict[str, Any]]] = []
    for bound in bound_job(job, tuple(sorted((parameters or {}).items()))):
        _run(bound, events, flushed, alerts, told)
    # Of one refund the missing sale comes before the burst, as in the original.
    alerts.sort(key=lambda one: (one[0], "refund_burst" in one[1]["message"]))
    return [alert | {"event": place} for place, alert in alerts], told


def _run(
    bound: BoundQuery, events: Sequence[Event], flushed: bool, alerts: list[tuple[int, dict[str, Any]]],
    told: dict[str, Any],
) -> None:  # fmt: skip
    operator, _ = bound.factory.create_over({table.name: table.layout for table in bound.tables})
    operator.keep_nothing()
    numbers = [[table.name for table in bound.tables].index(scan.table) for scan in bound.factory.scans]
    task = JointTask([JointSlot("query", operator, numbers)], [table.schema for table in bound.tables])
    names = [column.name for column in bound.factory.output]
    out = to_python_rows(bound.factory.output, 0)
    rows, told["rejected"] = rows_of(events, bound.tables)

    def take() -> None:
        output = task.take()
        told["problems"] += [str(problem.error) for _, problem in output.problems]
        told["late"] += [row[POSITION] for row in output.late]
        told["late"] += [late.row for _, late in output.late_inside]
        for _, finding in output.findings:
            (values,) = out([finding.values])
            alerts.append((finding.last[POSITION], dict(zip(names, values, strict=True))))

    for number, row in rows:
        task.process([(number, row)])
        take()
    if flushed:
        task.finish()
        take()


def run_pack(events: Sequence[Event], parameters: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Alerts of the whole pack; arguments as of :func:`run_job`."""
    order = {"REFUND_PATTERN": 0, "SECURITY_CORRELATION": 1, "SHRINKAGE": 2}
    found: list[dict[str, Any]] = []
    for job in JOBS:
        known = {name: value for name, value in (parameters or {}).items() if f"${{{name}}}" in text_of(job)}
        found += run_job(job, events, known)[0]
    return sorted(found, key=lambda alert: (alert["event"], order[alert["type"]]))
