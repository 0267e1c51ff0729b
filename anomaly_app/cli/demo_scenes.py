"""What the demos show: streams, the jobs that watch them, and a line for each alert."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from anomaly_app.alerts import Alert
from anomaly_app.generators import Generated, sales
from anomaly_app.generators.encode import RegistryAccess, create_encoder


@dataclass(frozen=True, slots=True)
class Scene:
    """A demo.

    Args:
        things: what is generated, in the plural.
        found: what its alerts are called in the summary.
        topics: that records go to.
        outputs: that jobs write to, besides the alerts.
        jobs: names of packaged job files.
        records: generated ones with key and value as bytes, given seed, number (None for no end), time of the first in
            ms, number per second, and the registry.
        group_by: labels by which alerts are told together.
        show: the line of an alert.
        settings: of the worker, beside the usual ones.
    """

    things: str
    found: str
    topics: tuple[str, ...]
    outputs: tuple[str, ...]
    jobs: tuple[str, ...]
    records: Callable[[int, int | None, int, float, RegistryAccess], Iterator[Generated]]
    group_by: tuple[str, ...]
    show: Callable[[Alert], str]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def job_files(self) -> list[Path]:
        """Where the job files are."""
        folder = importlib.resources.files("anomaly_app.jobs")
        return [Path(str(folder.joinpath(name))) for name in self.jobs]


def sales_scene(rare: float) -> Scene:
    """The sales tutorial: quantities that are far above the user's average.

    Args:
        rare: probability of an unusual quantity.
    """
    generator = sales(rare)

    def records(
        seed: int, count: int | None, start_ms: int, rate: float, registry: RegistryAccess
    ) -> Iterator[Generated]:
        encode = create_encoder(generator, "avro", registry)
        for record in generator.records(seed, count, start_ms, rate):
            yield record._replace(key=record.key.encode(), value=encode(record.value))

    return Scene(
        things="sales",
        found="unusual",
        topics=(generator.topic,),
        outputs=(),
        jobs=("unusual_sales.sql",),
        records=records,
        group_by=("user_id",),
        # The rest of the explanation quotes the rule, which is the same in every line.
        show=lambda alert: alert.explanation.partition("; matched ")[0],
    )


def retail_scene(rare: float) -> Scene:
    """A chain of stores: refunds, gates and stock.

    Args:
        rare: probability of a burst of refunds at a sale; that of the other incidents follows it.
    """
    from anomaly_app.generators.retail import TOPICS, Chances, RetailStream

    usual = Chances()

    def records(
        seed: int, count: int | None, start_ms: int, rate: float, registry: RegistryAccess
    ) -> Iterator[Generated]:
        stream = RetailStream(seed, start_ms, rate, usual.times(rare / usual.burst))
        for record in stream.records(count):
            yield record._replace(key=record.key.encode(), value=msgspec.json.encode(record.value))

    return Scene(
        things="records of tills, shifts, gates and counts",
        found="told",
        topics=TOPICS,
        outputs=("anomaly-alerts", "refund-audit"),
        jobs=("retail/refunds.sql", "retail/gates.sql", "retail/shrinkage.sql", "retail/audit.sql"),
        records=records,
        group_by=("job",),
        show=_retail_line,
        # Four jobs over four topics have many partitions of their own: few flushes are enough for eyes.
        settings={"worker.flush_interval_ms": "200"},
    )


def _retail_line(alert: Alert) -> str:
    told: dict[str, Any] = alert.payload
    who = told.get("employId") or "nobody in particular"
    return f"{told.get('type')} in {told.get('storeId')}, {who}: {told.get('message')}"
