"""Reading settings, and for each value where it came from."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from anomaly_app.errors import SettingsError
from anomaly_app.secrecy import is_secret
from anomaly_app.settings.places import Step, line_of, written
from anomaly_app.settings.sections import Settings

PREFIX = "ANOMALY_"
CONFIG_VARIABLE = "ANOMALY_CONFIG"
DEFAULT_FILE = "anomaly.toml"
CONNECTIONS = "connections"
"""Section with a table for each connection of models: names and options are the user's own."""
MASK = "********"
PARAMETERS = "parameters"
"""The section whose keys are those of the job files."""
LISTS = tuple(name for name, part in Settings() if isinstance(part, tuple))
"""Sections that are arrays of tables."""


def _keys() -> dict[str, bool]:
    """Every dotted key, and whether it is a secret."""
    return {
        f"{section}.{name}": isinstance(info.default, SecretStr)
        for section, part in Settings()
        if isinstance(part, BaseModel)
        for name, info in type(part).model_fields.items()
    } | dict.fromkeys(LISTS, False)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Models in a type, such as those in a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


KEYS = _keys()
TABLES = frozenset(
    key
    for key in KEYS
    if key in LISTS
    or _models(type(getattr(Settings(), key.partition(".")[0])).model_fields[key.partition(".")[2]].annotation)
)
"""Settings that are tables, or several."""
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
            section, _, name = key.partition(".")
            value = getattr(self.settings, section)
            if name:
                value = getattr(value, name)
            if key in SECRETS:
                value = MASK if value.get_secret_value() else ""
            elif isinstance(value, tuple):
                value = [_masked(part) if isinstance(part, BaseModel) else str(part) for part in value]
            elif isinstance(value, BaseModel):
                value = _masked(value)
            elif isinstance(value, Path):
                value = str(value)
            yield Shown(key, value, self.origins[key])
        for name, value in self.settings.parameters.items():
            key = f"{PARAMETERS}.{name}"
            yield Shown(key, value, self.origins[key])
        for name, options in self.settings.connections.items():
            for option, secret in options.items():
                key = f"{CONNECTIONS}.{name}.{option}"
                shown = MASK if is_secret(option) else secret.get_secret_value()
                yield Shown(key, shown, self.origins.get(key, "default"))

    def error(self, key: str, problem: str) -> SettingsError:
        """An error about a value that turned out to be wrong in use, with its origin.

        Args:
            key: dotted name, or a path such as ``delivery.receivers[0].slack[1].url``.
            problem: what is wrong, and what would be right.
        """
        return SettingsError(key, _place(self.origins, key), problem)


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
        {
            key: _Given(_simple(key, value, "command line"), "command line")
            for key, value in (overrides or {}).items()
            if value is not None
        },
    ):
        given |= _read_secret_files(level)
    tree: dict[str, Any] = {section: {} for section in Settings.model_fields if section not in LISTS}
    for key, (value, _) in given.items():
        section, _, name = key.partition(".")
        if section == CONNECTIONS:
            connection, _, option = name.rpartition(".")
            tree[section].setdefault(connection, {})[option] = str(value)
        elif name:
            tree[section][name] = value
        else:
            tree[section] = value
    origins = {key: given[key].origin if key in given else "default" for key in {**KEYS, **given}}
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
    level: dict[str, _Given] = {}
    for section, table in document.items():
        if section in LISTS and isinstance(table, list):
            level[section] = _Given(table, name)
            continue
        if not isinstance(table, dict):
            _check_key(section, name)
            raise SettingsError(section, name, f"should be a table: [{section}]")
        if section == PARAMETERS:
            level |= {key: _Given(value, name) for key, value in _flat(section, table)}
            continue
        for key, value in table.items():
            if section == CONNECTIONS and isinstance(value, dict):
                level |= {f"{section}.{key}.{option}": _Given(one, name) for option, one in value.items()}
            else:
                level[_check_key(f"{section}.{key}", name)] = _Given(value, name)
    return level


