"""Apache Kafka for the tests marked ``kafka``: one node for the whole session."""

from kafka_node import kafka

__all__ = ["kafka"]
