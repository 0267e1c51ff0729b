"""The delivery process as a program: its page, signals, the end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading

from anomaly_app.agents.delivery import DeliveryProcess
from anomaly_app.runtime.cancel import cancel
from anomaly_app.settings import LoadedSettings
from anomaly_app.web.delivery import serve
from anomaly_app.web.http import WebServer

STOP_S = 10.0
"""How long a stop may take: then the process ends as it is, which loses nothing."""


def run_delivery(loaded: LoadedSettings, log_level: int = logging.WARNING) -> None:
    """Deliver in this process until a signal says to stop.

    Args:
        loaded: the settings.
        log_level: of the module ``logging``.

    Raises:
        SettingsError: something cannot be as it is set.
        BrokerError: Kafka is away at the start, or refuses something.
    """
    logging.basicConfig(level=log_level, format="[%(asctime)s] %(levelname)s %(message)s")
    # What its clients say of a broker that is away is shown by /ready; in a log it is noise.
    logging.getLogger("aiokafka").setLevel(logging.DEBUG if log_level <= logging.DEBUG else logging.CRITICAL)
    asyncio.run(_run(loaded))


async def _run(loaded: LoadedSettings) -> None:
    process = DeliveryProcess(loaded)
    delivery = loaded.settings.delivery

    async def page() -> WebServer:
        server = await serve(
            process, delivery.bind, delivery.port, token=delivery.token.get_secret_value(),
            signing_key=delivery.signing_key.get_secret_value(), origin=loaded.origins["delivery.port"],
        )  # fmt: skip
        print(f"page: {server.url}", flush=True)
        return server

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, process.stop)
    deadline = threading.Timer(STOP_S, _give_up)
    deadline.daemon = True
    running, stopping = asyncio.create_task(process.run(page)), asyncio.create_task(process.stopped())
    try:
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            deadline.start()
        await running
    finally:
        await cancel([stopping])
        deadline.cancel()


def _give_up() -> None:
    """End the process: clients wait for minutes for a broker that is away."""
    problem = f"not stopped within {STOP_S:.0f} s; what was not stored is done again"
    print(f"anomaly: {problem}", file=sys.__stderr__, flush=True)
    os._exit(1)
