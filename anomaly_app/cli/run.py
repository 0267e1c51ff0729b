"""``anomaly run``: the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomaly_app.cli.options import Broker, ConfigFile, RegistryUrl, Set, load


def run(
    jobs: Annotated[list[Path] | None, typer.Argument(help="Job files, in place of those of the settings.")] = None,
    broker: Broker = None,
    registry: RegistryUrl = None,
    bounded: Annotated[bool, typer.Option("--bounded", help="Stop at the end that the topics have now.")] = False,
    startup: Annotated[
        str | None,
        typer.Option(help="earliest-offset, latest-offset or group-offsets, in place of the job's scan.startup.mode."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder for the state.")] = None,
    port: Annotated[int | None, typer.Option(help="Of the status page; 0 for any that is free.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Run jobs against Kafka until Ctrl-C or, with --bounded, to the end of their topics.

    Example: anomaly run jobs/unusual_sales.sql --broker localhost:9092
    """
    loaded = load(
        config,
        set,
        {
            "kafka.bootstrap_servers": broker,
            "registry.url": registry,
            "worker.jobs": ",".join(str(job) for job in jobs) if jobs else None,
            "worker.bounded": "true" if bounded else None,
            "worker.startup": startup,
            "worker.data_dir": str(data_dir) if data_dir is not None else None,
            "web.port": str(port) if port is not None else None,
        },
    )
    # Faust takes a second to import: only now that the settings are known to be right.
    from anomaly_app.app import run_worker

    raise typer.Exit(run_worker(loaded, log_level))
