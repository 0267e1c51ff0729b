"""The sinks of all receivers, with what tries again and gives up around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from anomaly_app.delivery.acks import ack_link
from anomaly_app.delivery.routes import STREAMING
from anomaly_app.runtime.kafka_sink import create_kafka_sink
from anomaly_app.settings import LoadedSettings
from anomaly_app.settings.delivery import Receiver
from anomaly_app.sinks.base import Sink, StreamSink
from anomaly_app.sinks.registry import create_sinks
from anomaly_app.sinks.sender import Observe, Sender, StreamSender


class Ways(NamedTuple):
    """How receivers are reached.

    Args:
        senders: of notifying sinks, each with its ``give_up_after`` in ms.
        streams: of streaming sinks.
    """

    senders: Sequence[tuple[Sender, int]]
    streams: Sequence[StreamSender]


class Way(NamedTuple):
    """A sink of a receiver.

    Args:
        name: receiver, kind and number, such as ``ops/slack/0``.
        settings: of the sink.
        sink: a stream sink for the kinds of :data:`~anomaly_app.delivery.routes.STREAMING`.
    """

    name: str
    settings: Any
    sink: Sink | StreamSink

    @property
    def is_stream(self) -> bool:
        """Whether it gets every alert."""
        return self.name.split("/")[1] in STREAMING


def sinks_of(loaded: LoadedSettings, receiver: Receiver, count: Callable[[str, str], None]) -> list[Way]:
    """The sinks of a receiver; nothing is connected yet.

    Args:
        loaded: the settings.
        receiver: one of theirs.
        count: is told the name of a sink and what happened that is no failure and yet to be counted.

    Raises:
        SettingsError: a sink cannot be as it is set.
    """
    delivery = loaded.settings.delivery
    key = delivery.signing_key.get_secret_value()
    made: list[tuple[str, Sink | StreamSink]] = create_sinks(
        receiver,
        loaded,
        acknowledge=lambda alert, by, created_ms: ack_link(delivery.link, key, alert, by, created_ms),
        count=count,
    )
    place = delivery.receivers.index(receiver)
    for number, settings in enumerate(receiver.kafka):
        path = f"delivery.receivers[{place}].kafka[{number}]"
        made.append((f"{receiver.name}/kafka/{number}", create_kafka_sink(loaded, settings, path)))
    ways = []
    for name, sink in made:
        kind, number_text = name.split("/")[1:]
        ways.append(Way(name, getattr(receiver, kind)[int(number_text)], sink))
    return ways


def create_ways(loaded: LoadedSettings, observe: Callable[[str], Observe], count: Callable[[str, str], None]) -> Ways:
    """The sinks of all receivers.

    Args:
        loaded: the settings.
        observe: gives for the name of a sink what is told each of its attempts.
        count: as of :func:`sinks_of`.

    Raises:
        SettingsError: a sink cannot be as it is set.
    """
    senders: list[tuple[Sender, int]] = []
    streams: list[StreamSender] = []
    for receiver in loaded.settings.delivery.receivers:
        for way in sinks_of(loaded, receiver, count):
            name, settings, sink = way
            patience_ms = settings.give_up_after
            if way.is_stream:
                stream = StreamSender(name, cast(StreamSink, sink), give_up_after_ms=patience_ms, observe=observe(name))
                streams.append(stream)
            else:
                sender = Sender(
                    name, cast(Sink, sink), timeout_ms=settings.timeout, give_up_after_ms=patience_ms,
                    observe=observe(name),
                )  # fmt: skip
                senders.append((sender, patience_ms))
    return Ways(senders, streams)
