"""The tutorial of card payments: every command of it runs, in its order."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tutorial_walk import ELSEWHERE, ROOT, Walk, ended
from typed_commands import blocks_of, commands_of, get

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.ports import free_port
from anomaly_app.testing.worker import read

PAGE = (ROOT / "docs/tutorial-payments.md").read_text("utf-8")


class PaymentsWalk(Walk):
    """Time has to pass by the disorder of both topics and the interval of the join until an alert is there."""

    def __init__(self, place: Path, servers: str) -> None:
        settings = {"JOBS": "anomaly_app/jobs/payments", "ANOMALY_WEB__PORT": str(free_port())}
        super().__init__(place, servers, ("9092", "8080", "8090"), settings, ready_s=240)

    def run(self, block: str) -> str:
        """Type the commands of a block; variables that it sets hold in it."""
        waiting = ""
        printed = []
        for command in commands_of(block):
            if command.startswith("./scripts/kafka"):
                continue  # the embedded broker is there
            if command.endswith(ELSEWHERE):
                self.open(command.removesuffix(ELSEWHERE).strip(), waiting)
            elif re.fullmatch(r"[A-Z]+=.*", command):
                waiting += f"{command}\n"
            else:
                printed.append(self.type(waiting + command))
        return "".join(printed)

    def is_ready(self, command: str) -> bool:
        if "testing.registry" in command:
            return get(f"http://127.0.0.1:{self.ports['8080']}/subjects")[0] == 200
        if "anomaly generate" in command:
            return len(asyncio.run(read(self.servers, "transactions"))) > 300
        if "anomaly run" in command:
            return '"is_fraud":true' in get(f"http://127.0.0.1:{self.environment['ANOMALY_WEB__PORT']}/api/alerts")[1]
        assert "testing.model_server" in command, f"the test does not know when it is ready: {command}"
        return get(f"http://127.0.0.1:{self.ports['8090']}/")[0] > 0


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[PaymentsWalk]:
    with EmbeddedBroker("transactions", "identities", "scored-payments", "anomaly.alerts") as broker:
        with ended(PaymentsWalk(tmp_path, broker.bootstrap_servers)) as walk:
            yield walk


@pytest.mark.timeout(600)
def test_every_command_runs(walk: PaymentsWalk) -> None:
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
