"""What the names of tables and views in a text mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span
from anomaly_app.patterns.clause import nearest
from anomaly_app.schema import Schema
from anomaly_app.sql.statements import CreateTable, CreateView


class Catalog:
    """Tables and views by name.

    Args:
        text: of the statements, for errors.

    Attributes:
        tables: columns of each table, by its full name.
        creates: the statements that made them; not of tables that come from elsewhere.
        views: the statements that made the views.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tables: dict[str, Schema] = {}
        self.creates: dict[str, CreateTable] = {}
        self.views: dict[str, CreateView] = {}

    def add_table(self, name: str, schema: Schema) -> None:
        """A table that comes from elsewhere; a CREATE TABLE of that name comes first."""
        self.tables[name] = schema

    def create_table(self, create: CreateTable, schema: Schema) -> None:
        """CREATE TABLE; raises ``SqlValidationError`` if the name is taken."""
        name = ".".join(create.path)
        if name in self.creates and create.if_not_exists:
            return
        self._free(name, create.span)
        self.creates[name], self.tables[name] = create, schema

    def create_view(self, view: CreateView) -> None:
        """CREATE VIEW; raises ``SqlValidationError`` if the name is taken."""
        name = ".".join(view.path)
        if name in self.views and view.if_not_exists:
            return
        self._free(name, view.span)
        self.views[name] = view

    def _free(self, name: str, span: Span) -> None:
        for what, known in (("table", self.creates), ("view", self.views)):
            if name in known:
                raise SqlValidationError(f"{what} {name} is created twice", self.text, *span)

    # --- what queries ask -----------------------------------------------------------------------------

    def table(self, path: tuple[str, ...]) -> tuple[str, Schema] | None:
        """Full name and columns of a table; None if there is none of that name."""
        name = _find(path, self.tables)
        return (name, self.tables[name]) if name is not None else None

    def view(self, path: tuple[str, ...]) -> CreateView | None:
        """A view; None if there is none of that name."""
        name = _find(path, self.views)
        return self.views[name] if name is not None else None

    def names(self) -> Sequence[str]:
        """All tables and views."""
        return [*self.tables, *self.views]

    def known(self, path: tuple[str, ...], span: Span) -> str:
        """Full name of a table; an error naming the nearest if there is none."""
        name = _find(path, self.tables)
        if name is not None:
            return name
        said, names = ".".join(path), self.names()
        hint = nearest(said, names) if names else ": CREATE TABLE it first"
        raise SqlValidationError(f"unknown table {said!r}{hint}", self.text, *span)


def _find(path: tuple[str, ...], names: Mapping[str, object]) -> str | None:
    name = ".".join(path)
    if name in names:
        return name
    folded = [known for known in names if known.replace("`", "").lower() == name.lower()]
    return folded[0] if len(folded) == 1 else None
