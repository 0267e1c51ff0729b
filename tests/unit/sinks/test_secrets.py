"""Whatever goes wrong, and whatever the other side answers: no secret is told."""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from mail_server import mail_server
from notifications import T0, a_notification, an_alert, incoming

from anomaly_app.errors import SettingsError, SinkError
from anomaly_app.settings import LoadedSettings, load_settings
from anomaly_app.sinks.registry import create_sinks
from anomaly_app.sinks.sender import Sender, StreamSender

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it

SETTINGS = """
[[delivery.receivers]]
name = "ops"
[[delivery.receivers.webhook]]
url = "{url}/s3cr-path/webhook?key=s3cr-query"
secret = "s3cr-hmac"
token = 's3cr "token" /%&'
headers = {{ X-Key = "s3cr-header" }}
timeout = "500ms"
[[delivery.receivers.webhook]]
url = "{user}/s3cr-path/other"
timeout = "500ms"
[[delivery.receivers.slack]]
url = "{url}/services/s3cr-T0/s3cr-B0/s3cr-XX"
timeout = "500ms"
[[delivery.receivers.pagerduty]]
url = "{url}/v2/enqueue"
routing_key = "s3cr-routing-key"
timeout = "500ms"
[[delivery.receivers.apprise]]
url = "json://plain-user:s3cr-password@{host}/s3cr-path/?rto=1&cto=1"
timeout = "500ms"
[[delivery.receivers.email]]
to = ["a@example.com"]
sender = "b@example.com"
host = "localhost"
port = {mail}
username = "plain-user"
password = "s3cr-password"
timeout = "500ms"
[[delivery.receivers.influxdb]]
url = "{url}"
username = "plain-user"
password = "s3cr-password"
timeout = "500ms"
[[delivery.receivers.influxdb]]
url = "{url}"
version = 2
token = "s3cr-token"
timeout = "500ms"
[[delivery.receivers.alertmanager]]
url = "{url}"
token = "s3cr-token"
timeout = "500ms"
"""


async def echo(request: web.Request) -> str:
    """Everything that came, as it came and as JSON and in an address."""
    said = f"{request.scheme}://{request.host}{request.raw_path} {request.path_qs} {dict(request.headers)} "
    return said + await request.text()


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, list[int]]]:
    statuses = [500]

    async def answer(request: web.Request) -> web.Response:
        said = await echo(request)
        if statuses[0] == 0:
            assert request.transport is not None
            request.transport.abort()
        # Not what was sent first, so that the words begin with what is secret.
        head, _, _ = said.partition("{'Host'")
        secrets = [value for name, value in request.headers.items() if name in ("Authorization", "X-Key")]
        body = "s3cr-routing-key" if "s3cr-routing-key" in said else ""
        return web.Response(status=statuses[0] or 500, text=f"{head} {secrets} {body}"[-190:])

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}", statuses
    await runner.cleanup()


def load(tmp_path: Path, host: str, mail: int) -> LoadedSettings:
    file = tmp_path / "anomaly.toml"
    user = f"http://plain-user:s3cr-password@{host}"
    file.write_text(SETTINGS.format(url=f"http://{host}", user=user, host=host, mail=mail))
    return load_settings(config_file=file, environ={})


@pytest.mark.parametrize("status", [500, 400, 401, 404, 307, 0])
async def test_no_secret_is_told(
    server: tuple[str, list[int]], status: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host, statuses = server
    statuses[0] = status
    with mail_server() as box:
        loaded = load(tmp_path, host, box.port)
        caplog.set_level(logging.DEBUG)
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)  # of the server of this test
        said = [repr(loaded), str(list(loaded.shown()))]
        receiver = loaded.settings.delivery.receivers[0]
        for key, sink in create_sinks(receiver, loaded):
            calls: list[Callable[[], Any]] = (
                [lambda sink=sink: sink.send(a_notification())]  # type: ignore[misc]
                if hasattr(sink, "send")
                else [lambda sink=sink: sink.write(incoming(an_alert()), T0)]  # type: ignore[misc]
            )
            for call in calls:
                try:
                    said.append(repr(await call()))
                except SinkError as error:
                    said += [repr(error), str(error), "".join(traceback.format_exception(error))]
            said += [repr(sink), str(vars(sink))]
            if hasattr(sink, "send"):
                sender = Sender(key, sink, timeout_ms=500, give_up_after_ms=0)
                said.append(str(await sender.send(a_notification(), T0)))
                said += [repr(sender.health), repr(vars(sender))]
            else:
                stream = StreamSender(key, sink, give_up_after_ms=0)
                said += [str(await stream.write(incoming(an_alert()))), repr(stream.health)]
            await sink.close()
        said.append(caplog.text)
    told = [text for text in said if "s3cr" in text]
    assert not told, told[0]


@pytest.mark.parametrize("kind", ["alertmanager", "influxdb", "pagerduty"])
def test_an_address_that_is_shown_has_no_password(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "anomaly.toml"
    file.write_text(f'[[delivery.receivers]]\nname="a"\n[[delivery.receivers.{kind}]]\nurl = "http://ann:s3cr@h/"\n')
    with pytest.raises(SettingsError, match="should have no user and password in it") as caught:
        load_settings(config_file=file, environ={})
    assert "s3cr" not in str(caught.value) and "line 4" in str(caught.value)
