"""What ``anomaly demo`` does: broker, registry, generated sales and a worker, and its alerts as readable lines."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import tempfile
import time
import uuid

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from anomaly_app.alerts import Alert
from anomaly_app.errors import AnomalyError
from anomaly_app.generators import Generated, sales
from anomaly_app.generators.encode import Encoder, RegistryAccess, create_encoder
from anomaly_app.runtime.topics import FOREVER, NeededTopic, TopicAdmin
from anomaly_app.settings import load_settings
from anomaly_app.testing.broker import EmbeddedBroker
from anomaly_app.testing.registry import RegistryServer

ALERTS = "anomaly.alerts"
PARTITIONS = 4
STOP_S = 3.5
"""How long the worker may take to stop; then it is killed."""
COLORS = {"low": "cyan", "medium": "yellow", "high": "dark_orange", "critical": "red"}


class DemoRun:
    """One run of the demo; the arguments are the options of the command."""

    def __init__(self, records: int | None, rate: float, rare: float, seed: int, broker: str | None, port: int) -> None:
        self.records, self.rate, self.seed, self.broker, self.port = records, rate, seed, broker, port
        self.sales = sales(rare)
        self.console = Console(highlight=False, soft_wrap=True)
        self.app_id = f"anomaly-demo-{uuid.uuid4().hex[:8]}"
        self.sent = self.alerts = 0

    async def run(self) -> int:
        """Everything, from the start to Ctrl-C or the end of the records; the exit status."""
        task = asyncio.current_task()
        assert task is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        started = time.monotonic()
        stopped = False
        async with contextlib.AsyncExitStack() as stack:
            try:
                await self._run(stack)
            except asyncio.CancelledError:
                stopped = True
                self.console.print("stopping …", style="dim")
        if self.records is not None and not stopped:
            summary = f"{self.sent:,} sales, {self.alerts:,} of them unusual, in {time.monotonic() - started:.1f} s"
            self.console.print(summary, style="bold")
        return 0

    async def _run(self, stack: contextlib.AsyncExitStack) -> None:
        servers = self.broker
        if servers is None:
            servers = stack.enter_context(EmbeddedBroker(self.sales.topic, ALERTS)).bootstrap_servers
        settings = {"kafka.bootstrap_servers": servers, "kafka.embedded": str(self.broker is None).lower()}
        async with TopicAdmin(load_settings(settings, environ={})) as admin:
            topics = (self.sales.topic, ALERTS)
            partitions = await admin.ensure([NeededTopic(topic, PARTITIONS, FOREVER) for topic in topics])
        registry = await stack.enter_async_context(RegistryServer())
        encode = await asyncio.to_thread(create_encoder, self.sales, "avro", RegistryAccess(registry.url))
        producer = await stack.enter_async_context(AIOKafkaProducer(bootstrap_servers=servers))
        consumer = await stack.enter_async_context(AIOKafkaConsumer(bootstrap_servers=servers))
        consumer.assign([TopicPartition(ALERTS, number) for number in range(partitions[ALERTS])])
        await consumer.seek_to_end()
        if self.records is not None:
            await self._generate_all(producer, encode, self.records)
        worker = await self._start_worker(stack, settings, registry.url)
        printing = asyncio.create_task(self._print_alerts(consumer))
        generating: asyncio.Task[None] | None = None
        try:
            if self.records is None:
                await self._until_ready(worker)
                self.console.print(f"page: http://127.0.0.1:{self.port}/ – Ctrl-C stops", style="dim")
                generating = asyncio.create_task(self._generate(producer, encode))
            code = await worker.wait()
            if code or self.records is None:
                raise AnomalyError(f"the worker ended with status {code}")
            await self._printed(consumer)
        finally:
            for task in (printing, generating):
                if task is not None:
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task

    # --- sales ------------------------------------------------------------------------------------

    async def _generate(self, producer: AIOKafkaProducer, encode: Encoder) -> None:
        """Sales as they happen."""
        start = time.time()
        for sale in self.sales.records(self.seed, None, int(start * 1000), self.rate):
            ahead = sale.timestamp_ms / 1000 - time.time()
            if ahead > 0:
                await asyncio.sleep(ahead)
            await self._send(producer, encode, sale)

    async def _generate_all(self, producer: AIOKafkaProducer, encode: Encoder, count: int) -> None:
        """Sales of the recent past, all at once."""
        start = int((time.time() - count / self.rate) * 1000)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            shown = progress.add_task("generating sales", total=count)
            for sale in self.sales.records(self.seed, count, start, self.rate):
                await self._send(producer, encode, sale)
                if self.sent % 1_000 == 0:
                    progress.update(shown, completed=self.sent)
        await producer.flush()

    async def _send(self, producer: AIOKafkaProducer, encode: Encoder, sale: Generated) -> None:
        await producer.send(sale.topic, encode(sale.value), sale.key.encode(), timestamp_ms=sale.timestamp_ms)
        self.sent += 1

    # --- the worker -------------------------------------------------------------------------------

    async def _start_worker(
        self, stack: contextlib.AsyncExitStack, settings: dict[str, str], registry: str
    ) -> asyncio.subprocess.Process:
        data_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="anomaly-demo-", ignore_cleanup_errors=True))
        self.port = _usable_port(self.port)
        settings = settings | {
            "registry.url": registry,
            "worker.app_id": f"anomaly-demo-{uuid.uuid4().hex[:8]}",
            "worker.data_dir": data_dir,
            "worker.idle_timeout_s": "2",
            "alerts.topic": ALERTS,
            "web.port": str(self.port),
        }
        if self.records is not None:
            settings |= {"worker.bounded": "true", "worker.startup": "earliest-offset"}
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "anomaly_app.testing.guard"),
            *(sys.executable, "-m", "anomaly_app.cli", "run", "--log-level", "error", *options),
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which stops the worker in order
        )
        stack.push_async_callback(_stop, worker)
        return worker

    async def _until_ready(self, worker: asyncio.subprocess.Process) -> None:
        address = f"http://127.0.0.1:{self.port}/ready"
        async with aiohttp.ClientSession() as session:
            with self.console.status("starting the worker"):
                while worker.returncode is None:
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(address) as answer:
                            if answer.status == 200:
                                return
                    await asyncio.sleep(0.2)
        raise AnomalyError(f"the worker ended with status {worker.returncode}")

    # --- alerts -----------------------------------------------------------------------------------

    async def _print_alerts(self, consumer: AIOKafkaConsumer) -> None:
        """Each alert as a line, as it appears in the topic."""
        decoder = msgspec.json.Decoder(Alert)
        async for record in consumer:
            alert = decoder.decode(record.value)
            self.alerts += 1
            line = Text(f"{alert.event_time[11:23]} ", style="dim")
            line.append(f"{alert.severity} ", style=COLORS[alert.severity])
            # The rest of the explanation quotes the rule, which is the same in every line.
            line.append(alert.explanation.partition("; matched ")[0], style="default")
            self.console.print(line)

    async def _printed(self, consumer: AIOKafkaConsumer) -> None:
        """Wait until every alert is printed."""
        for place, end in (await consumer.end_offsets(consumer.assignment())).items():
            while await consumer.position(place) < end:  # noqa: ASYNC110 (it tells its position only when asked)
                await asyncio.sleep(0.05)


async def _stop(worker: asyncio.subprocess.Process) -> None:
    """End the worker in order, or by force if it takes too long."""
    if worker.returncode is not None:
        return
    worker.terminate()
    try:
        await asyncio.wait_for(worker.wait(), STOP_S)
    except TimeoutError:
        assert worker.stdin is not None
        worker.stdin.close()  # the guard kills it
        await worker.wait()


def _usable_port(wanted: int) -> int:
    """The port if it is free, else any that is."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise AnomalyError("no port is free")
