"""``anomaly deliver``: alerts to people and systems."""

from __future__ import annotations

from typing import Annotated

import typer

from anomaly_app.cli.options import Broker, ConfigFile, Json, Set, load


def deliver(
    check: Annotated[bool, typer.Option("--check", help="Check the settings and print the route tree.")] = False,
    explain: Annotated[
        str | None,
        typer.Option(help="Say where an alert would go, and why: a JSON file, or the id of one that was raised."),
    ] = None,
    test: Annotated[
        str | None, typer.Option(help="Send a sample, marked as such, to a receiver, and say what happened.")
    ] = None,
    broker: Broker = None,
    port: Annotated[int | None, typer.Option(help="Of the page and its API; 0 for any that is free.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
    json: Json = False,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Tell alerts to the receivers of the settings until Ctrl-C.

    Example: anomaly deliver --config anomaly.toml --broker localhost:9092
    """
    import asyncio

    given = {"kafka.bootstrap_servers": broker, "delivery.port": str(port) if port is not None else None}
    loaded = load(config, set, given)
    if [check, explain is not None, test is not None].count(True) > 1:
        raise typer.BadParameter("--check, --explain and --test are commands of their own: give one of them")
    from anomaly_app.cli import deliver_explain, deliver_run

    if check:
        deliver_explain.check(loaded)
    elif explain is not None:
        deliver_explain.explain(loaded, explain, json)
    elif test is not None:
        raise typer.Exit(asyncio.run(deliver_run.test(loaded, test)))
    else:
        deliver_run.run(loaded, log_level)
