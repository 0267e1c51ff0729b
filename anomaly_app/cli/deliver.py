"""``anomaly deliver``: alerts to people and systems."""

from __future__ import annotations

from typing import Annotated

import typer

from anomaly_app.cli.options import Broker, ConfigFile, Set, load


def deliver(
    test: Annotated[
        str | None, typer.Option(help="Send a sample, marked as such, to a receiver, and say what happened.")
    ] = None,
    broker: Broker = None,
    port: Annotated[int | None, typer.Option(help="Of the page and its API; 0 for any that is free.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Tell alerts to the receivers of the settings until Ctrl-C.

    Example: anomaly deliver --config anomaly.toml --broker localhost:9092
    """
    import asyncio

    given = {"kafka.bootstrap_servers": broker, "delivery.port": str(port) if port is not None else None}
    loaded = load(config, set, given)
    from anomaly_app.cli import deliver_run

    if test is not None:
        raise typer.Exit(asyncio.run(deliver_run.test(loaded, test)))
    else:
        deliver_run.run(loaded, log_level)
