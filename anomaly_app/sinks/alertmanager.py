"""Alerts to a Prometheus Alertmanager, which groups, silences and routes by itself.

To Alertmanager an alert is a state that lasts; here it is an event. So each is posted with the end ``hold`` after it,
and again while that lasts, for Alertmanager forgets alerts when it restarts. The silence of a source lasts until
records come again.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from anomaly_app.alerts.record import SILENCE, SILENCE_OVER
from anomaly_app.alerts.values import iso_time
from anomaly_app.delivery.labels import labels_of
from anomaly_app.delivery.notification import Incoming
from anomaly_app.errors import OptionError
from anomaly_app.settings.delivery import AlertmanagerSink
from anomaly_app.sinks.annotations import annotations_of
from anomaly_app.sinks.base import Count
from anomaly_app.sinks.event_time import event_ms
from anomaly_app.sinks.halving import REFUSALS, Verdict, refused_of
from anomaly_app.sinks.http import Client, parse_url

AGAIN_MS = 30_000
"""After which what lasts is posted again, or after a third of ``hold``."""
AT_ONCE = 500
"""Alerts in a request."""
MOST_LASTING = 50_000
"""Alerts that are posted again. More end by themselves, and are counted as ``not_posted_again``."""
NOT_POSTED_AGAIN = "not_posted_again"

ALERTNAME = "alertname"

_Name: TypeAlias = tuple[tuple[str, str], ...]
"""Labels, sorted: to Alertmanager they are what an alert is."""

_encoder = msgspec.json.Encoder()


class _Lasting(msgspec.Struct):
    """An alert as Alertmanager knows it.

    Args:
        labels: that name it there.
        annotations: of the last alert.
        starts_ms: event time of the first.
        ends_ms: when it is over.
        open: it has no end until another alert says so.
        posted_ms: when it was last posted.
    """

    labels: dict[str, str]
    annotations: dict[str, str]
    starts_ms: int
    ends_ms: int
    open: bool
    posted_ms: int


class Alertmanager:
    """Posts alerts and keeps those that last in memory.

    Args:
        settings: of the sink.
        hold_ms: how long an alert lasts after its event.
        link: where to look.
        count: is told of alerts that cannot be kept.

    Raises:
        OptionError: a setting is wrong.
    """

    batch_size, batch_wait_ms = AT_ONCE, 0

    def __init__(
        self, settings: AlertmanagerSink, *, hold_ms: int, link: str = "", count: Count = lambda what: None
    ) -> None:
        token = settings.token.get_secret_value()
        auth = (settings.username, settings.password.get_secret_value()) if settings.username else None
        if token and auth:
            raise OptionError("token", "username is given beside it: give one of them")
        self._client = Client(
            f"{settings.url.rstrip('/')}/api/v2/alerts", settings, auth=auth, token=token, secret_url=False
        )
        self._say_resolved, self._hold_ms, self._count = settings.send_resolved, hold_ms, count
        self._link = _usable_link(link)
        self._again_ms = min(AGAIN_MS, max(hold_ms // 3, 1))
        self._lasting: dict[_Name, _Lasting] = {}

    async def write(self, alerts: Sequence[Incoming], now_ms: int) -> Sequence[tuple[Incoming, str]]:
        """Post them; what comes again lasts longer."""
        changed: dict[_Name, _Lasting] = {}
        causes: dict[_Name, list[Incoming]] = {}
        for incoming in alerts:
            lasting = self._of(incoming, now_ms)
            name = tuple(sorted(lasting.labels.items()))
            before = changed.get(name) or self._lasting.get(name)
            if before is not None and before.ends_ms > now_ms:
                lasting.starts_ms = min(lasting.starts_ms, before.starts_ms)
                if incoming.alert.type != SILENCE_OVER:
                    lasting.ends_ms = max(lasting.ends_ms, before.ends_ms)
            changed[name] = lasting
            causes.setdefault(name, []).append(incoming)
        refused = dict(await self._post(changed, now_ms))
        for name, lasting in changed.items():
            if name in refused or lasting.ends_ms <= now_ms:
                self._lasting.pop(name, None)
            elif name in self._lasting or len(self._lasting) < MOST_LASTING:
                self._lasting[name] = lasting
            else:
                self._count(NOT_POSTED_AGAIN)
        return [(incoming, why) for name, why in refused.items() for incoming in causes[name]]

    async def tick(self, now_ms: int) -> None:
        """Post again what lasts, and once what is over."""
        over = {name: held for name, held in self._lasting.items() if not held.open and held.ends_ms <= now_ms}
        again = {
            name: held
            for name, held in self._lasting.items()
            if name not in over and held.posted_ms + self._again_ms <= now_ms
        }
        for lasting in again.values():
            if lasting.open:
                lasting.ends_ms = now_ms + self._hold_ms
        for name, _ in await self._post({**again, **(over if self._say_resolved else {})}, now_ms):
            self._count(NOT_POSTED_AGAIN)
            over[name] = self._lasting[name]
        for name in over:
            del self._lasting[name]

    async def close(self) -> None:
        """Close its connections; what lasts ends by itself."""
        await self._client.close()

    def _of(self, incoming: Incoming, now_ms: int) -> _Lasting:
        alert = incoming.alert
        over = alert.type == SILENCE_OVER
        if over:  # it ends what the silence began
            alert = msgspec.structs.replace(alert, type=SILENCE, severity="high")
        happened = event_ms(alert)
        starts_ms = now_ms if happened is None else max(0, min(happened, now_ms))
        ends_ms = starts_ms + self._hold_ms
        if over:
            starts_ms = ends_ms = min(starts_ms, now_ms)
        elif ends_ms <= now_ms or alert.type == SILENCE:
            # What comes late lasts from when it came, or nobody would be told.
            ends_ms = now_ms + self._hold_ms
        annotations = label_names(annotations_of(alert))
        labels = label_names({ALERTNAME: alert.job}, labels_of(alert, incoming.tenant))
        return _Lasting(labels, annotations, starts_ms, ends_ms, alert.type == SILENCE and not over, now_ms)

    async def _post(self, alerts: Mapping[_Name, _Lasting], now_ms: int) -> list[tuple[_Name, str]]:
        refused, named = [], list(alerts.items())
        for first in range(0, len(named), AT_ONCE):
            part = named[first : first + AT_ONCE]
            refused += [(name, why) for (name, _), why in await refused_of(part, self._request)]
            for _, lasting in part:
                lasting.posted_ms = now_ms
        return refused

    async def _request(self, alerts: Sequence[tuple[_Name, _Lasting]]) -> Verdict:
        body = _encoder.encode([self._posted(lasting) for _, lasting in alerts])
        answer = await self._client.request(body, {"Content-Type": "application/json"})
        if answer.status in REFUSALS:
            return self._client.words(answer.body) or f"answer {answer.status}"
        self._client.check(answer, always_retriable=True)
        return ()

    def _posted(self, lasting: _Lasting) -> dict[str, Any]:
        posted = {
            "labels": lasting.labels,
            "annotations": lasting.annotations,
            "startsAt": iso_time(lasting.starts_ms),
            "endsAt": iso_time(lasting.ends_ms),
        }
        return {**posted, "generatorURL": self._link} if self._link else posted


def label_names(*labels: Mapping[str, str]) -> dict[str, str]:
    """Labels, or annotations, with names that Alertmanager takes; empty ones are left out.

    Example:
        >>> label_names({"alertname": "a"}, {"user-id": "7", "user.id": "8", "1st": "x", "none": "", "alertname": "b"})
        {'alertname': 'a', 'user_id': '7', 'user_id_': '8', '_1st': 'x', 'alertname_': 'b'}
    """
    named: dict[str, str] = {}
    for label, value in [item for each in labels for item in each.items()]:
        name = _label_name(label)
        while name in named:
            name += "_"
        if value:
            named[name] = value.encode("utf-8", "replace").decode()
    return named


@functools.lru_cache(maxsize=4_096)
def _label_name(label: str) -> str:
    name = re.sub(r"[^a-zA-Z0-9_]", "_", label)
    return f"_{name}" if not name or name[0].isdigit() else name


def _usable_link(link: str) -> str:
    """The link; "" if it is none, for Alertmanager would refuse every alert that has it."""
    try:
        return str(parse_url(link)) if link else ""
    except OptionError:
        return ""
