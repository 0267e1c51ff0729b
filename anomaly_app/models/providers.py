"""From the statements about a model to what answers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from anomaly_app.errors import OptionError
from anomaly_app.models.model import LocalModel, RemoteModel, Task
from anomaly_app.models.onnx import OUTPUT, PATH, OnnxModel
from anomaly_app.models.options import NAMES, plain
from anomaly_app.models.remote import AZURE_ROWS, AzureMl, OpenAi, Place, Rest, path_of
from anomaly_app.schema import Column

PROVIDERS = ("onnx", "azureml", "openai", "azureopenai", "googleai", "rest", "sagemaker", "bedrock", "vertexai")
"""Those that are known; of the last ones some can be asked with a key only."""

_KEYS = ("api_key", "password", "token")
_SIGNED = {
    "sagemaker": "AWS signs requests (Signature V4) with an access key and a secret: put an API gateway with a key "
    "before the endpoint, and use 'provider' = 'rest'",
    "bedrock": "AWS signs requests (Signature V4) unless there is an API key for Bedrock: give the connection an "
    "'api-key'",
    "vertexai": "Vertex AI wants short-lived tokens of a service account: give the connection a token as 'api-key', "
    "or put a gateway before it",
}
_OPTIONS: Mapping[str, frozenset[str]] = {
    "onnx": frozenset({PATH, OUTPUT}),
    "azureml": frozenset({"input_format", "output_format", "output_column"}),
    "openai": frozenset({"model", "model_version", "system_prompt", "params", "input_format", "output_format"}),
    "rest": frozenset({"request_path", "response_path", "params", "listed"}),
}


def checked_task(text: str | None) -> Task | None:
    """The task of a name; raises ``OptionError``."""
    if text is None:
        return None
    try:
        return Task(text.strip().lower())
    except ValueError:
        names = ", ".join(task.value for task in Task)
        raise OptionError("task", f"'task' must be one of {names}, not {text!r}") from None


def build(
    provider: str,
    task: Task | None,
    inputs: Sequence[Column],
    outputs: Sequence[Column],
    options: Mapping[str, str],
    connection: Mapping[str, str],
) -> LocalModel | RemoteModel:
    """What answers.

    Args:
        provider: its name.
        task: what the model does.
        inputs: columns of INPUT.
        outputs: columns of OUTPUT.
        options: of the model, secrets in their place.
        connection: options of its connection, secrets in their place; {} without one.

    Raises:
        OptionError: an option is unknown, missing or wrong; the file or its graph does not fit.
    """
    if provider not in PROVIDERS:
        near = difflib.get_close_matches(provider, PROVIDERS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f": there are {', '.join(PROVIDERS)}"
        raise OptionError("provider", f"unknown provider {provider!r}{hint}")
    said = _Said(provider, options)
    if provider == "onnx":
        said.check(_OPTIONS["onnx"])
        return OnnxModel(inputs, outputs, options)
    kind = {"azureopenai": "openai", "googleai": "openai"}.get(provider, provider)
    if kind in _SIGNED:
        kind = "rest"
    said.check(_OPTIONS[kind])
    if not inputs:
        raise OptionError("", "the model has no INPUT: name the columns that it is given")
    place = _place(provider, said, connection)
    if kind == "azureml":
        return AzureMl(place, inputs, outputs, said.rows(AZURE_ROWS))
    if kind == "openai":
        params = said.json("params")
        model = said.get("model") or said.get("model_version")
        if not model and provider != "azureopenai":  # whose address names it
            raise OptionError(f"{provider}.model", f"'{provider}.model' is missing: the name of the model")
        return OpenAi(place, inputs, outputs, model, task, said.get("system_prompt"), params)
    rows = said.rows(1)
    listed = said.get("listed").lower() == "true"
    return Rest(
        place, inputs, outputs, within=said.path("request_path"), found_at=said.path("response_path"),
        batch_rows=rows, listed=listed, constants=said.json("params"),
    )  # fmt: skip


class _Said:
    """Options of a model, with or without the provider's name before them.

    Args:
        provider: its name.
        options: as given.
    """

    _COMMON = frozenset({"provider", "task", "connection", "endpoint", "headers", "auth_header", *_KEYS, *NAMES})

    def __init__(self, provider: str, options: Mapping[str, str]) -> None:
        self._provider = provider
        self._keys = {self._short(key): key for key in options}
        self._values = {self._short(key): value for key, value in options.items()}

    def _short(self, key: str) -> str:
        if self._provider == "onnx" and key in (PATH, OUTPUT):
            return key
        low = key.lower()
        return plain(low.removeprefix(f"{self._provider}.").removeprefix("rest."))

    def check(self, known: frozenset[str]) -> None:
        """Refuse options that mean nothing."""
        own = {name if "." in name else plain(name) for name in known}
        for name, key in self._keys.items():
            if name not in own and name not in self._COMMON:
                near = difflib.get_close_matches(name, [*own, *self._COMMON], 1)
                hint = f"; did you mean '{near[0]}'?" if near else f": it has {', '.join(sorted(own))}"
                raise OptionError(key, f"the provider '{self._provider}' has no option '{key}'{hint}")

    def get(self, name: str) -> str:
        """A value; "" without."""
        return self._values.get(name, "")

    def key(self, name: str) -> str:
        """How an option is written."""
        return self._keys.get(name, f"{self._provider}.{name}")

    def rows(self, most: int) -> int:
        """Rows of a request."""
        text = self.get("batch_size")
        try:
            rows = int(text) if text else most
        except ValueError:
            rows = 0
        if rows < 1:
            raise OptionError(self.key("batch_size"), f"'batch_size' must be a whole number from 1, not {text!r}")
        return rows

    def path(self, name: str) -> tuple[str, ...]:
        """A path in JSON."""
        return path_of(self.get(name), self.key(name))

    def json(self, name: str) -> dict[str, Any]:
        """A JSON object."""
        text = self.get(name)
        if not text:
            return {}
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise OptionError(self.key(name), f"'{self.key(name)}' must be a JSON object")
        return value


def _place(provider: str, said: _Said, connection: Mapping[str, str]) -> Place:
    """Where the model is, and what lets one in."""
    given = {plain(key): value for key, value in connection.items()}
    url = said.get("endpoint") or given.get("endpoint", "")
    if not url:
        raise OptionError(
            "endpoint", f"the model has no 'endpoint': its connection ('{provider}.connection') or an option names it"
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise OptionError(
            "endpoint", f"'endpoint' must begin with http:// or https://, not {parts.scheme or 'nothing'}"
        )
    key = next((value for name in _KEYS if (value := said.get(name) or given.get(name, ""))), "")
    if provider in _SIGNED and not key:
        raise OptionError("provider", f"the provider '{provider}' lacks a key: {_SIGNED[provider]}")
    headers: dict[str, str] = {}
    header = said.get("auth_header") or given.get("auth_header", "")
    if key and header:
        headers[header] = key
    elif key and provider == "azureopenai":
        headers["api-key"] = key
    elif key and given.get("username"):
        import base64

        headers["Authorization"] = "Basic " + base64.b64encode(f"{given['username']}:{key}".encode()).decode()
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    further = said.json("headers") or json.loads(given.get("headers") or "{}")
    headers |= {str(name): str(value) for name, value in further.items()}
    secrets = [secret for secret in (key, *further.values(), parts.password or "") if secret]
    return Place(url, headers, tuple(map(str, secrets)))
