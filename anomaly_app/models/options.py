"""How a model is called: options of the model, and those of a call of ML_PREDICT, which come first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from anomaly_app.errors import OptionError
from anomaly_app.words import parse_duration

ERROR_HANDLING = ("fail", "null")
"""What becomes of a row on which a model fails: a dead letter, or NULLs in its place."""


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a model is called.

    Args:
        timeout_s: how long a call may take.
        retries: how often a call is made again that failed in a way that may pass.
        parallelism: calls at a time, at most.
        batch_rows: rows of a call, at most; None for what the provider can.
        calls_per_s: at most; None for no bound.
        error_handling: ``fail`` or ``null``.
        breaker_failures: so many calls that fail one after the other open the circuit; 0 for never.
        breaker_s: after which one call is tried while it is open.
    """

    timeout_s: float = 30.0
    retries: int = 3
    parallelism: int = 10
    batch_rows: int | None = None
    calls_per_s: float | None = None
    error_handling: str = "fail"
    breaker_failures: int = 20
    breaker_s: float = 5.0

    @property
    def gives_nulls(self) -> bool:
        """A row on which the model fails gets NULLs."""
        return self.error_handling == "null"


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise ValueError
        return value

    parse.__doc__ = f"A whole number from {least} to {most:,}."
    return parse


def _seconds(text: str) -> float:
    """Seconds above 0, or a duration such as '10 s'."""
    try:
        value = float(text)
    except ValueError:
        found = parse_duration(text)
        if found is None:
            raise
        value = found / 1000
    if not 0 < value <= 86_400:
        raise ValueError
    return value


def _rate(text: str) -> float:
    """A number above 0."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError
    return value


def _handling(text: str) -> str:
    """One of 'fail' (a dead letter) or 'null'."""
    value = {"dead-letter": "fail", "dead_letter": "fail"}.get(text.strip().lower(), text.strip().lower())
    if value not in ERROR_HANDLING:
        raise ValueError
    return value


_NAMES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "client_timeout": ("timeout_s", _seconds),
    "timeout": ("timeout_s", _seconds),
    "retry_count": ("retries", _whole(0, 100)),
    "max_parallelism": ("parallelism", _whole(1, 10_000)),
    "max_concurrent_operations": ("parallelism", _whole(1, 10_000)),
    "batch_size": ("batch_rows", _whole(1, 100_000)),
    "max_calls_per_second": ("calls_per_s", _rate),
    "error_handling": ("error_handling", _handling),
    "breaker_failures": ("breaker_failures", _whole(0, 1_000_000)),
    "breaker_timeout": ("breaker_s", _seconds),
}
_WITHOUT_MEANING = frozenset({"async", "async_enabled", "async_output_mode", "output_mode", "debug"})
"""Calls are always asynchronous, and rows stay in order."""

NAMES = frozenset({*_NAMES, *_WITHOUT_MEANING})


def plain(key: str) -> str:
    """The name of an option, however it is spelt.

    Example:
        >>> plain("Max-Concurrent-Operations")
        'max_concurrent_operations'
    """
    return key.strip().lower().replace("-", "_").replace(".", "_")


def call_options(given: Mapping[str, str], before: CallOptions | None = None) -> CallOptions:
    """Options of a call.

    Args:
        given: by name, as written; others than :data:`NAMES` are let be.
        before: where nothing is given.

    Raises:
        OptionError: a value makes no sense.

    Example:
        >>> call_options({"client_timeout": "5", "max_parallelism": "100"}).parallelism
        100
    """
    before = before or CallOptions()
    values = {field.name: getattr(before, field.name) for field in fields(before)}
    for key, text in given.items():
        known = _NAMES.get(plain(key))
        if known is None:
            continue
        name, parse = known
        try:
            values[name] = parse(text)
        except ValueError:
            wanted = (parse.__doc__ or "").rstrip(".")
            raise OptionError(key, f"'{key}' must be {wanted[:1].lower()}{wanted[1:]}, not {text!r}") from None
    return CallOptions(**values)
