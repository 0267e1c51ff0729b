"""Commands of documents as a person types them: in a terminal, and in others that stay open."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil

INTERRUPTED = (0, 130, -signal.SIGINT)
"""Exit statuses after Ctrl-C; curl and Python's own end by the signal."""


class Block(NamedTuple):
    """A fenced block and the heading that it stands under."""

    section: str
    language: str
    text: str


def blocks_of(text: str) -> list[Block]:
    found, section = [], ""
    for heading, language, body in re.findall(r"^## ([^\n]+)$|^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        section = heading or section
        if not heading:
            found.append(Block(section, language, body))
    return found


def commands_of(text: str) -> list[str]:
    """Whole commands of a block: a line, or more where a here-document or a quote is open."""
    commands, waiting = [], ""
    for line in text.splitlines(keepends=True):
        waiting += line
        check = subprocess.run(["bash", "-n"], input=waiting, capture_output=True, text=True, check=False)
        if check.returncode == 0 and "here-document" not in check.stderr and not waiting.endswith("\\\n"):
            commands.append(waiting.strip())
            waiting = ""
    assert not waiting, f"not a whole command: {waiting}"
    return [command for command in commands if command]


MARK = "TYPED_COMMAND"
"""An environment variable by which all processes of a command are found."""


# --- processes ----------------------------------------------------------------------------------------


class Background:
    """A command that runs until Ctrl-C.

    Args:
        command: a shell command.
        cwd: where.
        environment: of it.
        output: file that takes what it prints.
    """

    def __init__(self, command: str, cwd: Path, environment: dict[str, str], output: Path) -> None:
        self.command, self._file, self.mark = command, output, uuid.uuid4().hex
        with output.open("w") as file:
            self.process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=cwd,
                env={**environment, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a foreground process group of its own, as in a terminal
            )

    @property
    def output(self) -> str:
        return self._file.read_text("utf-8")

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 40) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"{self.command} ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < deadline, f"{self.command} is not ready:\n{self.output}"
            time.sleep(0.1)

    def interrupt(self, within_s: float = 5) -> None:
        """Ctrl-C; nothing is left of it afterwards."""
        assert self.process.poll() is None, f"{self.command} ended with {self.process.returncode}:\n{self.output}"
        os.killpg(self.process.pid, signal.SIGINT)
        began = time.monotonic()
        try:
            status = self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.command} did not end within {within_s} s:\n{self.output}") from None
        self.check_alone(within_s - (time.monotonic() - began))
        assert status in INTERRUPTED, f"{self.command} ended with {status}:\n{self.output}"
        assert "Traceback" not in self.output, self.output

    def family(self) -> list[psutil.Process]:
        """Every process that came of it and runs, wherever it is in the tree: they inherit the mark."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def check_alone(self, within_s: float) -> None:
        """It has ended: nothing of it may be left."""
        deadline = time.monotonic() + within_s
        while alive := self.family():
            assert time.monotonic() < deadline, f"{self.command} left {[process.cmdline() for process in alive]}"
            time.sleep(0.05)

    def kill(self) -> None:
        for process in self.family():
            process.kill()
        self.process.wait()


def environment() -> dict[str, str]:
    """Without settings of whoever runs the tests, and with the commands of this environment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_")}
    return {**kept, "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "200"}


def get(url: str) -> tuple[int, str]:
    """Status and text; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


def shell(command: str, cwd: Path, environment: dict[str, str]) -> str:
    """What a command prints; it has to end well."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{output}"
    assert "Traceback" not in output, output
    return output
