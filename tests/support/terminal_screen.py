"""A program in a pseudo-terminal, and what a person would see there."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import pexpect
import pyte

UP, DOWN, RIGHT, LEFT = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D"
CTRL_C, CTRL_D, ESCAPE, TAB, ENTER = "\x03", "\x04", "\x1b", "\t", "\r"


class _Screen(pyte.HistoryScreen):
    """Answers where the cursor is, as a terminal does when it is asked."""

    answer: Any = None

    def write_process_input(self, data: str) -> None:
        if self.answer is not None:
            self.answer(data)


class TerminalScreen:
    """A running program.

    Args:
        command: and its arguments.
        environment: of it, beside the process's own.
        lines: of the terminal.
        columns: of the terminal.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], *, lines: int = 40, columns: int = 120
    ) -> None:
        env = {**os.environ, "TERM": "xterm-256color", **environment}
        self._screen = _Screen(columns, lines, history=5_000)
        self._stream = pyte.ByteStream(self._screen)
        self.process = pexpect.spawn(command[0], list(command[1:]), env=env, dimensions=(lines, columns), timeout=5)
        self._screen.answer = self.process.send

    def read(self) -> None:
        """Take what it has printed since the last time."""
        try:
            while True:
                data = self.process.read_nonblocking(65_536, timeout=0.05)
                # pyte does not know the private form of "which keys do you report", and would print it.
                self._stream.feed(re.sub(rb"\x1b\[[>?=]\d*[um]", b"", data))
        except (pexpect.TIMEOUT, pexpect.EOF):
            pass

    @property
    def shown(self) -> str:
        """The lines that are to be seen."""
        self.read()
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    @property
    def text(self) -> str:
        """What has scrolled away, and the lines that are to be seen."""
        shown = self.shown
        above = [
            "".join(line[number].data for number in range(self._screen.columns)).rstrip()
            for line in self._screen.history.top
        ]
        return "\n".join([*above, shown])

    def send(self, keys: str) -> None:
        """Press keys."""
        self.process.send(keys)

    def wait_for(self, pattern: str, *, within_s: float = 30.0, whole: bool = False) -> str:
        """Wait until a pattern is to be seen; what is seen then.

        Args:
            pattern: a regular expression.
            within_s: how long.
            whole: what has scrolled away counts too.
        """
        deadline = time.monotonic() + within_s
        while True:
            seen = self.text if whole else self.shown
            if re.search(pattern, seen, re.MULTILINE):
                return seen
            if time.monotonic() > deadline:
                raise AssertionError(f"{pattern!r} is not to be seen:\n{self.text}")
            if not self.process.isalive():
                self.read()
                assert re.search(pattern, self.text, re.MULTILINE), f"it has ended:\n{self.text}"

    def wait(self, within_s: float = 20.0) -> int:
        """Wait until it has ended; its exit status."""
        deadline = time.monotonic() + within_s
        while self.process.isalive():
            self.read()
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
        return int(self.process.exitstatus if self.process.exitstatus is not None else -self.process.signalstatus)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.close(force=True)
