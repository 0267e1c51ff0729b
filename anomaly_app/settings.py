"""The settings of a worker and of the tools: one typed tree, and for each value where it came from.

Command line comes before environment, environment before the TOML file, the file before the defaults. The file is the
one that ``ANOMALY_CONFIG`` names, else ``anomaly.toml`` in the working directory if there is one. ``kafka.group_id`` is
``ANOMALY_KAFKA__GROUP_ID`` in the environment; lists are separated by commas there. A secret may stand in a file of
its own: ``sasl_password_file`` in place of ``sasl_password``.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
)

from anomaly_app.errors import SettingsError
from anomaly_app.words import parse_duration

PREFIX = "ANOMALY_"
CONFIG_VARIABLE = "ANOMALY_CONFIG"
DEFAULT_FILE = "anomaly.toml"
MASK = "********"
LOCAL_BROKER = "localhost:9092"
"""If neither settings nor jobs name a broker."""


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


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


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


OptionalFile = Annotated[FilePath | None, BeforeValidator(_none_if_empty)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_split)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]


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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class KafkaSettings(_Section):
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


class WorkerSettings(_Section):
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


class RegistrySettings(_Section):
    """The schema registry."""

    url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """In place of the one in the job file."""
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: OptionalFile = None


class AlertSettings(_Section):
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


class WebSettings(_Section):
    """The status page."""

    enabled: bool = True
    bind: str = "127.0.0.1"
    port: int = Field(default=6066, ge=0, le=65_535)
    """0 for any free one."""


class LimitSettings(_Section):
    """Bounds on memory."""

    rows_per_key: int = Field(default=100_000, ge=1)
    threads: int = Field(default=10_000, ge=1)
    groups: int = Field(default=1_000_000, ge=1)
    keys: int = Field(default=1_000_000, ge=1)
    """Of a query with detectors, in a partition: each has a model."""
    lookup_rows: int = Field(default=1_000_000, ge=1)
    """Of a table that a query looks rows up in: each worker holds all of them."""


class FunctionSettings(_Section):
    """Functions written in Python."""

    modules: Texts = ()
    """Modules, and packages with all that is in them, from which CREATE FUNCTION may take functions; none for no
    functions: what is named here runs within the worker."""


class Settings(_Section):
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


def _keys() -> dict[str, bool]:
    """Every dotted key, and whether it is a secret."""
    return {
        f"{section}.{name}": isinstance(info.default, SecretStr)
        for section, part in Settings()
        for name, info in type(part).model_fields.items()
    }


KEYS = _keys()
SECRETS = frozenset(key for key, secret in KEYS.items() if secret)
_SECRET_FILES = {f"{key}_file": key for key in SECRETS}


class Shown(NamedTuple):
    """A value as it may be printed."""

    key: str
    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings and where each came from.

    Args:
        settings: the values.
        origins: dotted key and its origin: ``default``, the path of the TOML file, ``environment ANOMALY_…`` or
            ``command line``.
    """

    settings: Settings
    origins: Mapping[str, str] = field(default_factory=dict)

    def shown(self) -> Iterator[Shown]:
        """Every value with its origin, secrets masked, in the order of the tree."""
        for key in KEYS:
            section, name = key.split(".")
            value = getattr(getattr(self.settings, section), name)
            if key in SECRETS:
                value = MASK if value.get_secret_value() else ""
            elif isinstance(value, tuple):
                value = [str(part) for part in value]
            elif isinstance(value, Path):
                value = str(value)
            yield Shown(key, value, self.origins[key])

    def error(self, key: str, problem: str) -> SettingsError:
        """An error about a value that turned out to be wrong in use, with its origin."""
        return SettingsError(key, self.origins.get(key, "default"), problem)


class _Given(NamedTuple):
    value: Any
    origin: str