def _flat(path: str, table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and values of parameters: TOML reads their dots as tables in tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(f"{path}.{key}", value)
        elif isinstance(value, bool):
            yield f"{path}.{key}", str(value).upper()
        else:
            yield f"{path}.{key}", value if isinstance(value, list) else str(value)


def _is_parameter(key: str) -> bool:
    return key.startswith(f"{PARAMETERS}.")


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    level = {}
    for variable in sorted(environ):
        name = variable.removeprefix(PREFIX).lower()
        # Others of the prefix, such as ANOMALY_CONFIG, are no settings.
        if variable.startswith(PREFIX) and ("__" in name or name.partition("_")[0] in Settings.model_fields):
            several = -1 if name.startswith(f"{PARAMETERS}__") else 2 if name.startswith(f"{CONNECTIONS}__") else 1
            key = name.replace("__", ".", several)
            origin = f"environment {variable}"
            level[_check_key(key, origin)] = _Given(_simple(key, environ[variable], origin), origin)
    return level


def _check_key(key: str, origin: str) -> str:
    """The key, if there is such a setting; a section alone passes too."""
    if key in KEYS or key in _SECRET_FILES or key in Settings.model_fields or _is_parameter(key):
        return key
    if key.startswith(f"{CONNECTIONS}."):
        if key.count(".") < 2:
            raise SettingsError(key, origin, f"should name a connection and an option: {CONNECTIONS}.azure.endpoint")
        return key
    near = difflib.get_close_matches(key, [*KEYS, *_SECRET_FILES], 1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; the sections are {', '.join(Settings.model_fields)}"
    if key.count(".") > 1 and origin == "command line":
        hint = f"; if a job file has a parameter of that name, say {PARAMETERS}.{key}"
    if near and origin.startswith("environment"):
        hint = f"; did you mean {PREFIX}{near[0].upper().replace('.', '__')}?"
    raise SettingsError(key, origin, f"there is no such setting{hint}")


def _read_secret_files(level: Mapping[str, _Given]) -> dict[str, _Given]:
    read = {}
    for key, (value, origin) in level.items():
        secret = _SECRET_FILES.get(_check_key(key, origin))
        if key.startswith(f"{CONNECTIONS}.") and key.endswith("_file"):
            secret = key.removesuffix("_file")
        if secret is None:
            if key in Settings.model_fields and key not in LISTS:
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


_NAMES = "should be a name of letters, digits, '.', '_' and '-'"


def _simple(key: str, value: Any, origin: str) -> Any:
    """A value given elsewhere than in a file; raises SettingsError for a setting that is tables."""
    if key in TABLES:
        raise SettingsError(key, origin, "is a table or several; it can be given in the settings file only")
    return value


def _explain(error: ValidationError, given: Mapping[str, _Given]) -> SettingsError:
    first = error.errors(include_url=False, include_context=False)[0]
    path = first["loc"]
    key = written(path)
    top = str(path[0]) if path[0] in LISTS else ".".join(str(part) for part in path[:2])
    origins = {name: value.origin for name, value in given.items()}
    problem = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if first["type"] == "extra_forbidden":
        problem = "there is no such setting" + _near(path)
    elif first["type"] == "missing":
        problem = "is needed"
    elif first["type"] == "string_pattern_mismatch":
        problem = "should begin with http:// or https://" if key.endswith("url") else _NAMES
    told = first["type"] not in ("value_error", "extra_forbidden", "missing") and top not in SECRETS
    # What stands in a table may be a secret: it is told only where it is no text.
    value = first["input"]
    shown = f"{value!r} " if told and (top == key or isinstance(value, int | float | bool)) else ""
    return SettingsError(key, _place(origins, key), shown + problem)


def _near(path: Sequence[Step]) -> str:
    """What may have been meant by an unknown key, or what there is."""
    model: Any = Settings
    for step in path[:-1]:
        if isinstance(step, str):
            found = _models(model.model_fields[step].annotation) if step in model.model_fields else []
            if not found:
                return ""
            model = found[0]
    names = [info.alias or name for name, info in model.model_fields.items()]
    names += [f"{name}_file" for name, info in model.model_fields.items() if isinstance(info.default, SecretStr)]
    near = difflib.get_close_matches(str(path[-1]), names, 1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)}"


def _place(origins: Mapping[str, str], key: str) -> str:
    """The origin of a setting or of a part of it; for a file with the number of the line."""
    path = [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", key)]
    longer = (".".join(str(step) for step in path[:count]) for count in range(len(path), 0, -1))
    top = next((name for name in longer if name in origins), "")
    origin = origins.get(top, "default")
    if top == key:
        return origin
    try:
        line = line_of(Path(origin).read_text("utf-8"), path)
    except OSError:  # it came from elsewhere
        return origin
    return f"{origin}, line {line}" if line is not None else origin


def _masked(model: BaseModel) -> dict[str, Any]:
    """What a table says beyond the defaults; secrets masked."""
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return dumped


def _check_together(loaded: LoadedSettings) -> None:
    kafka = loaded.settings.kafka
    if kafka.security_protocol.startswith("SASL") and kafka.sasl_mechanism != "OAUTHBEARER" and not kafka.sasl_username:
        raise loaded.error("kafka.sasl_username", f"is needed with kafka.security_protocol {kafka.security_protocol}")
    if (kafka.ssl_cert_file is None) != (kafka.ssl_key_file is None):
        key = "kafka.ssl_key_file" if kafka.ssl_key_file is None else "kafka.ssl_cert_file"
        raise loaded.error(key, "a client certificate needs both kafka.ssl_cert_file and kafka.ssl_key_file")
