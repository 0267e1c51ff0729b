"""``anomaly demo``: the whole path on this machine, from generated sales to readable alerts."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer


def demo(
    records: Annotated[int | None, typer.Option(min=1, help="Generate that many, then end with a summary.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, help="Sales per second.")] = 100.0,
    rare: Annotated[float, typer.Option(min=0, max=1, help="Probability of an unusual quantity.")] = 0.02,
    seed: Annotated[int, typer.Option(help="Of the generator: the same seed gives the same sales.")] = 1,
    broker: Annotated[
        str | None, typer.Option(help="A Kafka without login as host:port, in place of the embedded one.")
    ] = None,
    port: Annotated[int, typer.Option(help="Of the status page; 0 for any that is free.")] = 6066,
) -> None:
    """Generate sales and print the unusual ones: broker, registry, worker and page, all on this machine.

    Example: anomaly demo --records 20000
    """
    from anomaly_app.cli.demo_run import DemoRun

    raise typer.Exit(asyncio.run(DemoRun(records, rate, rare, seed, broker, port).run()))
