"""The sections of the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from anomaly_app.settings.delivery import DeliverySettings, ResponseRule
from anomaly_app.settings.values import OptionalFile, Paths, Section, Texts
from anomaly_app.words import parse_duration

LOCAL_BROKER = "localhost:9092"
"""If neither settings nor jobs name a broker."""


def split_servers(value: str) -> list[str]:
    """The brokers of a comma-separated list; raises ``ValueError`` if one of them is not host:port.

    Example:
        >>> split_servers("one:9092, two:9092")
        ['one:9092', 'two:9092']
    """
    servers = [server.strip() for server in value.split(",")]
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"{server!r} should be host:port, several of them separated by commas")
    return servers


def _silences(entries: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in entries:
        table, _, text = (part.strip() for part in entry.rpartition("="))
        limit = 0 if text == "off" else parse_duration(text)
        if limit is None or ("=" in entry and not table):
            raise ValueError(f"{entry!r} should be a duration such as '5 min', or table = duration; 'off' for never")
        if table in found:
            raise ValueError(f"{entry!r}: {table or 'the duration for all tables'} is there twice")
        found[table] = limit
    return found


class KafkaSettings(Section):
    """How Kafka is reached."""

    bootstrap_servers: str = ""
    """Comma-separated host:port; empty for those of the job files, else localhost:9092."""
    group_id: str = ""
    """Consumer group; empty for worker.app_id."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] = "PLAIN"
    sasl_username: str = ""
    sasl_password: SecretStr = SecretStr("")
    ssl_ca_file: OptionalFile = None
    ssl_cert_file: OptionalFile = None
    ssl_key_file: OptionalFile = None
    ssl_key_password: SecretStr = SecretStr("")
    ssl_check_hostname: bool = True
    session_timeout_s: float = Field(default=10.0, ge=6, le=300)
    """After which the partitions of a worker that is gone without a word go to others."""
    replication_factor: int = Field(default=1, ge=1)
    """Of the topics that the worker creates."""
    create_topics: bool = True
    """Create missing topics of the worker's own."""
    isolation_level: Literal["", "read_uncommitted", "read_committed"] = ""
    """Whether records of aborted transactions are read; empty for that of the job files, else read_uncommitted."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _hosts_and_ports(cls, value: str) -> str:
        if value:
            split_servers(value)
        return value


class WorkerSettings(Section):
    """What runs and where its state is."""

    app_id: str = Field(default="anomaly", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    """Names the group, the changelogs and the repartition topics."""
    data_dir: Path = Path("anomaly-data")
    jobs: Paths = ()
    """Paths of job files; none for the packaged anomaly_app/jobs/unusual_sales.sql."""
    dialect: Literal["flink", "standard"] = "flink"
    startup: Literal["", "earliest-offset", "latest-offset", "group-offsets"] = ""
    """In place of the job's scan.startup.mode."""
    bounded: bool = False
    """Stop at the end that the sources have at the start."""
    batch_rows: int = Field(default=5_000, ge=1, le=1_000_000)
    idle_timeout_s: float = Field(default=10.0, ge=0)
    """After which a partition without rows holds nobody up; 0 for never."""
    max_ahead_s: float = Field(default=86_400, gt=0)
    """Rows whose event time is further ahead of the wall clock are rejected."""
    flush_interval_ms: int = Field(default=0, ge=0)
    repartition_partitions: int = Field(default=0, ge=0)
    """Partitions of a repartition topic; 0 for as many as the source has."""
    state_mb: int = Field(default=256, ge=1)
    """Megabytes that groups of GROUP BY and rows of joins may take in the process, about: the others are read from the
    data directory when a row of their key comes."""


class RegistrySettings(Section):
    """The schema registry."""

    url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """In place of the one in the job file."""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: OptionalFile = None


class AlertSettings(Section):
    """Where alerts go."""

    topic: str = Field(default="anomaly.alerts", pattern=r"^[A-Za-z0-9._-]{1,249}$")
    recent: int = Field(default=1_000, ge=0)
    """How many the worker keeps for its page."""
    silence_after: Texts = ()
    """After how long without a new record a source is silent: a duration for all, and ``table = duration`` for single
    ones, such as ``5 min, sales = 30 s, archive = off``; empty for never."""

    @field_validator("silence_after")
    @classmethod
    def _durations(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _silences(value)
        return value

    @property
    def silences(self) -> Mapping[str, int]:
        """What ``silence_after`` says by table, in ms; "" for all others, 0 for never."""
        return _silences(self.silence_after)


class WebSettings(Section):
    """The status page."""

    enabled: bool = True
    bind: str = "127.0.0.1"
    port: int = Field(default=6066, ge=0, le=65_535)
    """0 for any free one."""


class LimitSettings(Section):
    """Bounds on memory."""

    rows_per_key: int = Field(default=100_000, ge=1)
    threads: int = Field(default=10_000, ge=1)
    groups: int = Field(default=1_000_000, ge=1)
    keys: int = Field(default=1_000_000, ge=1)
    """Of a query with detectors, in a partition: each has a model."""
    lookup_rows: int = Field(default=1_000_000, ge=1)
    """Of a table that a query looks rows up in: each worker holds all of them."""


class FunctionSettings(Section):
    """Functions written in Python."""

    modules: Texts = ()
    """Modules, and packages with all that is in them, from which CREATE FUNCTION may take functions; none for no
    functions: what is named here runs within the worker."""


class Settings(Section):
    """All settings.

    Example:
        >>> Settings().web.port
        6066
    """

    kafka: KafkaSettings = KafkaSettings()
    worker: WorkerSettings = WorkerSettings()
    registry: RegistrySettings = RegistrySettings()
    alerts: AlertSettings = AlertSettings()
    web: WebSettings = WebSettings()
    limits: LimitSettings = LimitSettings()
    functions: FunctionSettings = FunctionSettings()
    delivery: DeliverySettings = DeliverySettings()
    response: tuple[ResponseRule, ...] = ()
    """What is done about alerts: ``[[response]]`` in the file."""
    parameters: Mapping[str, str] = {}
    """Values for ``${name}`` in job files, by name; they come before those that SET gives."""
    connections: dict[str, dict[str, SecretStr]] = Field(default_factory=dict)
    """Of models, by name: ``[connections.azure]`` with ``endpoint``, ``api_key`` and what else its type takes."""

    @property
    def connection_options(self) -> Mapping[str, Mapping[str, str]]:
        """What the connections say, secrets too."""
        return {
            name: {key: value.get_secret_value() for key, value in options.items()}
            for name, options in self.connections.items()
        }
