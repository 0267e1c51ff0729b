"""What the functions of an expression may ask of the compiler that meets them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.typed import Code, Dialect, Environment


class Compiler(Protocol):
    """The compiler, :class:`~anomaly_app.expressions.compiler.ExpressionCompiler`, as a function sees it.

    Arguments of a call are expressions, with calls in them: that recursion is all that functions know of the compiler.
    """

    @property
    def env(self) -> Environment:
        """Names of the generated source."""
        ...

    @property
    def dialect(self) -> Dialect:
        """Where engines differ."""
        ...

    def fail(self, node: n.Node, problem: str) -> SqlValidationError:
        """An error at a node."""
        ...

    def value(self, node: n.Node) -> Code:
        """Source of an expression's value."""
        ...

    def boolean(self, node: n.Node, what: str = ...) -> Code:
        """A boolean expression; an error for another type."""
        ...

    def condition(self, node: n.Node, what: str = ...) -> str:
        """Source that is truthy exactly if a boolean expression is TRUE."""
        ...

    def truth(self, node: n.Node) -> str:
        """Source that is truthy exactly if what is known to be a boolean expression is TRUE."""
        ...

    def unify(self, parts: Sequence[n.Node], what: str) -> list[Code]:
        """The values of expressions, brought to their common type."""
        ...
