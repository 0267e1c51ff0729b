"""Apache Kafka for worker and Flink: one node for the whole session."""

from kafka_node import kafka

__all__ = ["kafka"]
