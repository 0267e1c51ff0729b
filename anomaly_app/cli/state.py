"""``anomaly state``: what is stored of each query, and how to be rid of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomaly_app.cli.options import Broker, ConfigFile, Json, Set, load
from anomaly_app.cli.output import print_json, print_table

state = typer.Typer(
    no_args_is_help=True, help="What is stored of each query.\n\nExample: anomaly state list --data-dir state"
)

DataDir = Annotated[Path | None, typer.Option(help="Folder of the state.")]


@state.command("list")
def list_states(data_dir: DataDir = None, set: Set = None, config: ConfigFile = None, json: Json = False) -> None:
    """Print what the data directory holds: queries, entries, bytes. A worker may run meanwhile.

    Example: anomaly state list --data-dir state
    """
    from anomaly_app.tables.files import read_states

    loaded = load(config, set, {"worker.data_dir": str(data_dir) if data_dir is not None else None})
    states = read_states(loaded.settings.worker.data_dir)
    if json:
        print_json(
            [
                {
                    "query": one.query,
                    "fingerprint": one.fingerprint,
                    "plan": one.plan,
                    "partitions": sorted(one.partitions),
                    "entries": one.entries,
                    "bytes": one.bytes,
                }
                for one in states
            ]
        )
        return
    print_table(
        ("query", "fingerprint", "plan", "partitions", "entries", "bytes"),
        [
            (one.query, one.fingerprint, one.plan, str(len(one.partitions)), str(one.entries), str(one.bytes))
            for one in states
        ],
    )


@state.command("drop")
def drop_state(
    query: Annotated[str, typer.Argument(help="Its name, job/query, or its fingerprint.")],
    broker: Broker = None,
    data_dir: DataDir = None,
    set: Set = None,
    config: ConfigFile = None,
) -> None:
    """Delete the state of a query, from Kafka and from the data directory; no worker may run.

    Example: anomaly state drop unusual_sales/unusual
    """
    import asyncio

    given = {"kafka.bootstrap_servers": broker, "worker.data_dir": str(data_dir) if data_dir is not None else None}
    loaded = load(config, set, given)
    from anomaly_app.runtime.leftovers import drop

    for dropped in asyncio.run(drop(loaded, query)):
        print(f"{dropped.query} ({dropped.fingerprint}): {dropped.entries} entries deleted")
