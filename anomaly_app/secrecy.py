"""Values of options that stand elsewhere: in a file, or in the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

MASK = "******"
_PLACE = re.compile(r"\$\{(file|env):([^}]*)\}")
_SECRET = re.compile(
    "password|secret|api[-_]?key|token|basic-auth|jaas|credential|keystore.key|http-headers|authorization|access[-_]key",
    re.IGNORECASE,
)


def is_secret(key: str) -> bool:
    """Whether the value of an option is not for everybody, by its name.

    Example:
        >>> is_secret("openai.api_key"), is_secret("endpoint")
        (True, False)
    """
    return _SECRET.search(key) is not None


def is_elsewhere(value: str) -> bool:
    """Whether a value stands in a file or in the environment, at least in part.

    Example:
        >>> is_elsewhere("${env:AZURE_KEY}"), is_elsewhere("k-123")
        (True, False)
    """
    return _PLACE.search(value) is not None


def resolved(value: str, environ: Mapping[str, str] | None = None) -> str:
    """A value with what files and the environment say.

    Args:
        value: as written.
        environ: the environment; by default the process's.

    Raises:
        ValueError: a file cannot be read, or a variable is not set; names it, and no value.

    Example:
        >>> resolved("Bearer ${env:KEY}", {"KEY": "k-1"})
        'Bearer k-1'
    """
    environ = os.environ if environ is None else environ

    def said(found: re.Match[str]) -> str:
        kind, name = found[1], found[2].strip()
        if kind == "env":
            if name not in environ:
                raise ValueError(f"the environment has no variable {name!r}")
            return environ[name]
        try:
            return Path(name).expanduser().read_text("utf-8").removesuffix("\n").removesuffix("\r")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"file {name!r} cannot be read: {getattr(error, 'strerror', 'no text')}") from None

    return _PLACE.sub(said, value)


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which secrets are masked, should it repeat them.

    Example:
        >>> without("no such key: k-123", ["k-123"])
        'no such key: ******'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return text
