"""Settings of a receiver to its sinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from anomaly_app.errors import OptionError
from anomaly_app.settings import LoadedSettings
from anomaly_app.settings.delivery import Receiver
from anomaly_app.sinks.alertmanager import Alertmanager
from anomaly_app.sinks.apprise import Apprise
from anomaly_app.sinks.base import Sink, StreamSink
from anomaly_app.sinks.email import Email
from anomaly_app.sinks.influxdb import Influxdb
from anomaly_app.sinks.messages import Acknowledge, Messages
from anomaly_app.sinks.pagerduty import PagerDuty
from anomaly_app.sinks.slack import Slack
from anomaly_app.sinks.webhook import Webhook

CountOf: TypeAlias = Callable[[str, str], None]
"""(key of a sink, what happened that is to be counted)."""


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What sinks need beside their own settings."""

    loaded: LoadedSettings
    acknowledge: Acknowledge | None
    count: CountOf

    def messages(self, key: str, settings: Any) -> Messages:
        return Messages(
            settings,
            link=self.loaded.settings.delivery.link,
            acknowledge=self.acknowledge,
            count=lambda what: self.count(key, what),
        )


def _webhook(settings: Any, key: str, around: _Surroundings) -> Sink:
    return Webhook(settings, around.messages(key, settings), around.loaded.settings.delivery.name)


def _slack(settings: Any, key: str, around: _Surroundings) -> Sink:
    return Slack(settings, around.messages(key, settings))


def _email(settings: Any, key: str, around: _Surroundings) -> Sink:
    return Email(settings, around.messages(key, settings), lambda what: around.count(key, what))


def _pagerduty(settings: Any, key: str, around: _Surroundings) -> Sink:
    return PagerDuty(settings, around.messages(key, settings))


def _apprise(settings: Any, key: str, around: _Surroundings) -> Sink:
    return Apprise(settings, around.messages(key, settings))


def _alertmanager(settings: Any, key: str, around: _Surroundings) -> StreamSink:
    delivery = around.loaded.settings.delivery
    return Alertmanager(settings, hold_ms=delivery.hold, link=delivery.link, count=lambda what: around.count(key, what))


def _influxdb(settings: Any, key: str, around: _Surroundings) -> StreamSink:
    return Influxdb(settings)


_TELLING = ("title", "text", "max_per_minute")
"""Settings that mean something where notifications are told."""
_MEANINGLESS = {"influxdb": (*_TELLING, "send_resolved"), "alertmanager": _TELLING}


def _check_meaning(kind: str, settings: Any) -> None:
    for name in _MEANINGLESS.get(kind, ()):
        if name in settings.model_fields_set:
            raise OptionError(name, f"means nothing to {kind}, which gets every alert singly")


_KINDS: dict[str, Callable[[Any, str, _Surroundings], Sink | StreamSink]] = {
    "webhook": _webhook,
    "slack": _slack,
    "email": _email,
    "pagerduty": _pagerduty,
    "apprise": _apprise,
    "alertmanager": _alertmanager,
    "influxdb": _influxdb,
}


def create_sinks(
    receiver: Receiver,
    loaded: LoadedSettings,
    *,
    acknowledge: Acknowledge | None = None,
    count: CountOf = lambda key, what: None,
) -> list[tuple[str, Sink | StreamSink]]:
    """The sinks of a receiver, but for those of Kafka, which the runtime makes.

    Args:
        receiver: one of ``delivery.receivers``.
        loaded: where it came from.
        acknowledge: gives the addresses at which an alert can be acknowledged.
        count: is told what happened that is no failure and yet to be counted.

    Returns:
        key and sink, such as ``("ops/slack/0", …)``; the number is the place among its kind.

    Raises:
        SettingsError: a setting is wrong: an address, a header, a certificate, a template.
    """
    around = _Surroundings(loaded, acknowledge, count)
    place = [known.name for known in loaded.settings.delivery.receivers].index(receiver.name)
    sinks: list[tuple[str, Sink | StreamSink]] = []
    for kind, create in _KINDS.items():
        for number, settings in enumerate(getattr(receiver, kind)):
            key = f"{receiver.name}/{kind}/{number}"
            try:
                _check_meaning(kind, settings)
                sinks.append((key, create(settings, key, around)))
            except OptionError as error:
                path = f"delivery.receivers[{place}].{kind}[{number}].{error.option}"
                raise loaded.error(path, str(error)) from error
    return sinks
