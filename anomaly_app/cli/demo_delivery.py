"""The delivery of the demo: it groups alerts and tells them to an inbox within the demo, so that its page has life."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from anomaly_app.settings import PREFIX

SETTINGS = """
[kafka]
bootstrap_servers = "{servers}"

[alerts]
topic = "{alerts}"

[delivery]
name = "{name}"
port = {port}
link = "http://127.0.0.1:{port}/"
signing_key = "{key}"
hold = "1m"
silence_topic = "{name}-silences"
ack_topic = "{name}-acks"
response_topic = "{name}-responses"
dead_letter_topic = "{name}-undelivered"

[delivery.route]
receiver = "demo"
group_by = {group_by}
group_wait = "2s"
group_interval = "20s"

[[delivery.receivers]]
name = "demo"
[[delivery.receivers.webhook]]
url = "{inbox}"
text = "{{{{ acknowledge }}}}"
"""
"""Few notifications of many alerts: what a team's chat would get."""


async def start_delivery(
    stack: contextlib.AsyncExitStack, servers: str, alerts: str, name: str, group_by: Sequence[str], port: int,
    stop: Callable[[asyncio.subprocess.Process], Coroutine[Any, Any, None]], told: Callable[[str, str], None],
) -> asyncio.subprocess.Process:  # fmt: skip
    """Start ``anomaly deliver``.

    Args:
        stack: ends it.
        servers: of the broker.
        alerts: topic of the alerts.
        name: of the delivery.
        group_by: labels by which alerts are told together.
        port: of its page.
        stop: ends a process in order.
        told: is given the title of each notification, and the link to acknowledge it ("" for none).
    """
    inbox = await stack.enter_async_context(_inbox(told))
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="anomaly-demo-", ignore_cleanup_errors=True))
    config = Path(folder, "delivery.toml")
    labels = json.dumps(list(group_by))
    text = SETTINGS.format(
        servers=servers, alerts=alerts, name=name, group_by=labels, port=port, inbox=inbox, key=secrets.token_hex(16)
    )
    await asyncio.to_thread(config.write_text, text)
    delivery = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "anomaly_app.testing.guard"),
        *(sys.executable, "-m", "anomaly_app.cli", "deliver", "--log-level", "error", "--config", str(config)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,  # the demo says where the page is
        env={name: value for name, value in os.environ.items() if not name.startswith(PREFIX)},
        start_new_session=True,
    )
    stack.push_async_callback(stop, delivery)
    return delivery


@contextlib.asynccontextmanager
async def _inbox(told: Callable[[str, str], None]) -> Any:
    """The address of somebody who takes every notification."""

    async def take(request: web.Request) -> web.Response:
        said = (await request.json())["commonAnnotations"]
        told(said["title"], said["text"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