def load_settings(
    overrides: Mapping[str, Any] | None = None,
    *,
    config_file: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """Read the settings from the command line, the environment and the TOML file.

    Args:
        overrides: dotted key and value, as given on the command line; None for a value counts as not given.
        config_file: the TOML file; by default the one of ``ANOMALY_CONFIG``, else ``anomaly.toml`` if present.
        environ: the environment; by default the process's.

    Raises:
        SettingsError: a key is unknown or a value is wrong; the message names key and origin, never a secret.

    Example:
        >>> loaded = load_settings({"web.port": "8080"}, environ={"ANOMALY_WORKER__APP_ID": "fraud"})
        >>> loaded.settings.web.port, loaded.origins["web.port"]
        (8080, 'command line')
        >>> loaded.origins["worker.app_id"], loaded.origins["limits.threads"]
        ('environment ANOMALY_WORKER__APP_ID', 'default')
    """
    environ = os.environ if environ is None else environ
    given: dict[str, _Given] = {}
    for level in (
        _from_file(config_file or environ.get(CONFIG_VARIABLE)),
        _from_environment(environ),
        {key: _Given(value, "command line") for key, value in (overrides or {}).items() if value is not None},
    ):
        given |= _read_secret_files(level)
    tree: dict[str, dict[str, Any]] = {section: {} for section in Settings.model_fields}
    for key, (value, _) in given.items():
        section, name = key.split(".")
        tree[section][name] = value
    origins = {key: given[key].origin if key in given else "default" for key in KEYS}
    try:
        loaded = LoadedSettings(Settings.model_validate(tree), origins)
    except ValidationError as error:
        # The cause is left out of the chain: it quotes the input, which may be a secret.
        raise _explain(error, given) from None
    _check_together(loaded)
    return loaded


def _from_file(path: str | os.PathLike[str] | None) -> dict[str, _Given]:
    if path is None and not Path(DEFAULT_FILE).is_file():
        return {}
    name = str(path or DEFAULT_FILE)
    try:
        document = tomllib.loads(Path(name).read_text("utf-8"))
    except OSError as error:
        raise SettingsError("the settings file", name, f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError("the settings file", name, f"is not TOML: {error}") from error
    level = {}
    for section, table in document.items():
        if not isinstance(table, dict):
            _check_key(section, name)
            raise SettingsError(section, name, f"should be a table: [{section}]")
        for key, value in table.items():
            level[_check_key(f"{section}.{key}", name)] = _Given(value, name)
    return level


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    level = {}
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX).lower()
        # Others of the prefix, such as ANOMALY_CONFIG, are no settings.
        if variable.startswith(PREFIX) and ("__" in name or name.partition("_")[0] in Settings.model_fields):
            key = name.replace("__", ".", 1)
            level[_check_key(key, f"environment {variable}")] = _Given(environ[variable], f"environment {variable}")
    return level


def _check_key(key: str, origin: str) -> str:
    """The key, if there is such a setting; a section alone passes too."""
    if key in KEYS or key in _SECRET_FILES or key in Settings.model_fields:
        return key
    near = difflib.get_close_matches(key, [*KEYS, *_SECRET_FILES], 1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; the sections are {', '.join(Settings.model_fields)}"
    if near and origin.startswith("environment"):
        hint = f"; did you mean {PREFIX}{near[0].upper().replace('.', '__')}?"
    raise SettingsError(key, origin, f"there is no such setting{hint}")


def _read_secret_files(level: Mapping[str, _Given]) -> dict[str, _Given]:
    read = {}
    for key, (value, origin) in level.items():
        secret = _SECRET_FILES.get(_check_key(key, origin))
        if secret is None:
            if key in Settings.model_fields:
                raise SettingsError(key, origin, "is a section; name one of its settings, such as web.port")
            read[key] = _Given(value, origin)
            continue
        if secret in level:
            raise SettingsError(key, origin, f"{secret} is given beside it; give one of them")
        try:
            text = Path(str(value)).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                key, origin, f"{value} cannot be read: {getattr(error, 'strerror', 'no text')}"
            ) from error
        read[secret] = _Given(text.removesuffix("\n").removesuffix("\r"), f"{origin}, file {value}")
    return read


def _explain(error: ValidationError, given: Mapping[str, _Given]) -> SettingsError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(str(part) for part in first["loc"][:2])
    wrong = given.get(key, _Given(None, "default"))
    problem = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    shown = "" if key in SECRETS or first["type"] == "value_error" else f"{wrong.value!r} "
    return SettingsError(key, wrong.origin, shown + problem)


def _check_together(loaded: LoadedSettings) -> None:
    kafka = loaded.settings.kafka
    if kafka.security_protocol.startswith("SASL") and kafka.sasl_mechanism != "OAUTHBEARER" and not kafka.sasl_username:
        raise loaded.error("kafka.sasl_username", f"is needed with kafka.security_protocol {kafka.security_protocol}")
    if (kafka.ssl_cert_file is None) != (kafka.ssl_key_file is None):
        key = "kafka.ssl_key_file" if kafka.ssl_key_file is None else "kafka.ssl_cert_file"
        raise loaded.error(key, "a client certificate needs both kafka.ssl_cert_file and kafka.ssl_key_file")
