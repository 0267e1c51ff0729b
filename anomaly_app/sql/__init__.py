"""Statements of Flink SQL job files and the MATCH_RECOGNIZE clause: text to syntax trees."""

from anomaly_app.expressions.type_parser import parse_type
from anomaly_app.sql.parser import parse_statements

__all__ = ["parse_statements", "parse_type"]
