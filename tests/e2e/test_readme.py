"""The README: every command and every Python block of it runs, in its order, and shows what it says."""

from __future__ import annotations

import asyncio
import itertools
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typed_commands import Background, blocks_of, commands_of, environment, get, shell

from anomaly_app.cli import main
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.maven import missing_tools
from anomaly_app.testing.ports import free_port
from anomaly_app.testing.worker import read

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = blocks_of(README)


# --- the demo, from a fresh clone -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What somebody gets who clones the repository: the last commit."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git repository")
    target = tmp_path_factory.mktemp("clone") / "anomaly_app"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(target)], check=True, timeout=60)
    yield target
    shutil.rmtree(target)  # its environment is large, and pytest keeps folders of earlier runs


ALERT = re.compile(r"^\w+ user_id (user-\d+) at .*: quantity (\d+) > avg_quantity (\d+) × 3; .+")
"""A line of the demo: user, quantity, average."""


@pytest.mark.timeout(180)
def test_the_demo_shows_an_alert_from_a_fresh_clone(clone: Path, tmp_path: Path) -> None:
    demo = Background("./scripts/demo --records 2000", clone, environment(), tmp_path / "demo.txt")
    try:
        demo.wait_for(lambda: re.search(ALERT.pattern, demo.output, re.MULTILINE), timeout_s=100)
        assert demo.process.wait(30) == 0, demo.output
    finally:
        demo.kill()
    alerts = [found for line in demo.output.splitlines() if (found := ALERT.match(line))]
    assert all(int(quantity) > 3 * int(average) for _, quantity, average in (alert.groups() for alert in alerts))
    summary = re.search(r"^2,000 sales, (\d+) of them unusual, in [\d.]+ s$", demo.output, re.MULTILINE)
    assert summary and int(summary[1]) == len(alerts) > 20
    demo.check_alone(within_s=1)


@pytest.mark.timeout(90)
def test_ctrl_c_ends_the_demo(tmp_path: Path) -> None:
    # Settings of the user are for other workers.
    (tmp_path / "anomaly.toml").write_text('[worker]\njobs = ["nowhere.sql"]\n', "utf-8")
    given = environment() | {"ANOMALY_WORKER__JOBS": "nowhere.sql"}
    demo = Background("anomaly demo --port 0 --rare 0.05", tmp_path, given, tmp_path / "demo.txt")
    try:
        demo.wait_for(lambda: re.search(ALERT.pattern, demo.output, re.MULTILINE))
        page = re.search(r"http://127\.0\.0\.1:\d+/", demo.output)
        assert page is not None
        status, text = get(page[0])
        assert status == 200 and "<html" in text
        assert {part for process in demo.family() for part in process.cmdline() if part.startswith("anomaly_app.")} >= {
            "anomaly_app.testing.broker", "anomaly_app.testing.guard", "anomaly_app.cli",
        }  # fmt: skip
        demo.interrupt(within_s=5)
    finally:
        demo.kill()
    assert get(page[0])[0] == 0


