"""Types of settings: lists, optional files, durations, secrets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, FilePath

from anomaly_app.words import parse_duration


class Section(BaseModel):
    """A table of settings: unknown keys are errors, values stay as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _none_if_empty(value: object) -> object:
    return None if value == "" else value


OptionalFile = Annotated[FilePath | None, BeforeValidator(_none_if_empty)]
Paths = Annotated[tuple[Path, ...], BeforeValidator(_split)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_split)]


def length_ms(text: str) -> int:
    """A length of time in ms; raises ``ValueError`` for a text that is none.

    Example:
        >>> length_ms("1h30m"), length_ms("45 s")
        (5400000, 45000)
    """
    parts = re.findall(r"\d+ *[a-z]+", text)
    lengths = [parse_duration(part) for part in parts]
    if not parts or re.sub(r"\s", "", "".join(parts)) != re.sub(r"\s", "", text) or None in lengths:
        raise ValueError(f"{text!r} should be a duration, such as '30s', '5m' or '1h30m'")
    return sum(length for length in lengths if length is not None)


def _duration(value: object) -> object:
    return length_ms(value) if isinstance(value, str) else value


Duration = Annotated[int, BeforeValidator(_duration)]
"""A length of time in ms; written ``30s``, ``5m``, ``1h30m``, or as a number of ms."""
