"""What a model is: its columns, its provider, its versions; and the two ways in which one answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from anomaly_app.errors import DataError
from anomaly_app.models.stats import ModelStats
from anomaly_app.schema import Column

MOST_VERSIONS = 10
"""Of a model."""

Values: TypeAlias = tuple[Any, ...]
"""What a model is given for a row, or what it gives: a value for each column, in memory form."""


class Task(Enum):
    """What a model does; as Flink has it."""

    CLASSIFICATION = "classification"
    REGRESSION = "regression"
    CLUSTERING = "clustering"
    EMBEDDING = "embedding"
    TEXT_GENERATION = "text_generation"


class LocalModel:
    """A model within this process."""

    def score(self, rows: Sequence[Values]) -> list[Values]:
        """What it gives for some rows, one for each.

        Raises:
            DataError: it cannot take them, or gives what is no value of its columns.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent to a model.

    Args:
        url: where to.
        headers: of the request, with what lets it in: not to be shown.
        body: the bytes.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes


class RemoteModel:
    """A model behind an address: pure, it makes no calls.

    Attributes:
        url: where it is asked, for people.
        batch_rows: how many rows one request may carry.
        secrets: what must not be shown, should an answer repeat it.
    """

    url: str
    batch_rows: int
    secrets: Sequence[str]

    def request(self, rows: Sequence[Values]) -> Request:
        """What to send for some rows."""
        raise NotImplementedError

    def answer(self, body: bytes, rows: int) -> list[Values | DataError]:
        """What an answer says, for each of so many rows: values, or what is wrong with it for one row.

        Raises:
            DataError: it is not what the provider promises.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A version of a model.

    Args:
        name: in the catalog, dotted.
        version: from 1.
        inputs: what it is given.
        outputs: what it gives.
        provider: such as ``onnx``.
        task: what it does; None if that was not said.
        options: of its statement; those that hold secrets are not in it.
        comment: for people.
        asked: how it answers.
        stats: what is counted of it.
    """

    name: str
    version: int
    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...]
    provider: str
    task: Task | None
    options: Mapping[str, str]
    comment: str
    asked: LocalModel | RemoteModel
    stats: ModelStats = field(default_factory=ModelStats)

    @property
    def remote(self) -> RemoteModel | None:
        """What is asked behind an address; None of a model in a file."""
        return self.asked if isinstance(self.asked, RemoteModel) else None

    @property
    def title(self) -> str:
        """Name and version, as SQL writes it."""
        return f"{self.name}${self.version}"


@dataclass(slots=True)
class Versions:
    """All versions of a model.

    Args:
        name: of the model.
        all: by number.
        default: the one that the bare name means.
        last: the highest number that there ever was.
    """

    name: str
    all: dict[int, Model] = field(default_factory=dict)
    default: int = 1
    last: int = 0


def split_version(name: str) -> tuple[str, str]:
    """A name and what stands behind its ``$``; "" for nothing.

    Example:
        >>> split_version("fraud$2"), split_version("fraud")
        (('fraud', '2'), ('fraud', ''))
    """
    bare, _, version = name.partition("$")
    return bare, version