@pytest.mark.timeout(90)
def test_a_taken_port_is_said_and_a_killed_demo_leaves_nothing(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        demo = Background(f"exec anomaly demo --port {port}", tmp_path, environment(), tmp_path / "demo.txt")
        try:
            demo.wait_for(lambda: "page: http" in demo.output)
            assert f"port {port} is in use: the page is on " in demo.output
            assert len(demo.family()) >= 4
            demo.process.kill()
            demo.process.wait()
            demo.check_alone(within_s=5)
        finally:
            demo.kill()


def test_a_broker_that_is_not_there_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--broker", f"127.0.0.1:{free_port()}", "--records", "1"]) == 2
    said = capfd.readouterr().err
    assert "no broker answers" in said and "Traceback" not in said


# --- every command --------------------------------------------------------------------------------------

LONG = (
    r"\./scripts/demo(?!.*--records)",
    r"faust -A anomaly_app worker",
    r"anomaly run(?!.*--bounded)",
    r"anomaly generate(?!.*--records)",
    r"anomaly deliver(?!.*--check)",
    r"python -m anomaly_app\.testing\.registry",
)
"""Commands that run until Ctrl-C."""

SHOWS = {
    "./scripts/demo --records": "of them unusual",
    "curl http://127.0.0.1:6066/api/status": '"partitions":[{',
    "curl http://127.0.0.1:6066/api/jobs": '"name":"unusual_sales"',
    "curl http://127.0.0.1:6066/api/graph": '"kind":"operator"',
    "curl 'http://127.0.0.1:6066/api/alerts": '"alerts":[{"id":',
    "curl http://127.0.0.1:6066/health": '"ok":true',
    "curl http://127.0.0.1:6066/ready": '"ok":true',
    "curl http://127.0.0.1:6066/metrics": "anomaly_rows_total{",
    "curl -N": "data: {",
    "anomaly --help": "query",
    "anomaly config\n": "anomaly.toml",
    "ANOMALY_WEB__PORT=8000 anomaly config": "environment ANOMALY_WEB__PORT",
    "anomaly check": "spikes.sql: right",
    "anomaly deliver --check": "receiver team: team/webhook/0",
    "anomaly silence list": 'user_id="user-7"',
    "anomaly query spikes.sql": "70 rows",
    'anomaly query "SELECT': '"user_id"',
}
"""How a command begins, and what it prints (others only have to end well)."""

PROGRAMS = {"anomaly", "faust", "curl", "python", "cat", "echo", "sed", "source", "docker-compose"}
SCRIPTS = {"./scripts/demo", "./scripts/test", "./scripts/kafka"}


class Reader:
    """Somebody who types what the README says, top to bottom.

    Args:
        clone: where the demo is run.
        place: for everything else.
        port: where Kafka is, or will be once it is started.
        embedded: it is the mock cluster.
    """

    def __init__(self, clone: Path, place: Path, port: int, embedded: bool) -> None:
        self.clone, self.place, self.embedded = clone, place, embedded
        self.servers = f"127.0.0.1:{port}"
        self.ports = {name: str(free_port()) for name in ("6066", "6067", "6068", "8080")} | {"9092": str(port)}
        self.environment = environment() | {
            "ANOMALY_WEB__PORT": self.ports["6066"],
            "ANOMALY_WORKER__IDLE_TIMEOUT_S": "1",
            "ANOMALY_DELIVERY__PORT": self.ports["6067"],
        }
        self.running: list[Background] = []
        self.pages: list[str] = []
        self.done: list[str] = []
        self._number = itertools.count()
        (place / ".venv").symlink_to(sys.prefix)
        (place / "anomaly_app").symlink_to(ROOT / "anomaly_app")

    def local(self, text: str) -> str:
        """With the ports of this run in place of the README's."""
        for port, own in self.ports.items():
            text = re.sub(rf"(127\.0\.0\.1|localhost):{port}\b", f"127.0.0.1:{own}", text)
            text = re.sub(rf"--port {port}\b", f"--port {own}", text)
        return text

    def run(self, command: str) -> None:
        """Type a command; once is enough."""
        if command in self.done:
            return
        program = re.sub(r"^(\w+=\S+ )+", "", command).split()[0]
        assert program in PROGRAMS | SCRIPTS, f"the test does not know how to try: {command}"
        if program == "docker-compose":
            self._compose(command)
        elif program == "./scripts/test":
            assert "./scripts/test" in (ROOT / ".ci/run").read_text("utf-8")
            assert "pytest" in (ROOT / "scripts/test").read_text("utf-8")
        elif program == "./scripts/kafka":
            self._kafka(command)
        elif command.startswith("python -m benchmarks."):
            self._benchmark(command)
        elif any(re.match(pattern, command) for pattern in LONG):
            self._start(command)
        else:
            self._finish(command)
        self.done.append(command)

    def _benchmark(self, command: str) -> None:
        """A small one in full; of the one that takes ten minutes only the options."""
        small = {"decode": "--rows 2000", "patterns": "--rows 2000 --only sales --windows 5 --users 100 --repeats 1"}
        name = command.split()[2].removeprefix("benchmarks.")
        options = small.get(name, f"{command.partition('#')[0].split(name)[1].strip()} --help")
        output = shell(f"python -m benchmarks.{name} {options}", ROOT, self.environment)
        assert ("ratio" in output) if name in small else ("--seconds" in output), output

    def _compose(self, command: str) -> None:
        _, verb, *options = command.split()
        if shutil.which("docker-compose") is None:
            assert verb in ("up", "down")
            return
        subprocess.run(["docker-compose", "config", "-q"], cwd=ROOT, check=True, timeout=30)
        known = subprocess.run(
            ["docker-compose", verb, "--help"], capture_output=True, text=True, check=True, timeout=30
        ).stdout
        assert all(option in known for option in options), known

    def _kafka(self, command: str) -> None:
        if not self.embedded:
            options = f"--state {self.place / 'kafka.json'} start --port {self.ports['9092']}"
            shell(command.replace("start", options), ROOT, self.environment)

    def _start(self, command: str) -> None:
        demo = command.startswith("./scripts/demo")
        line = f"{command.partition('#')[0]} --port {self.ports['6066']}" if demo else self.local(command)
        output = self.place / f"output-{next(self._number)}.txt"
        background = Background(line, self.clone if demo else self.place, self.environment, output)
        self.running.append(background)
        if demo:
            background.wait_for(lambda: re.search(ALERT.pattern, background.output, re.MULTILINE), timeout_s=100)
        elif command.startswith("faust"):
            background.wait_for(lambda: '"id":' in get(f"{self.page('6066')}/api/alerts")[1])
        elif command.startswith("anomaly run"):
            port = re.search(r"--port (\d+)", command)
            assert port is not None
            self.pages.append(self.page(port[1]))
            # The mock cluster cannot share partitions among workers.
            path, shown = ("health", '"ok":true') if self.embedded else ("api/status", '"partitions":[{')
            background.wait_for(lambda: all(shown in get(f"{page}/{path}")[1] for page in self.pages))
        elif command.startswith("anomaly deliver"):
            background.wait_for(lambda: '"ok":true' in get(f"{self.page('6067')}/ready")[1])
        elif command.startswith("anomaly generate"):
            background.wait_for(lambda: asyncio.run(read(self.servers, "flink.sales.records")))
        else:
            background.wait_for(lambda: get(f"{self.page('8080')}/subjects")[0] == 200)

    def page(self, port: str) -> str:
        """Address of what the README has at a port."""
        return f"http://127.0.0.1:{self.ports[port]}"

    def _finish(self, command: str) -> None:
        demo = command.startswith("./scripts/demo")
        line = f"{command} --port 0" if demo else self.local(command)
        if command.startswith("curl -N"):
            line = f"timeout --signal INT 2 {line.partition('#')[0]} || [ $? = 124 ]"
        output = shell(line, self.clone if demo else self.place, self.environment)
        for beginning, shown in SHOWS.items():
            if f"{command}\n".startswith(beginning):
                assert shown in output, f"{command} shows\n{output}"

    def python(self, text: str) -> None:
        """Run a Python block; comments behind print() say what it prints."""
        file = self.place / f"block_{next(self._number)}.py"
        file.write_text(self.local(text), "utf-8")
        output = shell(f"timeout 20 python {file.name}", self.place, self.environment)
        for said in re.findall(r"^print\(.*\)\s+# (\[.*)$", text, re.MULTILINE):
            assert said in output, output

    def leave(self) -> None:
        """The end of a section: Ctrl-C in every terminal."""
        running, self.running, self.pages = self.running, [], []
        try:
            for background in reversed(running):
                background.interrupt()
        finally:
            for background in running:
                background.kill()


@pytest.fixture
def reader(clone: Path, tmp_path: Path) -> Iterator[Reader]:
    """With Apache Kafka as the README starts it, or the embedded broker where there is no Java."""
    if missing_tools():
        with EmbeddedBroker() as broker:
            yield Reader(clone, tmp_path, int(broker.bootstrap_servers.rpartition(":")[2]), embedded=True)
        return
    reader = Reader(clone, tmp_path, free_port(), embedded=False)
    try:
        yield reader
    finally:
        for background in reader.running:
            background.kill()
        stop = [str(ROOT / "scripts/kafka"), "--state", str(tmp_path / "kafka.json"), "stop"]
        subprocess.run(stop, capture_output=True, timeout=30, check=False)


@pytest.mark.timeout(240)
def test_every_command_runs(reader: Reader) -> None:
    sections = {name: list(blocks) for name, blocks in itertools.groupby(BLOCKS, key=lambda block: block.section)}
    # The lines at the top come last: the demo has been tried by then.
    opening = sections.pop("")
    for blocks in (*sections.values(), opening):
        for block in blocks:
            if block.language == "bash":
                for command in commands_of(block.text):
                    reader.run(command)
            elif block.language == "python":
                reader.python(block.text)
            else:
                assert block.language == "text", f"the test does not know how to try {block.language!r}"
        reader.leave()
    wanted = [command for block in BLOCKS if block.language == "bash" for command in commands_of(block.text)]
    assert set(reader.done) == set(wanted) and len(wanted) > 25
    assert not [start for start in SHOWS if not any(f"{command}\n".startswith(start) for command in wanted)]


def test_the_error_and_the_rows_that_the_readme_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = next(block.text for block in BLOCKS if "cat > spikes.sql" in block.text)
    text = re.search(r"<<'END'\n(.*)^END$", job, re.MULTILINE | re.DOTALL)
    assert text is not None
    file = tmp_path / "spikes.sql"
    file.write_text(text[1].replace("SPIKE.quantity >=", "SPIKE.quantty >="), "utf-8")
    assert main(["check", str(file)]) == 1
    said = capsys.readouterr().out.replace(f"{tmp_path}/", "")
    assert said == next(block.text for block in BLOCKS if "quantty" in block.text)
    file.write_text(text[1], "utf-8")
    sales = tmp_path / "sales.csv"
    generate = next(line for line in README.splitlines() if line.startswith("anomaly generate") and "--start" in line)
    arguments = generate.replace("sales.csv", str(sales)).replace("'", "").split()[1:]
    start = arguments.index("--start")
    arguments[start + 1 : start + 3] = [" ".join(arguments[start + 1 : start + 3])]
    assert main(arguments) == 0
    assert main(["query", str(file), "--table", f"sales={sales}"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    shown = next(block.text for block in BLOCKS if block.text.startswith("user_id  quantity"))
    assert rows[: len(shown.splitlines())] == [line.split() for line in shown.splitlines()]


def test_links_lead_somewhere() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", README, re.M)
    }
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        file = link.partition("#")[0]
        assert (ROOT / file).exists() if file else link.removeprefix("#") in headings, link


def test_it_stays_short() -> None:
    assert len(README.splitlines()) <= 380
    assert README.count("<!-- benchmarks -->") == README.count("<!-- /benchmarks -->") == 1
