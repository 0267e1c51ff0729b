"""The node of ML_EVALUATE."""

from __future__ import annotations

from dataclasses import dataclass

from anomaly_app.models.model import Model, Task
from anomaly_app.plan.nodes.node import Node
from anomaly_app.plan.scope import Expression


@dataclass(frozen=True, eq=False, kw_only=True)
class Evaluate(Node):
    """How good versions of a model are: a row for each, when all rows have come.

    Args:
        input: rows with what each version gives for them.
        models: the versions.
        label: what is true.
        given: names of the columns that each version has given.
        task: classification or regression.
    """

    input: Node
    models: tuple[Model, ...]
    label: Expression
    given: tuple[tuple[str, ...], ...]
    task: Task

    @property
    def inputs(self) -> tuple[Node, ...]:
        """One."""
        return (self.input,)

    @property
    def title(self) -> str:
        """The versions."""
        return f"Evaluate {', '.join(model.title for model in self.models)} against {self.label.words}"

    @property
    def reads(self) -> frozenset[str]:
        """Columns of the input that are judged."""
        return self.label.reads.union(*self.given)
