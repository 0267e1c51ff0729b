"""What names mean: catalogs, databases, tables, views and functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions import nodes as n
from anomaly_app.expressions.functions import FUNCTIONS
from anomaly_app.expressions.functions.python import PythonFunction, check_name
from anomaly_app.expressions.tokens import Span
from anomaly_app.jobs.models import ModelCatalog
from anomaly_app.models.model import Model
from anomaly_app.schema import Changelog, Schema
from anomaly_app.sql.commands import CreateSpace, Drop, Use
from anomaly_app.sql.queries import TableRef
from anomaly_app.sql.rewrite import rewrite
from anomaly_app.sql.statements import CreateTable, CreateView
from anomaly_app.words import nearest

T = TypeVar("T")

DEFAULT = ("default_catalog", "default_database")
"""Where names are that say nothing else; as in Flink."""


class Catalog:
    """Tables, views and functions by name.

    A name is kept without the default catalog and database, so that in a file that has no others it is what is written
    there. Databases that a table names are there without CREATE DATABASE.

    Args:
        text: of the statements, for errors.

    Attributes:
        tables: columns of each table, by its full name.
        creates: the statements that made them; not of tables that come from elsewhere.
        views: the statements that made the views.
        functions: the user's own, by name in upper case.
        data: rows of the tables that are in memory, by full name.
        models: models and their connections.
        current: catalog and database of names that say nothing else.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tables: dict[str, Schema] = {}
        self.creates: dict[str, CreateTable] = {}
        self.views: dict[str, CreateView] = {}
        self.functions: dict[str, PythonFunction] = {}
        self.data: dict[str, Any] = {}
        self.current = DEFAULT
        self.models = ModelCatalog(self.name)
        self._spaces: dict[str, set[str]] = {DEFAULT[0]: {DEFAULT[1]}}

    def fail(self, problem: str, span: Span) -> SqlValidationError:
        """An error in the text."""
        return SqlValidationError(problem, self.text, *span)

    # --- names ----------------------------------------------------------------------------------------

    def qualified(self, path: Sequence[str]) -> tuple[str, ...]:
        """A path with catalog and database before it."""
        return (*self.current[: max(0, 3 - len(path))], *path)

    def name(self, path: Sequence[str]) -> str:
        """The full name of a path.

        Example:
            >>> catalog = Catalog("")
            >>> catalog.name(("shop", "sales")), catalog.name((*DEFAULT, "sales"))
            ('shop.sales', 'sales')
        """
        full = self.qualified(path)
        if full[:2] == DEFAULT:
            full = full[2:]
        elif len(full) == 3 and full[0] == DEFAULT[0]:
            full = full[1:]
        return ".".join(full)

    def place(self, name: str) -> tuple[str, str, str]:
        """Catalog, database and own name of a full name."""
        parts = name.split(".")
        if len(parts) == 1:
            return (*DEFAULT, name)
        if len(parts) == 2:
            return DEFAULT[0], parts[0], parts[1]
        return parts[0], parts[1], ".".join(parts[2:])

    def catalogs(self) -> Sequence[str]:
        """Names of all catalogs."""
        return sorted({*self._spaces, *(self.place(name)[0] for name in self._names())})

    def databases(self, catalog: str | None = None) -> Sequence[str]:
        """Names of all databases of a catalog; of the current one if none is said."""
        catalog = catalog or self.current[0]
        found = {place[1] for place in map(self.place, self._names()) if place[0] == catalog}
        return sorted(found | self._spaces.get(catalog, set()))

    def create_space(self, create: CreateSpace) -> None:
        """CREATE CATALOG or CREATE DATABASE."""
        catalog, name = self._space(create.what, create.path, create.place)
        known = self.catalogs() if create.what == "CATALOG" else self.databases(catalog)
        if name in known:
            if not create.if_not_exists:
                raise self.fail(f"{create.what.lower()} {name} is there already", create.place)
            return
        if create.what == "CATALOG":
            self._spaces[name] = {"default"}
        else:
            self._spaces.setdefault(catalog, set()).add(name)

    def use(self, use: Use) -> None:
        """USE and USE CATALOG."""
        catalog, name = self._space("CATALOG" if use.catalog else "DATABASE", use.path, use.place)
        for view, create in self.views.items():
            self.views[view] = replace(create, query=self._with_full_names(create.query))
        if not use.catalog:
            if name not in self.databases(catalog):
                raise self.fail(f"unknown database {name!r}{nearest(name, self.databases(catalog))}", use.place)
            self.current = (catalog, name)
            return
        if name not in self.catalogs():
            raise self.fail(f"unknown catalog {name!r}{nearest(name, self.catalogs())}", use.place)
        self.current = (name, DEFAULT[1] if name == DEFAULT[0] else next(iter(self.databases(name)), "default"))

    def _space(self, what: str, path: tuple[str, ...], place: Span) -> tuple[str, str]:
        """The catalog, and the name in it, of a path."""
        most = 1 if what == "CATALOG" else 2
        if len(path) > most:
            raise self.fail(f"the name of a {what.lower()} has at most {most} part{'s' * (most > 1)}", place)
        if len(path) == 2 and path[0] not in self.catalogs():
            raise self.fail(f"unknown catalog {path[0]!r}{nearest(path[0], self.catalogs())}", place)
        return (path[0] if len(path) == 2 else self.current[0]), path[-1]

    # --- making and dropping --------------------------------------------------------------------------

    def add_table(self, name: str, schema: Schema) -> None:
        """A table that comes from elsewhere; a CREATE TABLE of that name comes first."""
        self.tables[name] = schema

    def changes(self, name: str, changelog: Changelog) -> None:
        """Say how the rows of a table change it; nothing if there is none of that name."""
        full = _find(self.name(tuple(name.replace("`", "").split("."))), self.tables)
        if full is None:
            return
        schema = self.tables[full]
        if changelog is Changelog.UPSERT and not schema.primary_key:
            raise self.fail(f"table {name} is given as upserts, and no PRIMARY KEY says what they are by", Span(0, 1))
        self.tables[full] = replace(schema, changelog=changelog)

    def create_table(self, create: CreateTable, schema: Schema) -> None:
        """CREATE TABLE; raises ``SqlValidationError`` if the name is taken."""
        name = self.name(create.path)
        if name in self.creates and create.if_not_exists:
            return
        self._free(name, create.span)
        self.creates[name], self.tables[name] = replace(create, path=tuple(name.split("."))), schema

    def create_view(self, view: CreateView) -> None:
        """CREATE VIEW; raises ``SqlValidationError`` if the name is taken."""
        name = self.name(view.path)
        if name in self.views and view.if_not_exists:
            return
        self._free(name, view.span)
        if name in self.tables:
            raise self.fail(f"table {name} is there already", view.span)
        query = self.prepared(view.query)
        if self.current != DEFAULT:
            query = self._with_full_names(query)
        self.views[name] = replace(view, path=tuple(name.split(".")), query=query)

    def create_function(
        self, function: PythonFunction, span: Span | None = None, *, if_not_exists: bool = False
    ) -> None:
        """A function; raises ``SqlValidationError`` (``ValueError`` without a place) if the name is taken."""
        try:
            check_name(function.name, FUNCTIONS)
            if function.name in self.functions:
                if if_not_exists:
                    return
                raise ValueError(f"function {function.name} is created twice")
        except ValueError as error:
            if span is None:
                raise
            raise self.fail(str(error), span) from None
        self.functions[function.name] = function

    def drop(self, drop: Drop) -> None:
        """DROP; raises ``SqlValidationError`` if there is none, or it cannot be dropped."""
        what = drop.what.lower()
        if drop.what in ("CATALOG", "DATABASE"):
            self._drop_space(drop)
            return
        if drop.what in ("MODEL", "CONNECTION"):
            self.models.drop(drop, self.text)
            return
        kinds: dict[str, Mapping[str, object]] = {"table": self.tables, "view": self.views, "function": self.functions}
        known = kinds[what]
        name = drop.path[-1].upper() if what == "function" else _find(self.name(drop.path), known)
        if name is None or name not in known:
            if drop.if_exists:
                return
            said = ".".join(drop.path)
            other = {"table": "view", "view": "table"}.get(what)
            if other is not None and _find(self.name(drop.path), kinds[other]) is not None:
                raise self.fail(f"{said} is a {other}: write DROP {other.upper()}", drop.place)
            raise self.fail(f"unknown {what} {said!r}{nearest(said, known)}", drop.place)
        made: tuple[dict[str, Any], ...] = (self.functions,) if what == "function" else self._all()
        for names in made:
            names.pop(name, None)

    def _drop_space(self, drop: Drop) -> None:
        catalog, name = self._space(drop.what, drop.path, drop.place)
        known = self.catalogs() if drop.what == "CATALOG" else self.databases(catalog)
        if name not in known:
            if drop.if_exists:
                return
            raise self.fail(f"unknown {drop.what.lower()} {name!r}{nearest(name, known)}", drop.place)
        place = (name,) if drop.what == "CATALOG" else (catalog, name)
        if self.current[: len(place)] == place:
            raise self.fail(f"{drop.what.lower()} {name} is the current one: USE another first", drop.place)
        inside = [one for one in self._names() if self.place(one)[: len(place)] == place]
        if inside and not drop.cascade:
            more = ": DROP … CASCADE drops it with them" if drop.what == "DATABASE" else ""
            raise self.fail(f"{drop.what.lower()} {name} is not empty, it has {', '.join(inside)}{more}", drop.place)
        for one in inside:
            for names in self._all():
                names.pop(one, None)
        if drop.what == "CATALOG":
            self._spaces.pop(name, None)
        else:
            self._spaces.get(catalog, set()).discard(name)

    def rename(self, old: str, path: tuple[str, ...], span: Span) -> str:
        """A table or view gets another name, in the same database unless the path says another."""
        full = (*self.place(old)[:2], *path) if len(path) == 1 else path
        new = self.name(full)
        if new in self.tables or new in self.views:
            raise self.fail(f"{new} is there already", span)
        for names in self._all():
            if old in names:
                names[new] = names.pop(old)
        own = tuple(new.split("."))
        if new in self.creates:
            self.creates[new] = replace(self.creates[new], path=own)
        if new in self.views:
            self.views[new] = replace(self.views[new], path=own)
        return new

    def _all(self) -> tuple[dict[str, Any], ...]:
        return self.tables, self.creates, self.views, self.data

    def _free(self, name: str, span: Span) -> None:
        for what, known in (("table", self.creates), ("view", self.views)):
            if name in known:
                raise self.fail(f"{what} {name} is created twice", span)

    # --- trees ----------------------------------------------------------------------------------------

    def prepared(self, tree: T) -> T:
        """A query in which calls of the user's own functions know them."""
        return rewrite(tree, self._with_function) if self.functions else tree

    def _with_function(self, node: object) -> object:
        if type(node) is n.Call and node.name in self.functions:
            return replace(node, entry=self.functions[node.name])
        return node

    def _with_full_names(self, tree: T) -> T:
        def named(node: object) -> object:
            return replace(node, path=self.qualified(node.path)) if isinstance(node, TableRef) else node

        return rewrite(tree, named)

    # --- what queries ask -----------------------------------------------------------------------------

    def table(self, path: tuple[str, ...]) -> tuple[str, Schema] | None:
        """Full name and columns of a table; None if there is none of that name."""
        name = _find(self.name(path), self.tables)
        return (name, self.tables[name]) if name is not None else None

    def view(self, path: tuple[str, ...]) -> CreateView | None:
        """A view; None if there is none of that name."""
        name = _find(self.name(path), self.views)
        return self.views[name] if name is not None else None

    def model(self, path: tuple[str, ...]) -> Model | None:
        """A version of a model; None if there is none of that name."""
        return self.models.find_model(path)

    def models_of(self, path: tuple[str, ...]) -> list[Model]:
        """The versions of a model that a path names, with ``$all`` all; [] if there is none."""
        return self.models.versions_of(path)

    def unknown_model(self, path: tuple[str, ...]) -> str:
        """What to say of a model that there is none of."""
        return self.models.unknown(path)

    def names(self) -> Sequence[str]:
        """All tables and views, as a query of now would call them."""
        return [self._said(name) for name in self._names()]

    def _names(self) -> Sequence[str]:
        return [*self.tables, *self.views]

    def _said(self, name: str) -> str:
        if self.current == DEFAULT:
            return name
        catalog, database, own = self.place(name)
        if catalog != self.current[0]:
            return f"{catalog}.{database}.{own}"
        return own if database == self.current[1] else f"{database}.{own}"

    def known(self, path: tuple[str, ...], span: Span) -> str:
        """Full name of a table; an error naming the nearest if there is none."""
        name = _find(self.name(path), self.tables)
        if name is not None:
            return name
        said, names = ".".join(path), self.names()
        hint = nearest(said, names) if names else ": CREATE TABLE it first"
        raise self.fail(f"unknown table {said!r}{hint}", span)

    def find(self, path: tuple[str, ...], span: Span) -> str:
        """Full name of a table or view; an error naming the nearest if there is none."""
        view = _find(self.name(path), self.views)
        return view if view is not None else self.known(path, span)


def _find(name: str, names: Mapping[str, object]) -> str | None:
    if name in names:
        return name
    folded = [known for known in names if known.replace("`", "").lower() == name.lower()]
    return folded[0] if len(folded) == 1 else None
