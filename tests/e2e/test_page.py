"""The live page in a real browser."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from fake_worker import FakeWorker, make_alert, make_graph, make_partition
from real_browser import Browser, start

from anomaly_app.web import WebServer, serve

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


@pytest.fixture
async def browser(tmp_path: Path) -> AsyncIterator[Browser]:
    async with start(tmp_path / "profile") as browser:
        yield browser


@pytest.fixture
def worker() -> FakeWorker:
    worker = FakeWorker()
    worker.assigned = [
        make_partition(
            number,
            rows=123_456 + number,
            rows_per_s=1_250.4,
            lag=number * 7,
            watermark_ms=1_752_156_422_697,
            buffered=40,
            late=number,
        )
        for number in range(4)
    ]
    return worker


@pytest.fixture
async def web(worker: FakeWorker) -> AsyncIterator[WebServer]:
    running = await serve(worker, "127.0.0.1", 0)
    yield running
    await running.cleanup()


async def test_an_alert_appears_with_its_explanation(browser: Browser, worker: FakeWorker, web: WebServer) -> None:
    worker.feed.publish(make_alert(1))
    await browser.do("open", url=web.url)
    await browser.do("wait", selector="#alerts li", text="user-1")
    await browser.do("wait", selector="#state", text="live")

    worker.feed.publish(make_alert(67, severity="high"))
    await browser.do("wait", selector="#alerts li.high .explanation", text="quantity 30 > avg_quantity 1 × 3")
    keys = await browser.do("text", selector=".alert-key")
    assert keys == ["user-67", "user-1"], "the newest comes first, none twice"

    await browser.do("click", selector="#alerts summary")
    await browser.do("wait", selector="#alerts details td", text="785059544235887114")
    await browser.do("wait", selector="#alerts .facts", text="partition 3, offset 67")

    assert (await browser.do("text", selector="#rate")) == ["5,002"]
    assert (await browser.do("text", selector="#lag")) == ["42"]
    assert (await browser.do("text", selector="#watermark")) == ["14:07:02"]
    rows = await browser.do("text", selector="#partitions tr")
    assert len(rows) == 4 and "2025-07-10 14:07:02.697" in rows[3]
    assert "c0ffee123456" in (await browser.do("text", selector="#jobs"))[0]

    seen = await browser.do("seen")
    assert seen["errors"] == []
    assert [url for url in seen["requests"] if not url.startswith(web.url)] == []


async def test_hostile_text_stays_text(browser: Browser, worker: FakeWorker, web: WebServer) -> None:
    worker.assigned = [make_partition(0, topic=HOSTILE)]
    graph = make_graph()
    node = msgspec.structs.replace(graph.nodes[0], title=HOSTILE)
    worker.drawn = [msgspec.structs.replace(graph, job=HOSTILE, query=HOSTILE, nodes=(node, *graph.nodes[1:]))]
    await browser.do("open", url=web.url)
    row = make_alert(1).rows[0]
    worker.feed.publish(
        make_alert(
            1,
            key={HOSTILE: HOSTILE},
            explanation=HOSTILE,
            severity=HOSTILE,
            payload={HOSTILE: [HOSTILE]},
            rows=[type(row)(variable=HOSTILE, event_time=HOSTILE, partition=0, offset=0, values={HOSTILE: HOSTILE})],
        )
    )
    await browser.do("wait", selector=".explanation", text=HOSTILE)
    await browser.do("wait", selector="#partitions td", text=HOSTILE)
    await browser.do("wait", selector="#graphs .graph-head", text=HOSTILE)
    await browser.do("click", selector="#alerts summary")
    await browser.do("wait", selector="#alerts details th", text=HOSTILE)
    assert await browser.do("evaluate", script="window.hacked ?? null") is None
    assert await browser.do("evaluate", script="document.querySelectorAll('main img, main script').length") == 0
    assert (await browser.do("seen"))["errors"] == []


async def test_the_graph_of_a_query_with_what_passes_through_it(
    browser: Browser, worker: FakeWorker, web: WebServer
) -> None:
    worker.drawn = [make_graph(n2=3)]
    await browser.do("open", url=web.url)
    await browser.do("wait", selector="#graphs .graph-head", text="unusual_sales, busy")
    shown = "[node.dataset.id, ...[...node.querySelectorAll('text')].map(text => text.textContent)]"
    texts = f"[...document.querySelectorAll('#graphs .node')].map(node => {shown})"
    nodes = {node[0]: node[1:] for node in await browser.do("evaluate", script=texts)}
    assert nodes["source 1"] == ["sales", "600 rows/s, 6,000 in all", "complete up to 14:07:02", "lag 7"]
    assert nodes["2"][0] == "Aggregate windows of 10 s…" and nodes["2"][4] == "3 late"
    assert nodes["2"][2:4] == ["complete up to 14:06:52", "10 s behind the source"]
    assert nodes["4"][1:] == ["100 rows/s, 1,000 in all", "complete up to 14:06:52", "10 s behind the source"]
    edges = "document.querySelectorAll('#graphs .edge').length"
    assert await browser.do("evaluate", script=edges) == 6
    # Each box stands to the right of those that it reads, and none on another one.
    boxes = (
        "[...document.querySelectorAll('#graphs .node rect')].map(rect => rect.getBoundingClientRect())"
        ".map(box => [box.left, box.top, box.right, box.bottom])"
    )
    placed = await browser.do("evaluate", script=boxes)
    assert all(placed[n][2] <= placed[m][0] for n, m in [(0, 1), (1, 2), (2, 3), (2, 4), (3, 5), (4, 5)])
    assert placed[3][3] <= placed[4][1], "side by side"
    wide = (
        "[...document.querySelectorAll('#graphs .node')].filter(node => [...node.querySelectorAll('text')].some("
        "text => text.getBBox().x + text.getBBox().width > node.querySelector('rect').getBBox().width)).length"
    )
    assert await browser.do("evaluate", script=wide) == 0, "words stay inside"
    scrolled = "document.querySelector('#graphs .scroll').scrollLeft"
    await browser.do("evaluate", script=f"{scrolled} = 150")
    worker.drawn = [make_graph(n2=4)]
    await browser.do("wait", selector="#graphs .node .some", text="4 late")
    assert await browser.do("evaluate", script=scrolled) == 150, "who looks on is not moved away"
    assert (await browser.do("seen"))["errors"] == []


async def test_inline_code_would_not_run_either(browser: Browser, web: WebServer) -> None:
    await browser.do("open", url=web.url)
    script = (
        f"document.body.insertAdjacentHTML('beforeend', {json.dumps(HOSTILE)}); new Promise(r => setTimeout(r, 300))"
    )
    await browser.do("evaluate", script=script)
    assert await browser.do("evaluate", script="window.hacked ?? null") is None
    assert any("Content Security Policy" in error for error in (await browser.do("seen"))["errors"])


async def test_a_flood_of_alerts_keeps_the_latest_hundred(browser: Browser, worker: FakeWorker, web: WebServer) -> None:
    await browser.do("open", url=web.url)
    await browser.do("wait", selector="#state", text="live")
    for number in range(300):
        worker.feed.publish(make_alert(number))
        if number % 50 == 0:
            await asyncio.sleep(0.3)
    await browser.do("wait", selector="#alerts li:first-child", text="user-299")
    assert await browser.do("text", selector=".alert-key") == [f"user-{number}" for number in range(299, 199, -1)]

    visible = "[...document.querySelectorAll('#alerts li')].filter(item => item.offsetHeight).length"
    assert await browser.do("evaluate", script=visible) == 8
    await browser.do("click", selector="#more")
    assert await browser.do("evaluate", script=visible) == 100


async def test_the_page_says_what_the_worker_waits_for(browser: Browser, worker: FakeWorker, web: WebServer) -> None:
    worker.state = (False, "recovering: 3 of 8 partitions")
    await browser.do("open", url=web.url)
    await browser.do("wait", selector="#notice", text="The worker is not ready: recovering: 3 of 8 partitions")
    worker.state = (True, "")
    await browser.do("wait", selector="#state.live", text="live")


async def test_partitions_say_for_whom_they_are_read(browser: Browser, worker: FakeWorker, web: WebServer) -> None:
    jobs = (("refunds", "burst"), ("refunds", "without_sale"), ("gates", "passages"))
    worker.assigned = [make_partition(3, job=job, queries=(query,)) for job, query in jobs]
    worker.assigned.append(make_partition(0, job="gates", topic="app-gates-1a2b-repartition", repartitioned=True))
    await browser.do("open", url=web.url)
    await browser.do("wait", selector="#partitions td", text="gates")
    rows = await browser.do("text", selector="#partitions tr")
    told = [row.split("\t")[2] for row in rows if "repartitioned" not in row]
    assert told == ["gates", "refunds: burst", "refunds: without_sale"]
    assert [row.split("\t")[0] for row in rows if "repartitioned" in row] == ["flink.sales.records, repartitioned"]


async def test_nothing_is_claimed_before_the_answers_are_there(
    browser: Browser, worker: FakeWorker, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[object]:
        raise RuntimeError("not yet")

    claims = "[...document.querySelectorAll('.empty')].filter((each) => each.checkVisibility()).map((each) => each.id)"
    with monkeypatch.context() as patched:
        patched.setattr(worker, "alerts", fail)
        patched.setattr(worker, "jobs", fail)
        await browser.do("open", url=web.url)
        await browser.do("wait", selector="#notice.lost", text="Connection lost")
        assert await browser.do("evaluate", script=claims) == []
    await browser.do("wait", selector="#no-alerts", text="Nothing unusual so far")
    await browser.do("wait", selector="#no-graphs", text="No query runs here yet")
    assert await browser.do("evaluate", script=claims) == ["no-alerts", "no-graphs"]


async def test_a_lost_connection_is_told_and_comes_back(browser: Browser, worker: FakeWorker, web: WebServer) -> None:
    worker.feed.publish(make_alert(1))
    await browser.do("open", url=web.url)
    await browser.do("wait", selector="#state", text="live")
    await web.cleanup()
    await browser.do("wait", selector="#notice.lost", text="Connection lost at")
    await browser.do("wait", selector="#state", text="connection lost")
    assert await browser.do("text", selector=".alert-key") == ["user-1"], "what was there stays"

    again = await serve(worker, "127.0.0.1", web.port)
    worker.feed.publish(make_alert(2))
    try:
        await browser.do("wait", selector="#state", text="live")
        await browser.do("wait", selector="#alerts li", text="user-2")
        assert await browser.do("text", selector=".alert-key") == ["user-2", "user-1"]
    finally:
        await again.cleanup()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1280, 900), ("phone", 375, 812)])
async def test_the_page_fits(
    browser: Browser,
    worker: FakeWorker,
    web: WebServer,
    tmp_path: Path,
    name: str,
    width: int,
    height: int,
    scheme: str,
) -> None:
    for number, severity in enumerate(["low", "medium", "high", "critical", "medium"]):
        worker.feed.publish(make_alert(number, severity=severity))
    worker.drawn = [make_graph(n2=3)]
    worker.feed.publish(make_alert(9, key={"user_id": "user-with-a-long-name-" * 5}, explanation="x" * 300))
    await browser.do("look", width=width, height=height, colorScheme=scheme)
    await browser.do("open", url=web.url)
    await browser.do("wait", selector="#alerts li", text="user-4")
    await browser.do("wait", selector="#state", text="live")
    await browser.do("wait", selector="#spark-line[d]", state="attached")
    assert await browser.do("evaluate", script="document.documentElement.scrollWidth <= innerWidth"), (
        "no sideways scroll"
    )
    background = await browser.do("evaluate", script="getComputedStyle(document.body).backgroundColor")
    assert (sum(json.loads(f"[{background[4:-1]}]")) < 3 * 128) == (scheme == "dark")
    shots = Path(os.environ.get("ANOMALY_SCREENSHOTS", tmp_path))
    await browser.do("screenshot", path=str(shots / f"{name}-{scheme}.png"))
