"""What ``anomaly deliver`` does: delivers, or checks the settings, explains an alert, tries a receiver."""

from __future__ import annotations

import asyncio
import difflib
import logging
import secrets
import time
from typing import cast

from anomaly_app.alerts import Alert, AlertSource, encode
from anomaly_app.alerts.values import iso_time
from anomaly_app.cli.output import note
from anomaly_app.delivery.labels import fingerprint, labels_of
from anomaly_app.delivery.notification import Incoming, Notification, Told
from anomaly_app.delivery_app import run_delivery
from anomaly_app.errors import SettingsError, SinkError
from anomaly_app.runtime.delivery_ways import Way, sinks_of
from anomaly_app.settings import LoadedSettings
from anomaly_app.sinks.base import Sink, StreamSink

TEST_JOB = "anomaly-deliver-test"
"""Marks the alert of a test for programs."""


def run(loaded: LoadedSettings, log_level: str) -> None:
    """Deliver until a signal says to stop.

    Args:
        loaded: the settings.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.

    Raises:
        AnomalyError: it cannot be done.
    """
    level = logging.getLevelNamesMapping().get(log_level.upper())
    if level is None:
        raise SettingsError("--log-level", "command line", f"{log_level!r} is none of debug, info, warning, error")
    run_delivery(loaded, level)


async def test(loaded: LoadedSettings, name: str) -> int:
    """Send a sample to each sink of a receiver and print what came of it; 1 if one has not taken it.

    Args:
        loaded: the settings.
        name: of the receiver.

    Raises:
        SettingsError: there is no such receiver, or a sink cannot be as it is set.
    """
    receivers = {receiver.name: receiver for receiver in loaded.settings.delivery.receivers}
    if name not in receivers:
        near = difflib.get_close_matches(name, receivers, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(receivers) or 'none'}"
        raise SettingsError("--test", "command line", f"there is no receiver {name!r}{hint}")
    sample = sample_of(name, time.time_ns() // 1_000_000)
    status = 0
    ways = sinks_of(loaded, receivers[name], lambda way, what: note(f"{way}: {what.replace('_', ' ')}"))
    for way in ways:
        begin = time.monotonic()
        problem = await _try(way, sample)
        took = f"{time.monotonic() - begin:.1f} s"
        print(f"{way.name}: {f'not sent: {problem}' if problem else 'sent'} ({took})")
        status |= bool(problem)
    if not ways:
        note(f"receiver {name} has no ways to be reached")
    return status


async def _try(way: Way, sample: Notification) -> str:
    """What went wrong; "" if it was taken."""
    timeout_s = getattr(way.settings, "timeout", 15_000) / 1_000 + 5
    try:
        async with asyncio.timeout(timeout_s):
            if not way.is_stream:
                await cast(Sink, way.sink).send(sample)
                return ""
            alert = sample.alerts[0].alert
            incoming = Incoming(alert, encode(alert), 0, 0, timestamp_ms=sample.created_ms)
            refused = await cast(StreamSink, way.sink).write([incoming], sample.created_ms)
            return refused[0][1] if refused else ""
    except TimeoutError:
        return f"no answer within {timeout_s:g} s"
    except SinkError as error:
        return str(error)
    finally:
        await way.sink.close()


def sample_of(receiver: str, now_ms: int) -> Notification:
    """A notification that says that it is a test.

    Args:
        receiver: name of who is told.
        now_ms: now, in ms since 1970.
    """
    at = iso_time(now_ms)
    alert = Alert(
        id=secrets.token_hex(16),
        job=TEST_JOB,
        version="test",
        query="test",
        key={"test": "true"},
        type="anomaly",
        severity="low",
        score=None,
        event_time=at,
        detected_at=at,
        explanation=f"This is a test of receiver {receiver} by anomaly deliver --test. Nothing has happened",
        rows=[],
        rows_total=0,
        payload={"test": True},
        source=AlertSource(topic="test", partition=0, offset=0),
    )
    labels = labels_of(alert)
    told = Told(
        alert=alert,
        labels=labels,
        fingerprint=fingerprint(labels),
        status="firing",
        starts_ms=now_ms,
        ends_ms=now_ms + 300_000,
        count=1,
    )
    return Notification(
        id=alert.id,
        receiver=receiver,
        group=fingerprint({"test": alert.id}),
        group_labels={"job": TEST_JOB},
        status="firing",
        reason="new",
        alerts=[told],
        more=0,
        created_ms=now_ms,
    )
