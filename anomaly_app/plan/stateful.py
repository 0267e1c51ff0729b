"""Nodes with state of their own, as vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anomaly_app.errors import SqlValidationError
from anomaly_app.plan.nodes import Node

if TYPE_CHECKING:
    from anomaly_app.plan.physical import Builder, Built


def build(builder: Builder, node: Node) -> Built:
    """The vertex of a node."""
    raise SqlValidationError(f"{node.title} is not supported yet", node.text, *node.span)
