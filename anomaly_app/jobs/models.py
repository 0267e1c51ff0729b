"""What names of models and connections mean: the part of the catalog that CREATE MODEL and CREATE CONNECTION fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from anomaly_app.errors import OptionError, SqlValidationError
from anomaly_app.expressions.tokens import Span
from anomaly_app.models.model import MOST_VERSIONS, Model, Versions, split_version
from anomaly_app.models.options import call_options
from anomaly_app.models.providers import build, checked_task
from anomaly_app.patterns.clause import nearest
from anomaly_app.schema import Column
from anomaly_app.secrecy import MASK, is_elsewhere, is_secret, resolved
from anomaly_app.sql.commands import Drop, RenameTo, ResetOptions, SetOptions
from anomaly_app.sql.model_statements import AlterModel, CreateConnection, CreateModel
from anomaly_app.sql.statements import ColumnDefinition, Option

DEFAULT_VERSION = "default_version"
_ALL = "all"


@dataclass(frozen=True, slots=True)
class Connection:
    """What CREATE CONNECTION says.

    Args:
        name: of the connection.
        options: as written, perhaps with a secret among them.
        comment: for people.
    """

    name: str
    options: Mapping[str, str] = field(repr=False)
    comment: str = ""

    @property
    def shown(self) -> Mapping[str, str]:
        """The options for people."""
        return {
            key: MASK if is_secret(key) and not is_elsewhere(value) else value for key, value in self.options.items()
        }


class ModelCatalog:
    """Models and connections by name.

    Args:
        name: the full name of a path.

    Attributes:
        models: all versions of each model.
        connections: made by CREATE CONNECTION.
        given: connections of the settings, whose options come before those of a job.
        warnings: what is accepted, but should be said otherwise.
    """

    def __init__(self, name: Callable[[Sequence[str]], str]) -> None:
        self._name = name
        self.models: dict[str, Versions] = {}
        self.connections: dict[str, Connection] = {}
        self.given: Mapping[str, Mapping[str, str]] = {}
        self.warnings: list[str] = []
        self._statements: dict[tuple[str, int], CreateModel] = {}

    # --- connections ------------------------------------------------------------------------------

    def create_connection(self, create: CreateConnection) -> None:
        """CREATE CONNECTION; raises ``SqlValidationError`` if the name is taken."""
        name = self._name(create.path)
        if name in self.connections and not create.or_replace:
            if create.if_not_exists:
                return
            raise _fail(create, create.place, f"connection {name} is created twice: write CREATE OR REPLACE CONNECTION")
        self._warn(name, create.options)
        self.connections[name] = Connection(name, _values(create, create.options), create.comment)

    def _warn(self, name: str, options: Sequence[Option]) -> None:
        for option in options:
            if is_secret(option.key) and not is_elsewhere(option.value):
                self.warnings.append(
                    f"'{option.key}' of {name} is written in the SQL, where others may read it: '${{env:NAME}}' and "
                    f"'${{file:path}}' say where it is, or [connections.{name}] of the settings has it"
                )

    def connection(self, path: Sequence[str]) -> Connection | None:
        """A connection; of one that the settings have too, their options come first. None if there is none."""
        name = self._name(path)
        known = self.connections.get(name)
        given = next((one for one in self.given if _folded(one) == _folded(name)), None)
        if given is None:
            return known
        before = known.options if known is not None else {}
        overridden = {_folded(key) for key in self.given[given]}
        kept = {key: value for key, value in before.items() if _folded(key) not in overridden}
        return Connection(name, kept | dict(self.given[given]), known.comment if known is not None else "")

    # --- models -----------------------------------------------------------------------------------

    def create_model(self, create: CreateModel) -> None:
        """CREATE MODEL: the first version, or another one.

        Raises:
            SqlValidationError: something of it is wrong, as far as that can be known; points there.
        """
        name = self._name(create.path)
        if split_version(name)[1]:
            raise _fail(create, create.place, "a new model has no version in its name: it gets the next number")
        versions = self.models.get(name)
        if versions is not None and create.if_not_exists:
            return
        if versions is not None and len(versions.all) >= MOST_VERSIONS:
            problem = (
                f"model {name} has {MOST_VERSIONS} versions, which is the most: DROP MODEL {name}${min(versions.all)}"
            )
            raise _fail(create, create.place, problem)
        number = versions.last + 1 if versions is not None else 1
        model = self._model(name, number, create)
        if versions is None:
            versions = self.models[name] = Versions(name, default=number)
        versions.all[number], versions.last = model, number
        self._statements[name, number] = create
        self._warn(name, create.options)

    def _model(self, name: str, number: int, create: CreateModel) -> Model:
        inputs, outputs = _columns(create, create.inputs), _columns(create, create.outputs)
        options = _values(create, create.options)
        provider = options.get("provider", "").strip().lower()
        if not provider:
            raise _fail(create, create.span, f"model {name} has no option 'provider', such as 'onnx' or 'azureml'")
        connection: Mapping[str, str] = {}
        said = next(
            (one for one in create.options if one.key.lower() in ("connection", f"{provider}.connection")), None
        )
        if said is not None:
            found = self.connection(said.value.split("."))
            if found is None:
                known = [*self.connections, *self.given]
                hint = f": CREATE CONNECTION it first, or set [connections.{said.value}]"
                raise _fail(
                    create,
                    said.span,
                    f"unknown connection {said.value!r}{nearest(said.value, known) if known else hint}",
                )
            kind = found.options.get("type", provider).strip().lower()
            if kind != provider:
                problem = (
                    f"connection {found.name} has the type '{kind}', and the provider of the model is '{provider}'"
                )
                raise _fail(create, said.span, problem)
            connection = _secrets(create, found.options, said.span, f"connection {found.name}")
        given = _secrets(create, options, create.span, f"model {name}")
        try:
            task = checked_task(options.get("task"))
            call_options(_bare(provider, given))
            asked = build(provider, task, inputs, outputs, given, connection)
        except OptionError as error:
            raise _fail(create, _place_of(create, error.option), f"model {name}: {error}") from None
        kept = {key: value for key, value in options.items() if not is_secret(key) or is_elsewhere(value)}
        return Model(name, number, inputs, outputs, provider, task, kept, create.comment, asked)

    def find_model(self, path: Sequence[str]) -> Model | None:
        """The version that a path names, or the default one; None if there is none."""
        versions, version = self._versions(path)
        if versions is None:
            return None
        return versions.all.get(int(version) if version.isdigit() else versions.default)

    def versions_of(self, path: Sequence[str]) -> list[Model]:
        """The versions that a path names: the default one, one, or with ``$all`` all; [] if there is none."""
        versions, version = self._versions(path)
        if versions is None:
            return []
        if version == _ALL:
            return [versions.all[number] for number in sorted(versions.all)]
        model = self.find_model(path)
        return [model] if model is not None else []

    def default_of(self, model: Model) -> int:
        """Number of the version that the bare name means."""
        return self.models[model.name].default

    def statement_of(self, model: Model) -> CreateModel:
        """The statement that made a version."""
        return self._statements[model.name, model.version]

    def _versions(self, path: Sequence[str]) -> tuple[Versions | None, str]:
        bare, version = split_version(path[-1])
        return self.models.get(self._name((*path[:-1], bare))), version

    def unknown(self, path: Sequence[str]) -> str:
        """What to say of a model that there is none of."""
        bare, version = split_version(path[-1])
        versions, _ = self._versions(path)
        if versions is not None:
            have = ", ".join(map(str, sorted(versions.all)))
            return f"model {versions.name} has no version {version!r}: it has {have}"
        hint = nearest(bare, list(self.models)) if self.models else ": CREATE MODEL it first"
        return f"unknown model {'.'.join((*path[:-1], bare))!r}{hint}"

    # --- changing and dropping --------------------------------------------------------------------

    def alter(self, alter: AlterModel) -> None:
        """ALTER MODEL and ALTER CONNECTION; raises ``SqlValidationError``."""
        if alter.what == "CONNECTION":
            self._alter_connection(alter)
            return
        versions, version = self._versions(alter.path)
        if versions is None or (version and version != _ALL and int(version) not in versions.all):
            if alter.if_exists:
                return
            raise _fail(alter, alter.place, self.unknown(alter.path))
        action = alter.action
        if isinstance(action, RenameTo):
            self._rename(versions, alter, action)
            return
        if isinstance(action, SetOptions):
            for option in action.options:
                if option.key.lower().replace("-", "_") == DEFAULT_VERSION:
                    number = int(option.value) if option.value.strip().isdigit() else 0
                    if number not in versions.all:
                        have = ", ".join(map(str, sorted(versions.all)))
                        problem = f"model {versions.name} has no version {option.value!r}: it has {have}"
                        raise _fail(alter, option.span, problem)
                    versions.default = number
        others = [one for one in _changed(action) if one.lower().replace("-", "_") != DEFAULT_VERSION]
        if others:
            self._change(versions, int(version) if version.isdigit() else versions.default, alter)

    def _change(self, versions: Versions, number: int, alter: AlterModel) -> None:
        before = self._statements[versions.name, number]
        options = tuple(one for one in _altered(before.options, alter) if one.key.lower() != DEFAULT_VERSION)
        # Places are those of the ALTER: the statement before stands in another text.
        moved = tuple(replace(one, span=alter.span) for one in (*before.inputs, *before.outputs))
        create = replace(
            before, span=alter.span, place=alter.place, text=alter.text, options=options,
            inputs=moved[: len(before.inputs)], outputs=moved[len(before.inputs) :],
        )  # fmt: skip
        versions.all[number] = self._model(versions.name, number, create)
        self._statements[versions.name, number] = create

    def _rename(self, versions: Versions, alter: AlterModel, action: RenameTo) -> None:
        new = self._name(action.path)
        if new in self.models:
            raise _fail(alter, alter.span, f"model {new} is there already")
        old = versions.name
        del self.models[old]
        versions.name, self.models[new] = new, versions
        versions.all = {number: replace(model, name=new) for number, model in versions.all.items()}
        for number in versions.all:
            self._statements[new, number] = self._statements.pop((old, number))

    def _alter_connection(self, alter: AlterModel) -> None:
        name = self._name(alter.path)
        known = self.connections.get(name)
        if known is None:
            if alter.if_exists:
                return
            raise _fail(alter, alter.place, f"unknown connection {name!r}{nearest(name, list(self.connections))}")
        if isinstance(alter.action, RenameTo):
            new = self._name(alter.action.path)
            if new in self.connections:
                raise _fail(alter, alter.span, f"connection {new} is there already")
            self.connections[new] = replace(self.connections.pop(name), name=new)
            return
        before = tuple(Option(key, value, alter.span) for key, value in known.options.items())
        options = _altered(before, alter)
        self._warn(name, alter.action.options if isinstance(alter.action, SetOptions) else ())
        self.connections[name] = replace(known, options={one.key: one.value for one in options})

    def drop(self, drop: Drop, text: str) -> None:
        """DROP MODEL and DROP CONNECTION; raises ``SqlValidationError`` if there is none."""
        if drop.what == "CONNECTION":
            name = self._name(drop.path)
            if self.connections.pop(name, None) is None and not drop.if_exists:
                hint = nearest(name, list(self.connections))
                raise SqlValidationError(f"unknown connection {name!r}{hint}", text, *drop.place)
            return
        versions, version = self._versions(drop.path)
        if versions is None or (version.isdigit() and int(version) not in versions.all):
            if drop.if_exists:
                return
            raise SqlValidationError(self.unknown(drop.path), text, *drop.place)
        if version.isdigit():
            del versions.all[int(version)]
            if versions.all and versions.default not in versions.all:
                versions.default = min(versions.all)
        if not version.isdigit() or not versions.all:
            del self.models[versions.name]


def _columns(create: CreateModel, definitions: Sequence[ColumnDefinition]) -> tuple[Column, ...]:
    columns: list[Column] = []
    for definition in definitions:
        if any(column.name == definition.name for column in columns):
            raise _fail(create, definition.span, f"column {definition.name!r} is there twice")
        assert definition.type is not None, "the parser gives every column of a model a type"
        columns.append(Column(definition.name, definition.type))
    return tuple(columns)


def _values(statement: CreateModel | CreateConnection, options: Sequence[Option]) -> dict[str, str]:
    values: dict[str, str] = {}
    for option in options:
        if option.key in values:
            raise _fail(statement, option.span, f"option '{option.key}' is there twice")
        values[option.key] = option.value
    return values


def _secrets(create: CreateModel, options: Mapping[str, str], place: Span, whose: str) -> dict[str, str]:
    """Options with what stands elsewhere in its place."""
    found: dict[str, str] = {}
    for key, value in options.items():
        try:
            found[key] = resolved(value)
        except ValueError as error:
            span = next((one.span for one in create.options if one.key == key), place)
            raise _fail(create, span, f"'{key}' of {whose}: {error}") from None
    return found


def _bare(provider: str, options: Mapping[str, str]) -> dict[str, str]:
    return {key.lower().removeprefix(f"{provider}."): value for key, value in options.items()}


def _changed(action: SetOptions | ResetOptions) -> Sequence[str]:
    return [one.key for one in action.options] if isinstance(action, SetOptions) else action.keys


def _altered(options: Sequence[Option], alter: AlterModel) -> tuple[Option, ...]:
    """Options as SET or RESET leaves them, at the place of that statement."""
    action = alter.action
    assert not isinstance(action, RenameTo)
    gone = set(_changed(action))
    kept = tuple(replace(one, span=alter.span) for one in options if one.key not in gone)
    return (*kept, *action.options) if isinstance(action, SetOptions) else kept


def _place_of(create: CreateModel, name: str) -> Span:
    """Where an option or a column stands; the whole statement if it stands nowhere."""
    named = [(one.key, one.span) for one in create.options]
    named += [(one.name, one.span) for one in (*create.inputs, *create.outputs)]
    short = name.rpartition(".")[2].replace("-", "_")
    spans = [span for key, span in named if name in (key, key.lower())]
    spans += [span for key, span in named if short and key.lower().rpartition(".")[2].replace("-", "_") == short]
    return spans[0] if spans else create.span


def _fail(statement: CreateModel | CreateConnection | AlterModel, span: Span, problem: str) -> SqlValidationError:
    """An error in a statement."""
    return SqlValidationError(problem, statement.text, *span)


def _folded(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")
