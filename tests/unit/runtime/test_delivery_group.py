"""Who is active, and for how long without a word from the group."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from anomaly_app.runtime.delivery_group import Eldest, Lease, LeaseLost, eldest


def test_the_eldest_member_gets_everything_and_the_others_nothing() -> None:
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: {"alerts": {2, 0, 1}, "state": {0}}.get(topic))
    first, second = eldest(), eldest()
    members = {"b": first.metadata(["alerts", "state"]), "a": second.metadata(["alerts", "state"])}

    def given() -> dict[str, list[tuple[str, list[int]]]]:
        return {name: list(one.assignment) for name, one in Eldest.assign(cluster, members).items()}

    everything = [("alerts", [0, 1, 2]), ("state", [0])]
    assert given() == {"a": [], "b": everything}
    first.begin_anew()  # it was away
    members["b"] = first.metadata(["alerts", "state"])
    assert given() == {"a": everything, "b": []}


def test_a_topic_that_is_not_there_yet_is_no_error() -> None:
    cluster = SimpleNamespace(partitions_for_topic=lambda topic: None)
    assignment = Eldest.assign(cluster, {"a": eldest().metadata(["alerts"])})
    assert list(assignment["a"].assignment) == [("alerts", [])]


def test_a_lease_lasts_from_the_question_not_from_the_answer() -> None:
    now = [100.0]
    lease = Lease(10.0, lambda: now[0])
    with pytest.raises(LeaseLost):
        lease.check()
    lease.renew(100.0)
    now[0] = 107.9
    lease.check()
    lease.renew(101.0)
    now[0] = 108.9
    lease.check()
    lease.renew(99.0)  # an old answer takes nothing away
    assert lease.valid
    now[0] = 109.0
    with pytest.raises(LeaseLost, match="has not heard from its group"):
        lease.check()
