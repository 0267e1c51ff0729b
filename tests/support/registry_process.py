"""The test kit's registry as a process that a test can end and start again; it forgets its schemas then."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Self


class RegistryProcess:
    def __init__(self) -> None:
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v6"

    def start(self) -> None:
        command = [sys.executable, "-m", "anomaly_app.testing.registry", "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().split()[-1].split("/")[2].rpartition(":")[2])

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
