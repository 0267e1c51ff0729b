"""Findings to alert records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from anomaly_app.alerts.explanation import Explainer
from anomaly_app.alerts.identity import alert_id
from anomaly_app.alerts.record import Alert, AlertSource, UsedRow
from anomaly_app.alerts.severity import score_of, severity_of
from anomaly_app.alerts.values import Converter, iso_time, to_json
from anomaly_app.graph.vertices import place_in_source
from anomaly_app.jobs.model import Job, Plan, Query
from anomaly_app.operators import COLUMNS, TIME, Finding, Layout, Row
from anomaly_app.schema import Column
from anomaly_app.upstreams import feed_of, partition_of

MOST_ROWS = 20
"""Rows that an alert carries; of a longer match the first and the last ones, half of each."""


class AlertBuilder:
    """Makes the alerts of one query.

    Args:
        job: gives name and version.
        plan: of the query; gives the topics and the layout of the rows.
        query: whose findings they are.
    """

    def __init__(self, job: Job, plan: Plan, query: Query) -> None:
        factory = query.factory
        self._job, self._query, self._topics = job, query.name, plan.topics
        self._source = plan.source.topic
        self._explainer = Explainer(plan, query)
        self._type = factory.alert_type
        self._about = query.about
        about = factory.key if query.about is None else [factory.output[place] for place in query.about]
        self._key = _converters(about)
        self._payload = _converters(factory.output)
        told = plan.evidence(query)
        self._all = _Told.of(told, [c for c in told.columns if told is not plan.layout or c.name in factory.reads])
        self._roles = {role: _Told.of(layout, layout.columns) for role, layout in plan.roles(query).items()}
        self._lower = [column.name.lower() for column in factory.output]
        self._several = len(self._topics) > 1
        self._models = {model.name: model.version for model in query.planned.models}

    def build(self, finding: Finding, *, partition: int, offset: int, detected_ms: int) -> Alert:
        """The alert of a finding.

        Args:
            finding: of the query.
            partition: of the source topic, in which the last row stands; of several topics the number of the upstream
                partition.
            offset: of the last row in that partition.
            detected_ms: now, in ms since 1970.
        """
        output = dict(zip(self._lower, finding.values, strict=False))
        score = score_of(output)
        return Alert(
            id=self.id(finding, partition=partition, offset=offset),
            job=self._job.name,
            version=self._job.version,
            query=self._query,
            key=_convert(self._key, finding.key if self._about is None else [finding.values[n] for n in self._about]),
            type=self._type,
            severity=severity_of(output, finding.score),
            score=finding.score if score is None else score,
            event_time=iso_time(finding.time),
            detected_at=iso_time(detected_ms),
            explanation=self._explainer.explain(finding),
            rows=self._used(finding.bindings, partition),
            rows_total=len(finding.bindings),
            payload=_convert(self._payload, finding.values),
            source=AlertSource(topic=self._topic(partition), partition=partition_of(partition), offset=offset),
            models=self._models or msgspec.UNSET,
        )

    def id(self, finding: Finding, *, partition: int, offset: int) -> str:
        """The id of a finding, be it an alert or not; arguments as in :meth:`build`."""
        return alert_id(self._job.name, self._query, finding.key, partition, offset, finding.number)

    def _topic(self, upstream: int) -> str:
        """Of an upstream partition; of one that is read no more the table's."""
        return self._topics.get(feed_of(upstream), self._source)

    def _used(self, bindings: Sequence[tuple[str, Row]], partition: int) -> list[UsedRow]:
        if len(bindings) > MOST_ROWS:
            bindings = [*bindings[: MOST_ROWS // 2], *bindings[-(MOST_ROWS // 2) :]]
        used = []
        for variable, row in bindings:
            told = self._roles.get(variable, self._all)
            offset, own = place_in_source(row, told.width)
            used.append(
                UsedRow(
                    variable=variable,
                    event_time=iso_time(row[TIME]),
                    partition=partition_of(partition if own is None else own),
                    offset=offset,
                    values=_convert(told.columns, [row[place] for place in told.places]),
                    topic=self._topic(partition if own is None else own) if self._several else None,
                )
            )
        return used


@dataclass(frozen=True, slots=True)
class _Told:
    """What an alert tells of a row.

    Args:
        columns: names, and what makes values of JSON of theirs.
        places: where they stand in a row.
        width: of the row.
    """

    columns: list[tuple[str, Converter | None]]
    places: list[int]
    width: int

    @classmethod
    def of(cls, layout: Layout, columns: Sequence[Column]) -> _Told:
        return cls(_converters(columns), [layout.index(c.name) for c in columns], COLUMNS + len(layout.columns))


def _converters(columns: Sequence[Column]) -> list[tuple[str, Converter | None]]:
    return [(column.name, to_json(column.type)) for column in columns]


def _convert(converters: Sequence[tuple[str, Converter | None]], values: Sequence[Any]) -> dict[str, Any]:
    return {
        name: value if convert is None or value is None else convert(value)
        for (name, convert), value in zip(converters, values, strict=True)
    }
