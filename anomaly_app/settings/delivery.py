"""Settings of delivery: ``[delivery]`` and ``[[response]]`` in the settings file.

Names and meanings are Alertmanager's where it has them. These classes only say what may stand where; whether the
names in them mean something is checked by :mod:`anomaly_app.delivery`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from anomaly_app.settings.values import Duration, OptionalFile, Section, Texts

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


def _without_password(address: str) -> str:
    if re.match(r"[^/?#]*//[^/?#]*@", address):
        raise ValueError("should have no user and password in it: they have settings of their own")
    return address


PlainUrl = Annotated[str, AfterValidator(_without_password)]
"""An address that may be shown."""


class WithSecrets(Section):
    """A table whose secrets may stand in files: ``url_file`` in place of ``url``."""

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        read = dict(values)
        for name, info in cls.model_fields.items():
            if not isinstance(info.default, SecretStr) or f"{name}_file" not in read:
                continue
            path = read.pop(f"{name}_file")
            if name in read:
                raise ValueError(f"{name} and {name}_file are both given: give one of them")
            try:
                text = Path(str(path)).read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                problem = getattr(error, "strerror", None) or "no text"
                raise ValueError(f"{name}_file: {path} cannot be read: {problem}") from None
            read[name] = text.removesuffix("\n").removesuffix("\r")
        return read


def _one_or_several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


MatcherTexts = Annotated[tuple[str, ...], BeforeValidator(_one_or_several)]
"""Matchers; a single text is not split, for a comma may stand in a value."""


class Sending(WithSecrets):
    """What all sinks have."""

    send_resolved: bool = False
    """Tell once when no new alert has come for ``hold``."""
    connect_timeout: Duration = Field(default=5 * SECOND, ge=1)
    timeout: Duration = Field(default=15 * SECOND, ge=1)
    """Of one attempt, in all."""
    give_up_after: Duration = Field(default=24 * HOUR, ge=0)
    """After which what could not be sent goes to the dead-letter topic."""
    max_per_minute: int = Field(default=0, ge=0)
    """Notifications a minute; what is above is held back and told as one digest; 0 for any number."""
    title: str = ""
    """Jinja template in place of the usual title."""
    text: str = ""
    """Jinja template in place of the usual text."""


class Http(Sending):
    """What sinks over HTTP have."""

    ca_file: OptionalFile = None
    headers: dict[str, SecretStr] = Field(default_factory=dict)


class WebhookSink(Http):
    """A request to a program."""

    url: SecretStr = SecretStr("")
    form: Literal["alertmanager", "cloudevents", "alert"] = "alertmanager"
    """JSON of Alertmanager's webhook version 4, CloudEvents 1.0, or the plain alerts."""
    secret: SecretStr = SecretStr("")
    """Key of the HMAC-SHA256 signature in the header ``X-Anomaly-Signature``."""
    token: SecretStr = SecretStr("")
    """Of ``Authorization: Bearer``."""


class SlackSink(Http):
    """An incoming webhook of Slack."""

    url: SecretStr = SecretStr("")
    channel: str = ""


class EmailSink(Sending):
    """Mail over SMTP."""

    to: Texts = Field(min_length=1)
    sender: str
    host: str
    port: int = Field(default=587, ge=1, le=65_535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: OptionalFile = None


class PagerDutySink(Http):
    """Events of PagerDuty, version 2."""

    routing_key: SecretStr = SecretStr("")
    url: PlainUrl = "https://events.pagerduty.com/v2/enqueue"
    send_resolved: bool = True


class AppriseSink(Sending):
    """Any service that apprise knows (extra ``apprise``)."""

    url: SecretStr = SecretStr("")


class AlertmanagerSink(Http):
    """A Prometheus Alertmanager, which groups and routes by itself."""

    url: PlainUrl = "http://localhost:9093"
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    send_resolved: bool = True


class InfluxdbSink(Http):
    """Points to InfluxDB."""

    url: PlainUrl = "http://localhost:8086"
    version: Literal[1, 2, 3] = 1
    database: str = "alerts"
    """Database of versions 1 and 3, bucket of version 2."""
    retention_policy: str = ""
    org: str = ""
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    measurement: str = "anomaly_alerts"
    tags: Texts = ("storeId", "kind=payload.type")
    """Columns of key or payload that become tags beside job, query, type, severity, tenant and the key; ``tag=path``
    renames."""
    fields: Texts = ()
    """Columns that become fields; none for all of the payload that are numbers, texts or booleans."""
    batch_size: int = Field(default=5_000, ge=1)
    batch_wait: Duration = Field(default=1 * SECOND, ge=1)


class KafkaSink(WithSecrets):
    """Another topic, or another cluster."""

    topic: str
    bootstrap_servers: str = ""
    """Empty for the cluster of ``[kafka]``, with its credentials."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_ca_file: OptionalFile = None
    give_up_after: Duration = Field(default=24 * HOUR, ge=0)


class Receiver(Section):
    """Somebody, and the ways to reach them; all of them are used."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")
    webhook: tuple[WebhookSink, ...] = ()
    slack: tuple[SlackSink, ...] = ()
    email: tuple[EmailSink, ...] = ()
    pagerduty: tuple[PagerDutySink, ...] = ()
    apprise: tuple[AppriseSink, ...] = ()
    alertmanager: tuple[AlertmanagerSink, ...] = ()
    influxdb: tuple[InfluxdbSink, ...] = ()
    kafka: tuple[KafkaSink, ...] = ()


