"""One process at a time on a data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from anomaly_app.errors import StateError

NAME = "lock"


class DataDirLock:
    """Holds a data directory; a context manager. The system lets go of it when the process ends, in whatever way.

    Args:
        folder: the data directory; it must exist.

    Raises:
        StateError: another process holds it.
        OSError: nothing can be written there.
    """

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / NAME, "a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip() or "?"
            self._file.close()
            raise StateError(f"{folder} is in use by a worker (process {holder})") from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def close(self) -> None:
        """Let go; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
