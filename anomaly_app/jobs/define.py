"""Statements that give names a meaning, carried out on a catalog."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from anomaly_app.expressions.functions.python import PythonFunction, load_function
from anomaly_app.jobs.alter import altered, liked
from anomaly_app.jobs.catalog import Catalog
from anomaly_app.jobs.show import statement_of
from anomaly_app.jobs.tables import bind_schema
from anomaly_app.sql.commands import Alter, CreateFunction, CreateSpace, Drop, NewQuery, RenameTo, Use
from anomaly_app.sql.model_statements import OF_MODELS, AlterModel, CreateConnection, CreateModel, OfModels
from anomaly_app.sql.statements import CreateTable, CreateView
from anomaly_app.words import nearest

Definition: TypeAlias = Alter | CreateFunction | CreateSpace | CreateTable | CreateView | Drop | OfModels | Use

DEFINITIONS = (Alter, CreateFunction, CreateSpace, CreateTable, CreateView, Drop, *OF_MODELS, Use)
"""Statements that :func:`define` takes."""

IN_ORDER = (Alter, AlterModel, Drop, Use)
"""Those after which a name may mean something else than before."""


def in_order(statements: Iterable[object]) -> bool:
    """Whether statements must be taken one after the other: names mean something else behind one than before it.

    A model that is created again is another one from there on; columns of CREATE TABLE … AS are those of a query.
    """
    models: set[tuple[str, ...]] = set()
    for one in statements:
        if isinstance(one, IN_ORDER) or (isinstance(one, CreateTable) and one.query is not None):
            return True
        if isinstance(one, CreateModel):
            if one.path in models:
                return True
            models.add(one.path)
    return False


def define(statement: Definition, catalog: Catalog, modules: Sequence[str] = ()) -> None:
    """Carry out a statement.

    Args:
        statement: of the catalog's text.
        catalog: that is changed.
        modules: prefixes of the modules from which functions may come.

    Raises:
        SqlError: a name is unknown or taken, or what it stands for is wrong.

    Example:
        >>> from anomaly_app.sql import parse_statements
        >>> catalog = Catalog("CREATE TABLE t (a INT); ALTER TABLE t RENAME TO u")
        >>> for statement in parse_statements(catalog.text):
        ...     define(statement, catalog)
        >>> list(catalog.tables)
        ['u']
    """
    if isinstance(statement, CreateTable):
        _create_table(statement, catalog)
    elif isinstance(statement, CreateView):
        catalog.create_view(statement)
    elif isinstance(statement, CreateSpace):
        catalog.create_space(statement)
    elif isinstance(statement, CreateFunction):
        _create_function(statement, catalog, modules)
    elif isinstance(statement, Drop):
        catalog.drop(statement)
    elif isinstance(statement, Use):
        catalog.use(statement)
    elif isinstance(statement, CreateModel):
        catalog.models.create_model(statement)
    elif isinstance(statement, CreateConnection):
        catalog.models.create_connection(statement)
    elif isinstance(statement, AlterModel):
        catalog.models.alter(statement)
    else:
        _alter(statement, catalog)


def _create_table(create: CreateTable, catalog: Catalog) -> None:
    assert create.query is None, "it is two statements: see ctas"
    if create.like is not None:
        name = catalog.known(create.like.path, create.like.span)
        create = liked(create, statement_of(name, catalog))
    catalog.create_table(create, bind_schema(create, catalog.text))


def _create_function(create: CreateFunction, catalog: Catalog, modules: Sequence[str]) -> None:
    name = create.path[-1]
    if create.if_not_exists and name.upper() in catalog.functions:
        return
    try:
        function = PythonFunction(name, load_function(create.target, modules), origin=create.target)
    except ValueError as error:
        raise catalog.fail(str(error), create.target_span) from error
    catalog.create_function(function, create.span)


def _alter(alter: Alter, catalog: Catalog) -> None:
    is_view = catalog.view(alter.path) is not None
    if not is_view and catalog.table(alter.path) is None:
        if alter.if_exists:
            return
        known = list(catalog.tables if alter.what == "TABLE" else catalog.views)
        said = ".".join(alter.path)
        raise catalog.fail(f"unknown {alter.what.lower()} {said!r}{nearest(said, known)}", alter.place)
    name = catalog.find(alter.path, alter.place)
    if is_view is (alter.what == "TABLE"):
        other = "view" if is_view else "table"
        raise catalog.fail(f"{name} is a {other}: write ALTER {other.upper()}", alter.place)
    if isinstance(alter.action, RenameTo):
        catalog.rename(name, alter.action.path, alter.span)
    elif isinstance(alter.action, NewQuery):
        old = catalog.views.pop(name)
        view = CreateView(
            alter.span, tuple(name.split(".")), (), alter.action.query, False, alter.text, temporary=old.temporary
        )
        catalog.create_view(replace(view, path=catalog.place(name)))
    else:
        create = altered(statement_of(name, catalog), alter)
        catalog.tables[name] = bind_schema(create, alter.text)
        catalog.creates[name] = create
