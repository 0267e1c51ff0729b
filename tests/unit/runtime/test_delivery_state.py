"""What is written to the topic of the state, and what a broker that forgets needs."""

from __future__ import annotations

from typing import Any

import pytest

from anomaly_app.runtime import delivery_state
from anomaly_app.runtime.delivery_state import StateTopic
from anomaly_app.settings import load_settings


class Written:
    """Stands for the writer: keeps the batches."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[bytes, bytes | None]]] = []
        self.end = 0

    async def changelog(self, topic: str, partition: int, entries: Any) -> int:
        assert (topic, partition) == ("d-state", 0)
        self.batches.append(list(entries))
        self.end += len(entries)
        return self.end - 1


def state(*, compacts: bool) -> tuple[StateTopic, Written]:
    topic = StateTopic(load_settings(environ={}), "d-state", None, compacts=compacts)
    topic._writer = writer = Written()  # type: ignore[assignment]
    return topic, writer


async def test_changes_are_written_as_they_are_in_their_order() -> None:
    topic, writer = state(compacts=True)
    await topic.write([(b"g", b"1"), (b"p", b"7")])
    await topic.write([(b"g", None)])
    await topic.write([])
    assert writer.batches == [[(b"g", b"1"), (b"p", b"7")], [(b"g", None)]]
    assert topic.end == 3


async def test_a_broker_that_does_not_compact_gets_everything_anew_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(delivery_state, "REWRITE_BYTES", 1_000)
    topic, writer = state(compacts=False)
    await topic.write([(b"once", b"kept"), (b"gone", b"x"), (b"p", b"1")])
    for number in range(2, 12):
        await topic.write([(b"g", b"%d" % number * 120), (b"p", b"%d" % number)])
    await topic.write([(b"gone", None)])
    whole = [batch for batch in writer.batches if dict(batch).get(b"once") == b"kept"][1:]
    assert whole, "what has not changed is written again"
    assert all(batch[-1][0] == b"p" for batch in whole), "positions are the last"
    assert not any(value is None for batch in whole for _, value in batch)
