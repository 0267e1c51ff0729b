"""A walk through the retail demo in a real browser; its pictures are those of the documentation.

``ANOMALY_SCREENSHOTS=docs/images pytest tests/e2e/test_retail_walk.py`` makes them anew; else nothing is kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from real_browser import Browser, start

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

JOBS = Path(__file__).parents[2] / "anomaly_app" / "jobs" / "retail"
TYPES = ("REFUND_PATTERN", "SECURITY_CORRELATION", "SHRINKAGE")
NO_SIDEWAYS_SCROLL = "document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with start(tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("ANOMALY_SCREENSHOTS", tmp_path)).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class Demo:
    """The running demo, and what it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.printed = ""

    async def until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        while (found := re.search(pattern, self.printed, re.M)) is None:
            async with asyncio.timeout(120):
                line = await self.process.stdout.readline()
            assert line, f"the demo ended without {pattern}:\n{self.printed}"
            self.printed += line.decode()
        return found


@contextlib.asynccontextmanager
async def running_demo(folder: Path) -> AsyncIterator[Demo]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "anomaly_app.cli", "demo", "retail", "--port", str(port), "--rare", "0.02"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    demo = Demo(process)
    try:
        yield demo
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            rest, _ = await process.communicate()
        assert process.returncode == 0, rest
        assert b"Traceback" not in rest
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_from_the_tills_to_an_acknowledgement(browser: Browser, pictures: Path, tmp_path: Path) -> None:
    async with running_demo(tmp_path) as demo, aiohttp.ClientSession() as http:
        pages = await demo.until(r"^page: (http://\S+/), of alert groups: (http://\S+/) ")
        worker, delivery = pages[1], pages[2]

        # The worker's page: alerts of all three types, and the graphs of the queries that found them.
        await browser.do("look", width=1100, height=760, colorScheme="light", reducedMotion="reduce")
        await browser.do("open", url=worker)
        for type_ in TYPES:
            await demo.until(rf"^\w+ {type_} in store-00\d, .+: .+")
        for type_ in TYPES:
            await browser.do("wait", selector="#alerts li", text=type_, state="attached", timeout=60_000)
        await browser.do("wait", selector="#graphs .graph-head", text="gates", timeout=60_000)
        await browser.do("wait", selector="#state", text="live")
        # From here on what is new is that of today: rates and sums are those of a demo that runs.
        await browser.do("wait", selector="#graphs .edge.flows", state="attached", timeout=60_000)
        await browser.do("open", url=worker)
        await browser.do("wait", selector="#spark-line[d]", state="attached", timeout=60_000)
        await browser.do("screenshot", path=str(pictures / "retail-worker.png"), fullPage=False)
        await browser.do("evaluate", script="document.querySelector('#graphs').scrollIntoView()")
        await browser.do("screenshot", path=str(pictures / "retail-graph.png"), fullPage=False)

        # A silence by the API; the page shows it.
        silence = {
            "matchers": ['job="gates"', 'storeId="store-004"'], "duration": "2h", "created_by": "bo",
            "comment": "the gate is being repaired",
        }  # fmt: skip
        async with http.post(f"{delivery}api/silences", json=silence) as answer:
            assert answer.status == 201, await answer.text()
            stored = (await answer.json())["id"]
        await browser.do("open", url=delivery)
        await browser.do("wait", selector="#silences tr", text=stored)
        for job in ("refunds", "gates", "shrinkage"):
            await browser.do("wait", selector="#groups td", text=f"job={job}", timeout=60_000)
        await browser.do("wait", selector="#told td.good", text="sent", timeout=60_000)

        # Incidents of different people are different alerts: a cashier does not hide behind another.
        async with http.get(f"{delivery}api/status") as answer:
            firing = {group["labels"]["job"]: group["firing"] for group in (await answer.json())["groups"]}
        assert firing["refunds"] > 3 and firing["shrinkage"] > 1

        # A link of a message: looking at it acknowledges nothing, the button does, by the keyboard as well.
        link = (await demo.until(r"^acknowledge this one: (http://\S+)$"))[1]
        alert = link.partition("/ack/")[2].partition("?")[0]
        async with http.get(link) as answer:
            assert answer.status == 200
        await browser.do("open", url=link)
        await browser.do("wait", selector="h1", text="Acknowledge this alert?")
        assert await acknowledged(http, delivery) == []
        await browser.do("look", width=640, height=300, colorScheme="light")
        await browser.do("screenshot", path=str(pictures / "acknowledge.png"), fullPage=False)
        await browser.do("press", key="Tab")
        await browser.do("press", key="Enter")
        await browser.do("wait", selector="h1", text="Acknowledged")
        assert await acknowledged(http, delivery) == [alert]

        await browser.do("look", width=1100, height=760, colorScheme="light")
        await browser.do("open", url=delivery)
        await browser.do("wait", selector="#acks td", text=alert)
        await browser.do("screenshot", path=str(pictures / "delivery.png"))
        await browser.do("look", width=375, height=812, colorScheme="dark")
        assert await browser.do("evaluate", script=NO_SIDEWAYS_SCROLL)
        hidden = "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth).length"
        assert await browser.do("evaluate", script=hidden) == 0, "all columns can be seen on a phone"
        assert await browser.do("evaluate", script="document.querySelector('#groups td').dataset.name") == "Group"
        await browser.do("screenshot", path=str(pictures / "delivery-phone.png"), fullPage=False)

        seen = await browser.do("seen")
        assert seen["errors"] == []
        assert [url for url in seen["requests"] if not url.startswith((worker, delivery))] == []


