"""The tutorial of card payments: every command of it runs, in its order."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typed_commands import Background, blocks_of, commands_of, environment, get, shell

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.ports import free_port
from anomaly_app.testing.worker import read

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/tutorial-payments.md").read_text("utf-8")
ELSEWHERE = "# in another terminal"
PORTS = ("9092", "8080", "8090")


class Walk:
    """Somebody who types what the tutorial says, top to bottom.

    Args:
        place: folder in which they do it.
        servers: address of Kafka.
    """

    def __init__(self, place: Path, servers: str) -> None:
        self.place, self.servers = place, servers
        self.ports = {port: str(free_port()) for port in PORTS} | {"9092": servers.rpartition(":")[2]}
        commands = place / "commands"
        commands.mkdir()
        (commands / "anomaly").write_text(f'#!/bin/sh\nexec {sys.executable} -m anomaly_app.cli "$@"\n')
        (commands / "anomaly").chmod(0o755)
        (place / "anomaly_app").symlink_to(ROOT / "anomaly_app")
        given = environment()
        self.environment = given | {
            "PATH": f"{commands}{os.pathsep}{given['PATH']}",
            "PYTHONPATH": str(ROOT),
            "JOBS": "anomaly_app/jobs/payments",
            "ANOMALY_WEB__PORT": str(free_port()),
            "ANOMALY_WORKER__IDLE_TIMEOUT_S": "1",
        }
        self.running: list[Background] = []
        self._number = itertools.count()

    def local(self, text: str) -> str:
        """With the ports of this run in place of the tutorial's."""
        text = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self.ports[found[1]], text)
        return text.replace(f"localhost:{self.ports['9092']}", self.servers)

    def run(self, block: str) -> str:
        """Type the commands of a block; variables that it sets hold in it."""
        waiting = ""
        printed = []
        for command in commands_of(block):
            if command.startswith("./scripts/kafka"):
                continue  # the embedded broker is there
            if command.endswith(ELSEWHERE):
                self._start(f"{waiting}exec {command.removesuffix(ELSEWHERE).strip()}")
            elif re.fullmatch(r"[A-Z]+=.*", command):
                waiting += f"{command}\n"
            else:
                printed.append(shell(self.local(waiting + command), self.place, self.environment))
        return "".join(printed)

    def _start(self, command: str) -> None:
        output = self.place / f"output-{next(self._number)}.txt"
        background = Background(self.local(command), self.place, self.environment, output)
        self.running.append(background)
        # Time has to pass by the disorder of both topics and the interval of the join.
        background.wait_for(lambda: self._is_ready(command), timeout_s=240)

    def _is_ready(self, command: str) -> bool:
        if "testing.registry" in command:
            return get(f"http://127.0.0.1:{self.ports['8080']}/subjects")[0] == 200
        if "anomaly generate" in command:
            return len(asyncio.run(read(self.servers, "transactions"))) > 300
        if "anomaly run" in command:
            return '"is_fraud":true' in get(f"http://127.0.0.1:{self.environment['ANOMALY_WEB__PORT']}/api/alerts")[1]
        assert "testing.model_server" in command, f"the test does not know when it is ready: {command}"
        return get(f"http://127.0.0.1:{self.ports['8090']}/")[0] > 0

    def leave(self) -> None:
        """Ctrl-C in every terminal."""
        running, self.running = self.running, []
        try:
            for background in reversed(running):
                background.interrupt(within_s=30)
        finally:
            for background in running:
                background.kill()


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    with EmbeddedBroker("transactions", "identities", "scored-payments", "anomaly.alerts") as broker:
        walk = Walk(tmp_path, broker.bootstrap_servers)
        try:
            yield walk
        finally:
            for background in walk.running:
                background.kill()


@pytest.mark.timeout(600)
def test_every_command_runs(walk: Walk) -> None:
    pytest.importorskip("skl2onnx")
    pytest.importorskip("matplotlib")
    printed = {}
    for section, blocks in itertools.groupby(blocks_of(PAGE), key=lambda block: block.section):
        if section:  # the demo at the top has a test of its own
            printed[section] = "".join(walk.run(block.text) for block in blocks if block.language == "bash")
        if section != "Live":
            continue
        walk.leave()
    walk.leave()
    assert "AUC" in printed["A model"] and "precision" in printed["A model"]
    told = printed["What it would have told"]
    found = re.search(r"at 0\.5: precision ([\d.]+)%, recall ([\d.]+)%", told)
    assert found and float(found[1]) > 70 and float(found[2]) > 50, told
    assert (walk.place / "curve.png").stat().st_size > 5_000
    assert "predictions" in printed["The statements of Confluent Cloud"]


def test_every_item_of_the_original_has_a_line() -> None:
    items = "\n".join(re.findall(r"^\| (S4-.+?) \|", PAGE, re.MULTILINE))
    covered = {int(number) for number in re.findall(r"S4-(\d\d)", items)}
    for first, last in re.findall(r"S4-(\d\d) to S4-(\d\d)", items):
        covered |= set(range(int(first), int(last) + 1))
    assert covered == set(range(1, 21)) - {16}, "16 is the list of providers, which is in models.md"
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).resolve().exists(), link
