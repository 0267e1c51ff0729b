"""The tutorial of card transactions: every command of it runs, in its order, and shows what it says."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tutorial_walk import ELSEWHERE, ROOT, Walk, ended
from typed_commands import blocks_of, commands_of, get

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.worker import read

PAGE = (ROOT / "docs/tutorial-transactions.md").read_text("utf-8")
BLOCKS = [block for block in blocks_of(PAGE) if block.section]


class TransactionsWalk(Walk):
    """With the servers of the lab, whose files the tutorial writes."""

    def __init__(self, place: Path, servers: str) -> None:
        ports = ("6066", "6067", "6068", "8099", "2525", "9092")
        super().__init__(place, servers, ports, {"PYTHONUNBUFFERED": "1"}, ready_s=90)
        (place / ".venv").symlink_to(sys.prefix)
        self.done: list[str] = []

    def run(self, command: str) -> str:
        """Type a command; what it prints."""
        self.done.append(command)
        program = command.split()[0]
        if program == "docker-compose":
            return self._compose(command)
        if program == "./scripts/kafka":
            return ""  # the embedded broker is there
        if command.endswith(ELSEWHERE):
            self.open(command.removesuffix(ELSEWHERE).strip())
            return ""
        if program == "rm":
            self.leave()
        return self.type(command)

    def page(self, port: str) -> str:
        """What the server at a port of the tutorial says, path included."""
        return get(f"http://127.0.0.1:{self.ports[port[:4]]}{port[4:]}")[1]

    def has(self, name: str) -> str:
        """Text of a file, empty if there is none."""
        file = self.place / name
        return file.read_text("utf-8") if file.exists() else ""

    def is_ready(self, command: str) -> bool:
        if command.startswith("python receiver.py"):
            return self._listens("8099")
        if command.startswith("python -m aiosmtpd"):
            return self._listens("2525")
        if command.startswith("anomaly generate"):
            return len(asyncio.run(read(self.servers, "transactions"))) > 5_900
        if command.startswith("anomaly run"):
            return '"job":"alert_alarm"' in self.page("6066/api/alerts?limit=1000")
        if command == "anomaly deliver --config centre.toml":
            counted = self.page("6068/metrics")
            return all(f'tenant="{tenant}"' in counted for tenant in ("eu", "us"))
        if command.startswith("anomaly deliver --config"):
            return "page: http" in self.running[-1].output
        assert command == "anomaly deliver", f"the test does not know when it is ready: {command}"
        calls, archived = self.has("calls.txt"), [path.name for path in (self.place / "archive").rglob("*-0*")]
        return (
            all(part in calls for part in ("Escalated", "/user001/freeze", "/oncall"))
            and all(any(name.endswith(end) for name in archived) for end in (".parquet", ".json.gz"))
            and "anomaly_count_total{job=" in self.page("6067/metrics")
        )

    def _listens(self, port: str) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", int(self.ports[port]))) == 0

    def _compose(self, command: str) -> str:
        _, option, profile, verb, *options = command.split()
        if shutil.which("docker-compose") is None:
            assert option == "--profile" and verb in ("up", "down")
            return ""
        subprocess.run(["docker-compose", option, profile, "config", "-q"], cwd=ROOT, check=True, timeout=30)
        known = subprocess.run(
            ["docker-compose", verb, "--help"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        assert all(option in known for option in options), known
        return ""


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[TransactionsWalk]:
    with EmbeddedBroker() as broker, ended(TransactionsWalk(tmp_path, broker.bootstrap_servers)) as walk:
        yield walk


@pytest.mark.timeout(600)
def test_every_command_runs_and_shows_what_the_tutorial_says(walk: TransactionsWalk) -> None:
    output = ""
    for block in BLOCKS:
        if block.language == "bash":
            output = "\n".join(walk.run(command) for command in commands_of(block.text))
        elif block.language == "text":
            for line in block.text.splitlines():
                assert walk.local(line) in output, f"{line!r} is not in\n{output}"
        else:
            assert block.language == "mail", f"the test does not know how to try {block.language!r}"
    assert walk.running == [] and not (walk.place / "archive").exists()
    assert len(walk.done) > 50


def test_each_item_of_the_lab_has_a_command_that_shows_it() -> None:
    rows = re.findall(r"^\| (S3-\d\d|Challenge \d) \| .+ \| .+ \| `([^`]+)` \|$", PAGE, re.MULTILINE)
    wanted = [f"S3-{number:02}" for number in range(1, 25)] + [f"Challenge {number}" for number in range(1, 6)]
    assert [item for item, _ in rows] == wanted
    typed = [command for block in BLOCKS if block.language == "bash" for command in commands_of(block.text)]
    assert not [shown for _, shown in rows if not any(command.startswith(shown) for command in typed)]


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", PAGE):
        assert (ROOT / "docs" / link).resolve().exists(), link