class Route(Section):
    """A node of the route tree; what it does not say is as in the route above it."""

    model_config = ConfigDict(populate_by_name=True)

    receiver: str = ""
    matchers: MatcherTexts = ()
    """All must hold: ``severity="critical"``, ``user_id!="ann"``, ``tenant=~"eu-.*"``, ``job!~"test.*"``."""
    continue_: bool = Field(default=False, alias="continue")
    """Look at the routes behind this one, too."""
    group_by: Texts | None = None
    """Labels; ``...`` for all of them. The root has ``job`` and ``type``."""
    group_wait: Duration | None = Field(default=None, ge=0)
    group_interval: Duration | None = Field(default=None, ge=1)
    repeat_interval: Duration | None = Field(default=None, ge=1)
    mute_time_intervals: Texts = ()
    active_time_intervals: Texts = ()
    routes: tuple[Route, ...] = ()


class InhibitRule(Section):
    """While an alert of the source is there, those of the target are not told."""

    source_matchers: MatcherTexts = Field(min_length=1)
    target_matchers: MatcherTexts = Field(min_length=1)
    equal: Texts = ()
    """Labels that must be equal in both; a missing one equals an empty one."""


class Times(Section):
    """Hours of a day, in minutes of it."""

    start_time: str
    end_time: str


class TimeRange(Section):
    """Times that must all hold; as in Alertmanager: ``monday:friday``, ``1:15``, ``-1``, ``may:august``."""

    times: tuple[Times, ...] = ()
    weekdays: Texts = ()
    days_of_month: Texts = ()
    months: Texts = ()
    years: Texts = ()
    location: str = "UTC"


class TimeInterval(Section):
    """Times with a name, any of which counts."""

    name: str
    time_intervals: tuple[TimeRange, ...] = Field(min_length=1)


class Archive(WithSecrets):
    """Records of topics as files by hour."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")
    topics: Texts = ()
    """None for the topic of the alerts."""
    path: str
    """A folder, or ``s3://bucket/prefix``."""
    format: Literal["parquet", "json.gz"] = "parquet"
    roll_bytes: int = Field(default=5_000_000, ge=1)
    """Of the records, before compression."""
    roll_after: Duration = Field(default=300 * SECOND, ge=1)
    access_key: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    region: str = ""
    endpoint: str = ""


class ResponseStep(Http):
    """One step of a response: exactly one of ``http``, ``notify``, ``wait_for_ack`` and ``escalate``."""

    http: SecretStr = SecretStr("")
    """URL that is called; may have ``{{ alert.key.user_id }}``, quoted for a URL, behind the host."""
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    body: str = ""
    """Jinja template of a JSON body; empty for the alert."""
    token: SecretStr = SecretStr("")
    notify: str = ""
    """Receiver that is told, with the link to acknowledge."""
    wait_for_ack: Duration | None = Field(default=None, ge=1)
    """How long; the response ends well if it is acknowledged, else its next step follows."""
    escalate: str = ""
    """Receiver that is told that nobody has answered."""
    title: str = ""
    """Name of the step for people, such as "freeze the account"."""
    give_up_after: Duration = Field(default=5 * MINUTE, ge=0)
    """Of ``http``: after which the next step follows."""


class ResponseRule(Section):
    """What is done about an alert."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")
    matchers: MatcherTexts = Field(min_length=1)
    steps: tuple[ResponseStep, ...] = Field(min_length=1)
    dry_run: bool = True
    """Steps are written down and not done."""
    max_per_hour: int = Field(default=60, ge=1)
    """Runs; more are refused and counted."""
    heed_silences: bool = False
    """Alerts that are silenced begin no run. By default they do: who silences wants to hear nothing, and does not mean
    that a stolen card may be used."""


class DeliverySettings(WithSecrets):
    """How alerts reach people and systems: read by ``anomaly deliver``."""

    name: str = Field(default="anomaly-delivery", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """Consumer group, and name of the topic of its state; processes of one name stand in for each other."""
    tenant: str = ""
    """Label of all alerts that do not carry a header ``tenant``."""
    link: str = ""
    """Address of the page for links in messages, such as ``http://127.0.0.1:6067/``."""
    bind: str = "127.0.0.1"
    port: int = Field(default=6067, ge=0, le=65_535)
    """Of health, metrics, silences and acknowledgements; 0 for any free one."""
    token: SecretStr = SecretStr("")
    """Whoever has it may silence and acknowledge; without it only requests from this machine may."""
    signing_key: SecretStr = SecretStr("")
    """Signs the links to acknowledge; without it there are none in messages."""
    startup: Literal["earliest", "latest"] = "latest"
    """Where a delivery without state begins in the topic of the alerts."""
    hold: Duration = Field(default=5 * MINUTE, ge=1)
    """An alert is over when no new one of its labels has come for so long."""
    max_groups: int = Field(default=100_000, ge=1)
    """Groups that are remembered; more share one of their route."""
    max_alerts: int = Field(default=50, ge=1, le=400)
    """Alerts in one notification; of the rest their number is told."""
    dead_letter_topic: str = "anomaly.undelivered"
    silence_topic: str = "anomaly.silences"
    ack_topic: str = "anomaly.acks"
    response_topic: str = "anomaly.responses"
    route: Route = Route()
    receivers: tuple[Receiver, ...] = ()
    inhibit_rules: tuple[InhibitRule, ...] = ()
    time_intervals: tuple[TimeInterval, ...] = ()
    archive: tuple[Archive, ...] = ()
