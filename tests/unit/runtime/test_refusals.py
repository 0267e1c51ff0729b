"""Which errors end a worker, and which it waits for."""

from __future__ import annotations

import pytest
from aiokafka import errors as kafka

from anomaly_app.errors import BrokerError, BrokerRefusal, RegistryError, StateError
from anomaly_app.formats.registry import RegistryRefusal
from anomaly_app.runtime.refusals import refusal


@pytest.mark.parametrize(
    "error",
    [
        kafka.TopicAuthorizationFailedError("sales"),
        kafka.GroupAuthorizationFailedError("g"),
        kafka.ClusterAuthorizationFailedError(),
        kafka.SaslAuthenticationFailed(),
        kafka.MessageSizeTooLargeError(),
        kafka.PolicyViolationError(),
    ],
)
def test_what_kafka_will_say_again(error: Exception) -> None:
    found = refusal(error, "ann")
    assert isinstance(found, BrokerRefusal) and not found.retriable
    assert type(error).__name__ in str(found)


@pytest.mark.parametrize(
    "error",
    [
        kafka.NotLeaderForPartitionError(),
        kafka.UnknownTopicOrPartitionError(),
        kafka.KafkaConnectionError("x"),
        kafka.NotEnoughReplicasError(),
        BrokerError("away"),
        RegistryError("away"),
        ValueError("a fault of this program"),
    ],
)
def test_what_can_heal_or_is_a_fault_of_the_program(error: Exception) -> None:
    assert refusal(error) is None


def test_errors_of_the_package_say_themselves_whether_they_can_heal() -> None:
    for error in (StateError("unreadable"), RegistryRefusal("no", 403, 403)):
        assert refusal(error) is error


def test_the_cause_is_looked_at() -> None:
    # aiokafka wraps what its own tasks run into.
    outer = kafka.KafkaError("Unexpected error during batch delivery")
    outer.__cause__ = kafka.ClusterAuthorizationFailedError()
    assert isinstance(refusal(outer), BrokerRefusal)
