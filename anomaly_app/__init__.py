"""Anomaly detection over Kafka topics with the SQL of Flink, in pure Python.

The public API::

    from anomaly_app import query, Rows

    result = query(
        "SELECT * FROM events MATCH_RECOGNIZE (…)",
        tables={"events": Rows(columns=[("user_id", "STRING"), ("ts", "TIMESTAMP(3)")], rows=[…], rowtime="ts")},
    )

``app`` is the Faust application for ``faust -A anomaly_app worker``; it is built from the settings when it is first
asked for, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anomaly_app.batch import Result, query
    from anomaly_app.errors import (
        AnomalyError,
        BrokerError,
        BrokerRefusal,
        DataError,
        DecodeError,
        EvaluationError,
        LimitError,
        RegistryError,
        SettingsError,
        SkipTargetError,
        SqlError,
        SqlSyntaxError,
        SqlValidationError,
        StateError,
    )
    from anomaly_app.expressions.functions.python import udf
    from anomaly_app.patterns.builder import Pattern
    from anomaly_app.rows import Rows
    from anomaly_app.scoring import AnomalyScorer
    from anomaly_app.session import Session

__version__ = "0.1.0"

__all__ = [
    "AnomalyError",
    "AnomalyScorer",
    "BrokerError",
    "BrokerRefusal",
    "DataError",
    "DecodeError",
    "EvaluationError",
    "LimitError",
    "Pattern",
    "RegistryError",
    "Result",
    "Rows",
    "Session",
    "SettingsError",
    "SkipTargetError",
    "SqlError",
    "SqlSyntaxError",
    "SqlValidationError",
    "StateError",
    "__version__",
    "query",
    "udf",
]

_HOMES = {name: "anomaly_app.errors" for name in __all__ if name.endswith(("Error", "Refusal"))}
_HOMES |= {"Result": "anomaly_app.batch", "Rows": "anomaly_app.rows", "query": "anomaly_app.batch"}
_HOMES |= {"AnomalyScorer": "anomaly_app.scoring", "Pattern": "anomaly_app.patterns.builder"}
_HOMES |= {"Session": "anomaly_app.session", "udf": "anomaly_app.expressions.functions.python"}


def __getattr__(name: str) -> Any:
    if name == "app":
        value: Any = importlib.import_module("anomaly_app.app").create_app()
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
