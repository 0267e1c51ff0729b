"""What goes wrong at the start is said in one message, soon, with exit status 2 and without a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from sales_run import JOB, PLAIN, SELECT, WITHIN

from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.kafka import ApacheKafka
from anomaly_app.testing.ports import free_port

SOON_S = 30.0  # on a machine that runs other tests beside this one


@pytest.fixture(scope="module")
def servers() -> Iterator[str]:
    with EmbeddedBroker("sales") as broker:
        yield broker.bootstrap_servers


class Ended(NamedTuple):
    status: int
    error: str
    seconds: float


def run_until_it_ends(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Ended:
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANOMALY_")}
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        env={**own, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        timeout=60,
    )
    assert "Traceback" not in done.stdout
    return Ended(done.returncode, done.stderr, time.monotonic() - begin)


def job(folder: Path, text: str | None = None, *, source: str = "sales", format_: str = PLAIN) -> Path:
    path = folder / "job.sql"
    path.write_text(text or JOB.format(source=source, format=format_, select=SELECT.format(within=WITHIN)))
    return path


def anomaly_run(folder: Path, servers: str, *options: str, environment: Mapping[str, str] | None = None) -> Ended:
    settings = {
        "ANOMALY_KAFKA__BOOTSTRAP_SERVERS": servers,
        "ANOMALY_WEB__PORT": "0",
        "ANOMALY_WORKER__DATA_DIR": tempfile.mkdtemp(dir=folder),  # several run side by side
        **(environment or {}),
    }
    return run_until_it_ends(["anomaly_app.cli", "run", *options], folder, settings)


def faust_worker(folder: Path, servers: str, environment: Mapping[str, str] | None = None) -> Ended:
    settings = {
        "ANOMALY_KAFKA__BOOTSTRAP_SERVERS": servers,
        "ANOMALY_WEB__PORT": str(free_port()),
        "ANOMALY_WORKER__DATA_DIR": tempfile.mkdtemp(dir=folder),  # several run side by side
        **(environment or {}),
    }
    return run_until_it_ends(["faust", "-A", "anomaly_app", "worker", "-l", "info"], folder, settings)


def check(ended: Ended, *parts: str) -> None:
    assert ended.status == 2, ended
    assert "Traceback" not in ended.error, ended.error
    messages = [line for line in ended.error.splitlines() if line.startswith("anomaly: ")]
    assert len(messages) == 1, ended.error
    for part in parts:
        assert part in ended.error, ended.error
    assert ended.seconds < SOON_S, ended


@pytest.mark.parametrize("start", [anomaly_run, faust_worker])
def test_no_broker_at_the_address(tmp_path: Path, start: Callable[..., Ended]) -> None:
    address = f"127.0.0.1:{free_port()}"
    check(start(tmp_path, address), "no broker answers at", address, "ANOMALY_KAFKA__BOOTSTRAP_SERVERS")


@pytest.mark.kafka
@pytest.mark.parametrize("start", [anomaly_run, faust_worker])
def test_a_source_topic_that_does_not_exist(kafka: ApacheKafka, tmp_path: Path, start: Callable[..., Ended]) -> None:
    kafka.create_topics({f"orders-{tmp_path.name}": 1})
    missing = job(tmp_path, source=f"order-{tmp_path.name}")
    environment = {"ANOMALY_WORKER__JOBS": str(missing)}
    ended = start(tmp_path, kafka.bootstrap_servers, environment=environment)
    check(ended, f"topic 'order-{tmp_path.name}' does not exist", f"did you mean 'orders-{tmp_path.name}'")


@pytest.mark.kafka
def test_wrong_credentials_and_the_right_ones(tmp_path: Path) -> None:
    with ApacheKafka(sasl={"alice": "secret"}) as kafka:
        kafka.create_topics({"sales": 2})
        settings = {
            "ANOMALY_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "ANOMALY_KAFKA__SASL_USERNAME": "alice",
            "ANOMALY_KAFKA__SASL_PASSWORD": "wrong-word",
        }
        options = [str(job(tmp_path)), "--bounded"]
        with ThreadPoolExecutor() as pool:
            wrong = pool.submit(anomaly_run, tmp_path, kafka.bootstrap_servers, *options, environment=settings)
            plain = pool.submit(
                anomaly_run, tmp_path, kafka.bootstrap_servers, *options,
                environment={**settings, "ANOMALY_KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"},
            )  # fmt: skip
            check(wrong.result(), "the broker refuses user 'alice'", kafka.bootstrap_servers)
            assert "wrong-word" not in wrong.result().error
            check(plain.result(), "no broker answers", "PLAINTEXT")
        settings["ANOMALY_KAFKA__SASL_PASSWORD"] = "secret"
        good = anomaly_run(tmp_path, kafka.bootstrap_servers, *options, environment=settings)
        assert good.status == 0 and "Traceback" not in good.error, good.error


def test_what_the_command_line_and_files_get_wrong(servers: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sql"
    broken.write_text("CREATE TABLE t (a STRING) WITH ('connector' = 'kafka');\nSELECT * FORM t;\n")
    odd = tmp_path / "odd.sql"
    odd.write_text(job(tmp_path).read_text().replace("'scan.startup.mode'", "'scan.startup.mod'"))
    (tmp_path / "binary.sql").write_bytes(b"\xff\xfe\x00")
    avro = tmp_path / "avro.sql"
    registry = f"http://127.0.0.1:{free_port()}/apis/ccompat/v6"
    format_ = f"'format' = 'avro-confluent', 'avro-confluent.url' = '{registry}'"
    avro.write_text(JOB.format(source="sales", format=format_, select=SELECT.format(within=WITHIN)))
    toml = tmp_path / "wrong.toml"
    toml.write_text("[kafka]\nsession_timeout_s = 'long'\n")
    good = str(job(tmp_path))
    tried: list[tuple[list[str], dict[str, str], list[str]]] = [
        (["absent.sql"], {}, ["absent.sql", "worker.jobs"]),
        ([str(tmp_path / "binary.sql")], {}, ["binary.sql"]),
        ([str(broken)], {}, ["broken.sql", "line 2, column 15", "  SELECT * FORM t;\n                ^"]),
        ([str(odd)], {}, ["scan.startup.mode", "line "]),
        ([str(avro)], {}, ["schema registry", registry]),
        ([good], {"ANOMALY_WEB__PORT": "http"}, ["web.port", "ANOMALY_WEB__PORT"]),
        ([good], {"ANOMALY_WEB__PROT": "1"}, ["web.prot", "did you mean ANOMALY_WEB__PORT"]),
        ([good], {"ANOMALY_CONFIG": str(toml)}, ["kafka.session_timeout_s", "wrong.toml"]),
        ([good, "--data-dir", good], {}, ["worker.data_dir", "command line", good]),
        ([good, "--set", "kafka.sasl_mechanism=NONE"], {}, ["kafka.sasl_mechanism", "command line", "PLAIN"]),
        ([good], {"ANOMALY_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, ["kafka.sasl_username"]),
    ]
    with ThreadPoolExecutor(2) as pool:
        ended = pool.map(lambda one: anomaly_run(tmp_path, servers, *one[0], environment=one[1]), tried)
        for (options, environment, parts), result in zip(tried, ended, strict=True):
            try:
                check(result, *parts)
            except AssertionError as error:
                raise AssertionError(f"{options} {environment}: {error}") from error


def test_faust_says_the_same_of_settings_and_jobs(servers: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.sql"
    broken.write_text("SELECT * FORM t;\n")
    check(
        faust_worker(tmp_path, servers, {"ANOMALY_WORKER__JOBS": str(broken)}),
        "broken.sql: line 1, column 15",
    )
    check(faust_worker(tmp_path, servers, {"ANOMALY_WEB__PORT": "-1"}), "web.port", "ANOMALY_WEB__PORT")


def test_addresses_where_somebody_else_listens_or_nobody_answers(servers: str, tmp_path: Path) -> None:
    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    def registry(port: int) -> Ended:
        folder = tmp_path / str(port)
        folder.mkdir()
        format_ = f"'format' = 'avro-confluent', 'avro-confluent.url' = 'http://127.0.0.1:{port}'"
        return anomaly_run(folder, servers, str(job(folder, format_=format_)))

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ThreadingHTTPServer(("127.0.0.1", 0), Web) as web,
        ThreadPoolExecutor() as pool,
    ):
        pool.submit(web.serve_forever)
        try:
            port = silent.getsockname()[1]
            broker = pool.submit(anomaly_run, tmp_path, f"127.0.0.1:{port}", str(job(tmp_path)))
            for ended, where in [(pool.submit(registry, p), p) for p in (port, web.server_port)]:
                check(ended.result(), "schema registry", f"127.0.0.1:{where}")
            check(broker.result(), "no broker answers at", f"127.0.0.1:{port}")
        finally:
            web.shutdown()


@pytest.mark.parametrize("start", [anomaly_run, faust_worker])
def test_the_port_of_the_page_is_in_use(servers: str, tmp_path: Path, start: Callable[..., Ended]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        settings = {
            "ANOMALY_WEB__PORT": port,
            "ANOMALY_WORKER__JOBS": str(job(tmp_path)),
        }
        check(start(tmp_path, servers, environment=settings), "web.port", port, "in use")
