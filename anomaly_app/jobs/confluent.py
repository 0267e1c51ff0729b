"""Tables without a connector, as Confluent Cloud has them, in the words of Flink's Kafka connectors.

Such a table is a topic of its own name; records are Avro, and the schema registry knows them. The primary key is the
record key, and left out of the value. ``'changelog.mode'`` says whether rows only come, or one takes the place of
another with its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anomaly_app.errors import SqlValidationError
from anomaly_app.expressions.tokens import Span
from anomaly_app.sql.statements import CreateTable, Option

_FORMATS = {"avro-registry": "avro-confluent", "avro-confluent": "avro-confluent", "json": "json", "raw": "raw"}
_INCLUDE = {"all": "ALL", "except-key": "EXCEPT_KEY"}
_PASSED = ("scan.startup.", "scan.bounded.", "scan.watermark.idle-timeout", "key.fields-prefix", "properties.", "topic")
_ISOLATION = "kafka.consumer.isolation-level"


def is_bare(create: CreateTable) -> bool:
    """Whether a table says nothing of a connector, or names Confluent's."""
    connector = next((one.value for one in create.options if one.key == "connector"), "confluent")
    return connector == "confluent"


def as_kafka(create: CreateTable, warnings: list[str] | None = None) -> CreateTable:
    """A table in the words of Flink's connectors; one that has a connector is given back as it is.

    Args:
        create: the statement.
        warnings: takes what is accepted but has no meaning here.

    Raises:
        SqlValidationError: an option says what is not supported.

    Example:
        >>> from anomaly_app.sql import parse_statements
        >>> (create,) = parse_statements("CREATE TABLE sales (id INT, qty INT, PRIMARY KEY (id) NOT ENFORCED) "
        ...                              "WITH ('changelog.mode' = 'append')")
        >>> said = {option.key: option.value for option in as_kafka(create).options}
        >>> said["connector"], said["topic"], said["key.fields"], said["value.fields-include"]
        ('kafka', 'sales', 'id', 'EXCEPT_KEY')
    """
    if not is_bare(create):
        return create
    said = {option.key: option for option in create.options}
    mode = _one_of(create, said.pop("changelog.mode", None), ("append", "upsert", "retract"))
    mode = mode or ("upsert" if create.primary_key else "append")
    if mode == "retract":
        problem = (
            "'changelog.mode' = 'retract' is not supported: 'upsert' with a PRIMARY KEY tells what became of a row"
        )
        raise _fail(create, "changelog.mode", problem)
    said.pop("connector", None)
    upsert = mode == "upsert"
    options = {"connector": "upsert-kafka" if upsert else "kafka", "topic": create.path[-1]}
    if not upsert:
        options["scan.startup.mode"] = "earliest-offset"
    options["value.format"] = _format(create, said.pop("value.format", None))
    key_format = _format(create, said.pop("key.format", None))
    include = _INCLUDE[_one_of(create, said.pop("value.fields-include", None), tuple(_INCLUDE)) or "except-key"]
    if create.primary_key:
        options |= {"key.format": key_format, "value.fields-include": include}
        if not upsert:
            options["key.fields"] = ";".join(create.primary_key)
    if _ISOLATION in said:
        options["properties.isolation.level"] = said.pop(_ISOLATION).value.replace("-", "_")
    for key, option in said.items():
        if key.startswith(_PASSED):
            options[key] = option.value
        elif warnings is not None:
            warnings.append(f"table {'.'.join(create.path)}: '{key}' has no meaning here and is ignored")
    made = tuple(Option(key, value, _span(create, key)) for key, value in options.items())
    # Of rows that only come, the key says where they lie, and not that there is one of each.
    return replace(create, options=made, primary_key=create.primary_key if upsert else ())


def _format(create: CreateTable, option: Option | None) -> str:
    return _FORMATS[_one_of(create, option, tuple(_FORMATS)) or "avro-registry"]


def _one_of(create: CreateTable, option: Option | None, values: Sequence[str]) -> str:
    """The value of an option; "" if it was not said."""
    if option is None:
        return ""
    value = option.value.strip().lower()
    if value not in values:
        raise _fail(create, option.key, f"'{option.key}' must be one of {', '.join(values)}, not {option.value!r}")
    return value


def _fail(create: CreateTable, key: str, problem: str) -> SqlValidationError:
    return SqlValidationError(f"table {'.'.join(create.path)}: {problem}", create.text, *_span(create, key))


def _span(create: CreateTable, key: str) -> Span:
    return next((option.span for option in create.options if option.key == key), create.span)
