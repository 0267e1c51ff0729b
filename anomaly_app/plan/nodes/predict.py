"""The node of ML_PREDICT."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_app.models.model import Model
from anomaly_app.models.options import CallOptions
from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.scope import Expression


@dataclass(frozen=True, eq=False, kw_only=True)
class Predict(Node):
    """Each row with what a model gives for it.

    Args:
        input: whose rows.
        model: that is asked.
        args: what it is given, in the order of its INPUT and of these types.
        given: names of the columns that it adds, in the order of its OUTPUT.
        options: how it is called.
    """

    input: Node
    model: Model
    args: tuple[Expression, ...]
    given: tuple[str, ...]
    options: CallOptions

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The model and its version."""
        return f"Predict {self.model.title} ({self.model.provider})"

    @property
    def reads(self) -> frozenset[str]:
        """Columns of the input that the model is given, or that this is computed of."""
        return frozenset[str]().union(*(arg.reads for arg in self.args))
