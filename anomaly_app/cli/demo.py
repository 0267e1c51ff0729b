"""``anomaly demo``: the whole path on this machine, from generated records to readable alerts."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

RATES = {"sales": 100.0, "retail": 40.0, "payments": 50.0}
"""Records per second of each demo; of retail, sales."""
RARE = {"sales": 0.02, "retail": 0.005, "payments": 0.02}


def demo(
    scene: Annotated[str, typer.Argument(help=f"What is shown: {', '.join(RATES)}.")] = "sales",
    records: Annotated[int | None, typer.Option(min=1, help="Generate that many, then end with a summary.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, help="Per second; else 100, of retail 40, of payments 50.")
    ] = None,
    rare: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Probability of an unusual quantity, a burst of refunds, a fraud."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the generator: the same seed gives the same records.")] = 1,
    broker: Annotated[
        str | None, typer.Option(help="A Kafka without login as host:port, in place of the embedded one.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of the status page; 0 for any that is free.")] = 6066,
) -> None:
    """Generate records and print what is found: broker, registry, worker, delivery and pages, all on this machine.

    Example: anomaly demo --records 20000

    Example: anomaly demo retail
    """
    from anomaly_app.cli.demo_run import DemoRun
    from anomaly_app.cli.demo_scenes import payments_scene, retail_scene, sales_scene

    if scene not in RATES:
        raise typer.BadParameter(f"{scene!r} should be one of {', '.join(RATES)}", param_hint="SCENE")
    chance = RARE[scene] if rare is None else rare
    shown = {"sales": sales_scene, "retail": retail_scene, "payments": payments_scene}[scene](chance)
    raise typer.Exit(asyncio.run(DemoRun(shown, records, rate or RATES[scene], seed, broker, port).run()))
