"""What libraries and followers log while a statement runs: told beside its rows, and not across them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from anomaly_app.runtime.repeats import drop_repeats

Say = Callable[[str], None]


class Remarks(logging.Handler):
    """Gives warnings to whoever shows something now.

    Args:
        say: takes a line.
    """

    def __init__(self, say: Say) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """One warning, in one line."""
        self._say(" ".join(record.getMessage().split()))

    @contextmanager
    def to(self, say: Say) -> Iterator[None]:
        """Somebody else shows something for a while."""
        before, self._say = self._say, say
        try:
            yield
        finally:
            self._say = before


@contextmanager
def heard(say: Say) -> Iterator[Remarks]:
    r"""Hear all loggers; those of Kafka's client repeat themselves less.

    Args:
        say: takes a line.

    Example:
        >>> lines = []
        >>> with heard(lines.append):
        ...     logging.getLogger("anything").warning("so\nit %s", "is")
        >>> lines
        ['so it is']
    """
    root, remarks = logging.getLogger(), Remarks(say)
    drop_repeats()
    root.addHandler(remarks)
    try:
        yield remarks
    finally:
        root.removeHandler(remarks)
