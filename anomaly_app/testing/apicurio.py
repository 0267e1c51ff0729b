"""Apicurio Registry itself on this machine, in memory on loopback, fetched with Maven.

``python -m anomaly_app.testing.apicurio start|status|stop`` runs one that stays; :class:`Apicurio` one for tests.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from anomaly_app.errors import AnomalyError, RegistryError
from anomaly_app.testing.maven import Artifact, cache_directory, fetch
from anomaly_app.testing.ports import free_port
from anomaly_app.testing.registry import PREFIX

VERSION = "2.6.13.Final"
"""The tutorial's own."""

ARTIFACT = Artifact("io.apicurio", "apicurio-registry-app", VERSION, "tar.gz", "all")
HEAP = "-Xmx512m"
START_S = 60.0
STOP_S = 10.0


class Apicurio:
    """One Apicurio Registry; use it as a context manager.

    It ends when this process does, unless it is ``detached``.

    Args:
        port: where it listens; 0 for a free one.
        detached: it outlives this process.

    Raises:
        MavenError: it cannot be fetched.
        RegistryError: the port is taken, or it does not start.
    """

    def __init__(self, port: int = 0, *, detached: bool = False) -> None:
        self.port = _free_port(port)
        self._log = Path(tempfile.mkstemp(prefix="anomaly-apicurio-", suffix=".log")[1])
        command = [
            "java",
            HEAP,
            "-Dquarkus.http.host=127.0.0.1",
            f"-Dquarkus.http.port={self.port}",
            "-jar",
            str(_program()),
        ]
        if not detached:
            command = [sys.executable, "-m", "anomaly_app.testing.guard", *command]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """Base address of its Confluent API."""
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    @property
    def pid(self) -> int:
        """Process id; of the guard unless detached."""
        return self._process.pid

    def close(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            # The guard kills it when its input ends, and ends then too.
            self._process.stdin.close()
        else:
            self._process.kill()
        self._process.wait()
        self._log.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while not _answers(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                shown = self._log.read_text("utf-8", "replace")[-2_000:]
                raise RegistryError(f"Apicurio is not ready on port {self.port}:\n{shown}")
            time.sleep(0.1)


def _program() -> Path:
    """Its jar, fetched and unpacked once."""
    archive = fetch("apicurio", [ARTIFACT], transitive=False) / f"apicurio-registry-app-{VERSION}-all.tar.gz"
    target = archive.with_name("unpacked")
    if not target.is_dir():
        with tempfile.TemporaryDirectory(dir=archive.parent) as temporary, tarfile.open(archive) as files:
            files.extractall(temporary, filter="data")
            # Renamed when complete; if another process was first, its copy is as good.
            try:
                Path(temporary).rename(target)
            except OSError:
                if not target.is_dir():
                    raise
            else:
                Path(temporary).mkdir()
    return next(target.rglob(f"apicurio-registry-app-{VERSION}-runner.jar"))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port(port: int) -> int:
    try:
        with socket.create_server(("127.0.0.1", port or free_port())) as server:
            return int(server.getsockname()[1])
    except OSError as error:
        raise RegistryError(f"Apicurio cannot listen on port {port}: {error.strerror}") from error


def _running(file: Path) -> dict[str, Any] | None:
    """What is known of the registry that stays, None if there is none."""
    try:
        state: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    # The id alone may belong to another process by now; the command names the port and the program.
    shown = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(state["pid"])], capture_output=True, text=True).stdout
    return state if f"port={state['port']}" in shown and "apicurio" in shown else None


def _start(file: Path, port: int) -> None:
    state = _running(file)
    if state is None:
        registry = Apicurio(port, detached=True)
        state = {"pid": registry.pid, "port": registry.port, "url": registry.url}
        file.write_text(json.dumps(state), "utf-8")
    print(f"Apicurio Registry runs on {state['url']} (process {state['pid']})")


def _stop(file: Path) -> None:
    state = _running(file)
    if state is None:
        print("Apicurio Registry does not run")
        return
    os.kill(state["pid"], signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while _running(file) is not None:
        if time.monotonic() > deadline:
            os.kill(state["pid"], signal.SIGKILL)
            deadline += STOP_S
        time.sleep(0.05)
    file.unlink()
    print("Apicurio Registry stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: ``start``, ``status`` (exit status 1 if it does not run) and ``stop``."""
    parser = argparse.ArgumentParser(prog="scripts/registry", description="Apicurio Registry on this machine.")
    remembered = cache_directory("apicurio") / "state.json"
    parser.add_argument("--state", type=Path, default=remembered, help="file that remembers the one that runs")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("start", help="start it and wait until it is ready")
    start.add_argument("--port", type=int, default=8080, help="where it listens (default 8080; 0: a free port)")
    commands.add_parser("status", help="say whether it runs, and where")
    commands.add_parser("stop", help="end it; it keeps nothing")
    options = parser.parse_args(arguments)
    try:
        if options.command == "start":
            _start(options.state, options.port)
        elif options.command == "stop":
            _stop(options.state)
        else:
            state = _running(options.state)
            print(f"Apicurio Registry runs on {state['url']}" if state else "Apicurio Registry does not run")
            return 0 if state else 1
    except AnomalyError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