async def acknowledged(http: aiohttp.ClientSession, delivery: str) -> list[Any]:
    async with http.get(f"{delivery}api/status") as answer:
        return [ack["alert"] for ack in (await answer.json())["acks"]]


async def test_the_report_of_a_backtest_opens_without_a_network(
    browser: Browser, pictures: Path, tmp_path: Path
) -> None:
    anomaly = [sys.executable, "-m", "anomaly_app.cli"]
    generate = ["generate", "retail", "--records", "40000", "--start", "2026-01-01 09:00:00", "--output", "retail"]
    tables = ("pos_events", "staff_shifts", "security_events", "inventory_counts")
    backtest = [
        "backtest", *(str(JOBS / f"{name}.sql") for name in ("refunds", "gates", "shrinkage")),
        *(part for name in tables for part in ("--table", f"{name}=retail/{name}.jsonl")),
        "--truth", "retail/truth.jsonl", "--against-set", "retail.refund.count=4", "--html", "backtest.html",
    ]  # fmt: skip
    for command in (generate, backtest):
        done = await asyncio.to_thread(
            subprocess.run, [*anomaly, *command], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr

    await browser.do("offline", offline=True)
    await browser.do("look", width=1100, height=900, colorScheme="light")
    page = (tmp_path / "backtest.html").as_uri()
    await browser.do("open", url=page)
    for title in ("By day", "Against what is true", *TYPES):
        await browser.do("wait", selector="h2", text=title)
    await browser.do("screenshot", path=str(pictures / "backtest.png"), fullPage=False)
    widths = (
        "[...document.querySelectorAll('.bar')].map(bar => [bar.querySelectorAll('i')].flatMap(all => [...all])"
        ".reduce((sum, piece) => sum + piece.getBoundingClientRect().width, 0))"
    )
    drawn = await browser.do("evaluate", script=widths)
    assert len(drawn) >= 6 and min(drawn) > 0, "each day and store has a bar"
    # The first sample opens by the keyboard.
    await browser.do("evaluate", script="document.querySelector('summary').focus()")
    await browser.do("press", key="Enter")
    await browser.do("wait", selector="details[open] td", text="alertId")

    await browser.do("look", width=375, height=812, colorScheme="dark")
    assert await browser.do("evaluate", script=NO_SIDEWAYS_SCROLL)
    ground = await browser.do("evaluate", script="getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(20, 26, 33)"
    scrolled = "[...document.querySelectorAll('.bars')].filter(one => one.scrollWidth > one.clientWidth).length"
    assert await browser.do("evaluate", script=scrolled) == 0, "bars stay on the screen"
    broken = "[...document.querySelectorAll('.n, .bar span')].filter(one => one.getClientRects().length > 1 || "
    broken += "one.offsetHeight > 48).map(one => one.innerText)"
    assert await browser.do("evaluate", script=broken) == [], "numbers stay in one piece"
    await browser.do("evaluate", script="scrollTo(0, 0)")
    await browser.do("screenshot", path=str(pictures / "backtest-phone.png"), fullPage=False)
    seen = await browser.do("seen")
    assert (seen["errors"], seen["requests"]) == ([], [page])
