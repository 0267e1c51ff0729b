"""What the demos show: streams, the jobs that watch them, and a line for each alert."""

from __future__ import annotations

import contextlib
import importlib.resources
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from anomaly_app.alerts import Alert
from anomaly_app.errors import AnomalyError
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
        prepare: makes what the jobs need in a folder, and gives further settings.
        past_s: how far in the past the records of an endless run begin: what waits for time to pass is seen at once.
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
    prepare: Callable[[Path], Mapping[str, str]] | None = None
    past_s: int = 0

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
        past_s=120,
    )


def _retail_line(alert: Alert) -> str:
    told: dict[str, Any] = alert.payload
    who = told.get("employId") or "nobody in particular"
    return f"{told.get('type')} in {told.get('storeId')}, {who}: {told.get('message')}"


def payments_scene(fraud: float) -> Scene:
    """Card payments, scored by a model that is trained at the start.

    Args:
        fraud: share of planted frauds.
    """
    from anomaly_app.cli.generate_payments import encoded
    from anomaly_app.generators.payments import IDENTITIES, TRANSACTIONS, payments

    def records(
        seed: int, count: int | None, start_ms: int, rate: float, registry: RegistryAccess
    ) -> Iterator[Generated]:
        yield from encoded(payments(seed, count, start_ms, rate, fraud), registry)

    return Scene(
        things="payments and devices",
        found="likely frauds",
        topics=(TRANSACTIONS, IDENTITIES),
        outputs=("scored-payments",),
        jobs=("payments/fraud.sql",),
        records=records,
        group_by=("card1",),
        show=_payment_line,
        settings={"worker.flush_interval_ms": "200"},
        prepare=_train,
        past_s=150,
    )


def _payment_line(alert: Alert) -> str:
    told: dict[str, Any] = alert.payload
    unusual = told.get("unusual") or "no field by itself is unusual for this card"
    return f"payment {told.get('TransactionID')} of card {told.get('card1')}: score {told.get('score'):.2f}; {unusual}"


_TRAINED_ON = 12_000
_SEED = 77
"""Of the payments that the model learns from; others than those of the demo."""


def _train(folder: Path) -> Mapping[str, str]:
    """Generate payments, join them as the job does, and train a model on them."""
    from anomaly_app.cli import main
    from anomaly_app.cli.output import note

    job = Path(str(importlib.resources.files("anomaly_app.jobs").joinpath("payments/training.sql")))
    data, table, model = folder / "payments", folder / "training.csv", folder / "fraud.onnx"
    start = "2026-01-01 09:00:00"
    told = io.StringIO()
    for step, command in (
        (f"generating {_TRAINED_ON:,} payments to learn from",
         ["generate", "payments", "--records", str(_TRAINED_ON), "--seed", str(_SEED), "--output", str(data),
          "--start", start]),
        ("joining them with their devices",
         ["query", str(job), "--table", f"transactions={data / 'transactions.jsonl'}",
          "--table", f"identities={data / 'identities.jsonl'}", "--set", f"payments.truth={data / 'truth.jsonl'}",
          "--csv"]),
        ("training a model", []),
    ):  # fmt: skip
        note(f"{step} …")
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()) as problem:
            if not command:
                columns = told.getvalue().partition("\n")[0].split(",")
                table.write_text(told.getvalue(), "utf-8")
                features = [name for name in columns if name not in _NO_FEATURES]
                command = ["train", "gradient-boosting", str(table), "--features", ",".join(features)]
                command += ["--label", "isFraud", "--time", "Timestamp", "--rate", "0.02", "--output", str(model)]
            status = main(command)
        if status:
            raise AnomalyError(f"{step} failed: {problem.getvalue().strip()}")
    return {"parameters.payments.model.file": str(model)}


_NO_FEATURES = ("TransactionID", "TransactionDT", "Timestamp", "isFraud")
