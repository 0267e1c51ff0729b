"""Tables of several topics: which they are, and how their partitions are told apart."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, Self

import pytest

from anomaly_app.errors import BrokerRefusal
from anomaly_app.eventtime import UpstreamWatermarks
from anomaly_app.jobs.binder import bind_job
from anomaly_app.jobs.model import Job, Routing
from anomaly_app.jobs.topics import Topics
from anomaly_app.runtime import discovery
from anomaly_app.runtime.discovery import FOUND, Discovery
from anomaly_app.runtime.overview import Overview
from anomaly_app.runtime.pipeline import Pipeline
from anomaly_app.runtime.positions import first_position
from anomaly_app.runtime.registries import Registries
from anomaly_app.runtime.topics import TopicAdmin
from anomaly_app.settings import LoadedSettings, Settings
from anomaly_app.upstreams import feed_of, input_of, partition_of

TABLE = """CREATE TABLE t (k STRING, v INT, ts TIMESTAMP(3), topic STRING METADATA, WATERMARK FOR ts AS ts)
WITH ('connector' = 'kafka', {topics}, 'format' = 'json', 'scan.startup.mode' = 'latest-offset');"""
WINDOW = """SELECT k, SUM(v) AS v FROM TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' SECOND))
GROUP BY k, window_start, window_end"""
LIST, PATTERN = "'topic' = 'a;b'", "'topic-pattern' = 'sales[.].+'"
LOADED = LoadedSettings(Settings())


def job(select: str, topics: str = LIST, **partitions: int) -> Job:
    return bind_job(TABLE.format(topics=topics) + select, name="job", partitions=partitions)


def pipelines(one: Job, partitions: dict[str, int], existing: dict[str, int] | None = None) -> list[Pipeline]:
    plans = [plan for each in one.plans for plan in each.looked_up({"t": list(partitions)})]
    return [Pipeline(one, plan, LOADED.settings, partitions, Registries(LOADED), existing=existing) for plan in plans]


@pytest.mark.parametrize(
    ("pattern", "topics"),
    [
        ("sales", ["sales"]),
        (r"sales\.\p{Alpha}+", ["sales.eu", "sales.us"]),
        ("sales[.].*", ["sales.eu", "sales.us"]),
        ("(sales.+|other)[^.]*", ["other", "sales.eu", "sales.us"]),
        (".*", ["a.late", "other", "sales", "sales.eu", "sales.us"]),
    ],
)
def test_a_pattern_means_whole_names_and_not_what_was_set_apart(pattern: str, topics: list[str]) -> None:
    names = ["sales", "sales.eu", "sales.us", "other", "sales.eu.late", "sales.eu.dlq", "a.late", "__consumer_offsets"]
    assert Topics(pattern=pattern).among(names) == topics


def test_rows_that_go_nowhere_are_read_topic_by_topic() -> None:
    (plan,) = job("SELECT k FROM t WHERE v > 1").plans
    assert plan.routing is Routing.DIRECT
    first, second = pipelines(job("SELECT k FROM t WHERE v > 1"), {"a": 2, "b": 3})
    assert [(one.detect_topic, one.detect_partitions) for one in (first, second)] == [("a", 2), ("b", 3)]
    assert first.name != second.name and not first.repartitioned
    assert first.feeds[0].upstream(1) != second.feeds[0].upstream(1)
    assert first.feeds[0].places == second.feeds[0].places == [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("b", 2)]
    assert [one.feeds[0].late_topic for one in (first, second)] == ["a.late", "b.late"]


@pytest.mark.parametrize("keyed", ["", ", 'key.format' = 'raw', 'key.fields' = 'k'"])
def test_rows_of_a_key_meet_whatever_topic_they_come_from(keyed: str) -> None:
    one = job(WINDOW, LIST + keyed, a=1, b=1)
    assert one.plans[0].routing is Routing.REPARTITION
    (pipeline,) = pipelines(one, {"a": 1, "b": 1})
    assert pipeline.repartitioned and len(list(pipeline.upstreams or ())) == 2
    assert len({pipeline.state_table(feed) for feed in pipeline.feeds}) == 2


def test_the_partitions_of_a_topic_have_the_same_numbers_whatever_topics_are_added() -> None:
    few = pipelines(job(WINDOW, PATTERN), {"sales.eu": 2, "sales.us": 2})[0]
    more = pipelines(job(WINDOW, PATTERN), {"sales.at": 9, "sales.eu": 2, "sales.us": 2})[0]
    assert few.name == more.name
    by_topic = {feed.topic: (list(feed.upstreams), more.state_table(feed)) for feed in more.feeds}
    for feed in few.feeds:
        assert (list(feed.upstreams), few.state_table(feed)) == by_topic[feed.topic]
        for number, upstream in enumerate(feed.upstreams):
            assert (partition_of(upstream), input_of(upstream)) == (number, 0)
            assert more.feed_of(upstream).topic == feed.topic
            assert more.plan.topics[feed_of(upstream)] == feed.topic
    assert len({upstream for feed in more.feeds for upstream in feed.upstreams}) == 13


def test_a_topic_with_more_partitions_leaves_the_repartition_as_it_is() -> None:
    one = job(WINDOW, PATTERN)
    topic = pipelines(one, {"sales.eu": 2})[0].repartition_topic
    assert pipelines(one, {"sales.eu": 2, "sales.us": 9}, {topic: 2})[0].downstream == 2


def test_a_topic_that_is_gone_holds_no_time() -> None:
    upstreams = UpstreamWatermarks([7])
    upstreams.restore({7: 100, 9: 5}, [9])
    assert upstreams.current == 100 and upstreams.idle_ones == []


class Broker:
    """Topics that come to be."""

    def __init__(self, *topics: str) -> None:
        self.topics = dict.fromkeys(topics, 1)

    def admin(self, loaded: LoadedSettings) -> TopicAdmin:
        topics = self.topics

        class Admin(TopicAdmin):
            async def __aenter__(self) -> Self:
                return self

            async def __aexit__(self, *_: object) -> None:
                pass

            async def names(self) -> dict[str, int]:
                return topics

        return Admin(loaded)


def test_new_topics_of_a_pattern_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker("sales.eu", "anomaly-job-1-state-changelog", "anomaly.alerts", "other")
    monkeypatch.setattr(discovery, "TopicAdmin", broker.admin)
    one = job("SELECT k FROM t", "'topic-pattern' = '.*', 'scan.topic-partition-discovery.interval' = '7 s'")
    source = one.plans[0].source
    known = asyncio.run(broker.admin(LOADED).meant(source))
    assert known == ["other", "sales.eu"]
    running = Job("job", "1", "", "", one.plans[0].looked_up({"t": known}))
    found = Discovery(LOADED, [running])
    assert (found.interval_s, found.wait_s(15.0)) == (7.0, 6.0)
    assert asyncio.run(found.look()) == []
    broker.topics |= {"sales.us": 4, "sales.eu.dlq": 1}
    assert asyncio.run(found.look()) == ["sales.us"]
    never = job("SELECT k FROM t", "'topic-pattern' = '.*', 'scan.topic-partition-discovery.interval' = '0'")
    assert Discovery(LOADED, [never]).interval_s == 0


def test_a_pattern_that_nothing_fits_is_an_error() -> None:
    source = job("SELECT k FROM t", "'topic-pattern' = 'sale[.].+'").plans[0].source
    with pytest.raises(BrokerRefusal, match=r"no topic fits the pattern 'sale\[\.\]\.\+' of table t"):
        asyncio.run(Broker("sales.eu").admin(LOADED).meant(source))


@pytest.mark.parametrize(("found", "position"), [("", 9), ("b,a", 3)])
def test_a_topic_that_was_found_is_read_from_its_first_record(
    monkeypatch: pytest.MonkeyPatch, found: str, position: int
) -> None:
    monkeypatch.setenv(FOUND, found)
    source = job("SELECT k FROM t").plans[0].source

    class Place:
        topic, partition = "a", 0

    reader: Any = None
    assert asyncio.run(first_position(source, None, Place, 3, 9, reader)) == position


def test_a_query_over_topics_that_are_read_each_for_itself_is_shown_once() -> None:
    one = job("SELECT k FROM t WHERE v > 1")
    own = pipelines(one, {"a": 2, "b": 3})
    for number, pipeline in enumerate(own, 1):
        pipeline.outputs[0].alerts = number
    worker: Any = SimpleNamespace(bound_jobs=[one], pipelines=own, lookups=SimpleNamespace(status=lambda name: []))
    ((query,),) = [shown["queries"] for shown in Overview(worker).jobs()]
    assert (query["source"], query["alerts"]) == ("a, b", 3)
