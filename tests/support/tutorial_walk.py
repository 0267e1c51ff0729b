"""Somebody who types what a tutorial says, top to bottom, with ports and a broker of this run."""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from typed_commands import Background, environment, shell

from anomaly_app.testing.ports import free_port

ROOT = Path(__file__).parents[2]
ELSEWHERE = "# in another terminal"
"""Behind a command that stays open."""


class Walk:
    """Their terminals.

    Args:
        place: folder in which they type.
        servers: address of Kafka.
        ports: of the tutorial; each becomes a free one.
        settings: environment variables, besides those of whoever runs the tests.
        ready_s: how long a command may take until it is ready.
    """

    def __init__(
        self, place: Path, servers: str, ports: Sequence[str], settings: Mapping[str, str], *, ready_s: float
    ) -> None:
        self.place, self.servers, self._ready_s = place, servers, ready_s
        self.ports = {port: str(free_port()) for port in ports} | {"9092": servers.rpartition(":")[2]}
        commands = place / "commands"
        commands.mkdir()
        (commands / "anomaly").write_text(f'#!/bin/sh\nexec {sys.executable} -m anomaly_app.cli "$@"\n')
        (commands / "anomaly").chmod(0o755)
        (place / "anomaly_app").symlink_to(ROOT / "anomaly_app")
        given = environment()
        self.environment = given | {
            "PATH": f"{commands}{os.pathsep}{given['PATH']}",
            "PYTHONPATH": str(ROOT),
            "ANOMALY_WORKER__IDLE_TIMEOUT_S": "1",
            **settings,
        }
        self.running: list[Background] = []
        self._number = itertools.count()

    def local(self, text: str) -> str:
        """With the ports of this run in place of the tutorial's."""
        text = re.sub(rf"\b({'|'.join(self.ports)})\b", lambda found: self.ports[found[1]], text)
        return text.replace(f"localhost:{self.ports['9092']}", self.servers)

    def type(self, command: str) -> str:
        """What a command prints that ends by itself."""
        return shell(self.local(command), self.place, self.environment)

    def open(self, command: str, before: str = "") -> None:
        """Leave a command running in a terminal of its own, and wait until it is ready.

        Args:
            command: the command.
            before: lines that set its variables.
        """
        output = self.place / f"output-{next(self._number)}.txt"
        background = Background(self.local(f"{before}exec {command}"), self.place, self.environment, output)
        self.running.append(background)
        background.wait_for(lambda: self.is_ready(command), timeout_s=self._ready_s)

    def is_ready(self, command: str) -> bool:
        """Whether a command that stays open does what the next ones need."""
        raise NotImplementedError

    def leave(self) -> None:
        """Ctrl-C in every terminal."""
        running, self.running = self.running, []
        try:
            for background in reversed(running):
                background.interrupt(within_s=30)
        finally:
            for background in running:
                background.kill()


W = TypeVar("W", bound=Walk)


@contextmanager
def ended(walk: W) -> Iterator[W]:
    """A walk of which nothing is left behind."""
    try:
        yield walk
    finally:
        for background in walk.running:
            background.kill()
