"""Programs of the system that tests run for a while on loopback: InfluxDB, Prometheus, Alertmanager."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from anomaly_app.errors import AnomalyError
from anomaly_app.testing.ports import free_port

START_S = 60.0
STOP_S = 15.0


class ProgramError(AnomalyError):
    """A program is missing, does not start, or refuses what it is asked."""

    code: ClassVar[str] = "program"


class Program(ABC):
    """A program with an HTTP interface, in a temporary directory; use it as a context manager.

    What it stores outlives :meth:`stop` and :meth:`kill`, so that an outage can be tested, but not the context manager.
    It ends when this process does, in whatever way.

    Args:
        port: where it listens; 0 for a free one.

    Raises:
        ProgramError: it is not installed, or does not start.
    """

    executable: ClassVar[str]
    package: ClassVar[str]
    """Of Debian."""

    ready_path: ClassVar[str]

    def __init__(self, port: int = 0) -> None:
        problem = self.missing()
        if problem:
            raise ProgramError(problem)
        self.port = port or free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"anomaly-{self.package}-"))
        self._log = self.directory / "program.log"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be run here, None if it can."""
        if shutil.which(cls.executable) is None:
            return f"{cls.executable} not found: install Debian's package {cls.package}"
        return None

    @property
    def url(self) -> str:
        """Base address, without a slash at its end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has printed."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program and its arguments; files that it needs are written here too."""

    def environment(self) -> Mapping[str, str]:
        """Its whole environment."""
        return {"HOME": str(self.directory), "PATH": "/usr/bin:/bin"}

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        if self._process is not None:
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(Path(__file__).with_name("guard.py")), *self.command()],
                env=self.environment(),
                cwd=self.directory,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ProgramError(f"{self.executable} is not ready on port {self.port}:\n{self.log[-2_000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Shut it down in an orderly way."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
            else:
                self._reap()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            # The guard kills the program when its input ends, and ends then too.
            self._reap()

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def request(
        self,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> bytes:
        """Ask it something.

        Args:
            path: from the root, such as ``/api/v2/alerts``.
            parameters: of the address.
            body: makes it a POST, unless ``method`` says otherwise.
            headers: of the request.
            method: of HTTP.

        Returns:
            The body of the answer.

        Raises:
            ProgramError: it answers with an error; the message has its words.
        """
        address = f"{self.url}{path}" + (f"?{urllib.parse.urlencode(parameters)}" if parameters else "")
        request = urllib.request.Request(address, data=body, headers=dict(headers or {}), method=method)
        try:
            with urllib.request.urlopen(request, timeout=START_S) as response:
                answer: bytes = response.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read().decode("utf-8", "replace")
            raise ProgramError(f"{self.executable} answers {error.code} to {path}: {said.strip()}") from error
        except OSError as error:
            raise ProgramError(f"{self.executable} does not answer: {error}") from error
        return answer

    def ask(self, path: str, **parameters: str) -> Any:
        """Ask for JSON by GET."""
        return json.loads(self.request(path, parameters=parameters))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{self.ready_path}", timeout=2) as response:
                return bool(response.status < 300)
        except OSError:
            return False

    def _reap(self) -> None:
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._process = None
