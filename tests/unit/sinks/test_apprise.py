from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from notifications import a_notification

from anomaly_app.errors import OptionError, SinkError
from anomaly_app.settings.delivery import AppriseSink
from anomaly_app.sinks.apprise import Apprise
from anomaly_app.sinks.messages import Messages
from anomaly_app.testing.receivers import HANG, FailingReceiver, error, in_thread, redirect

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise imports it


def sink(url: str, **settings: Any) -> Apprise:
    parsed = AppriseSink.model_validate({"url": url, **settings})
    return Apprise(parsed, Messages(parsed))


async def test_it_sends_and_tells_no_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with in_thread(FailingReceiver()) as receiver, in_thread(FailingReceiver()) as other:
        one = sink(f"json://127.0.0.1:{receiver.port}/s3cret-path")
        box = receiver["/s3cret-path"]
        await one.send(a_notification())
        assert box.requests[0].json()["title"] == "[HIGH] Transaction Anomaly Alert - User user001"
        box.plan(error(500), redirect(f"{other.url}/elsewhere"))
        for _ in range(2):
            with pytest.raises(SinkError, match="the service did not take it"):
                await one.send(a_notification())
        assert not other["/elsewhere"].requests
        await one.close()
        box.plan(HANG)
        one = sink(f"json://127.0.0.1:{receiver.port}/s3cret-path?rto=2", timeout="100ms")
        with pytest.raises(SinkError, match=r"no answer within 0\.1 s"):
            await one.send(a_notification())
        await one.close()
    assert "s3cret" not in caplog.text and "s3cret" not in repr(vars(one))


def test_what_apprise_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in ("", "nothing://x", "s3cret"):
        with pytest.raises(OptionError) as caught:
            sink(url)
        assert "s3cret" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(OptionError, match=r"anomaly-app\[apprise\]"):
        sink("json://x")
