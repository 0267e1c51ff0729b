"""Tables described by a file: a CREATE TABLE among SQL statements, or an Avro schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anomaly_app.errors import DataError, SqlError, SqlValidationError
from anomaly_app.jobs.tables import bind_sink
from anomaly_app.jobs.topic_tables import Sink
from anomaly_app.sql import parse_statements
from anomaly_app.sql.statements import CreateTable

_PLAIN = {
    "string": "STRING",
    "int": "INT",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "boolean": "BOOLEAN",
    "bytes": "BYTES",
}
_LOGICAL = {
    "timestamp-millis": "TIMESTAMP(3)",
    "local-timestamp-millis": "TIMESTAMP(3)",
    "timestamp-micros": "TIMESTAMP(6)",
    "local-timestamp-micros": "TIMESTAMP(6)",
    "date": "DATE",
    "time-millis": "TIME(3)",
}


def sink_of(path: Path, topic: str, key: str = "") -> Sink:
    """The table of a topic, to be written.

    Args:
        path: a ``.sql`` file with the CREATE TABLE of the topic among others, or an ``.avsc`` file with the Avro schema
            of the values, and of nothing nested.
        topic: its topic.
        key: with an Avro schema, the columns of the key, separated by commas; "" for none.

    Raises:
        DataError: the file cannot be read, or describes no such table.
        SqlError: its SQL is wrong.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if path.suffix == ".avsc":
        text = statement_of(_schema(path, text), topic, [one.strip() for one in key.split(",") if one.strip()])
    elif key:
        raise DataError(f"{path} says what the key is; leave --key out")
    try:
        tables = [each for each in parse_statements(text) if isinstance(each, CreateTable)]
        found = [sink for sink in (_sink(table, text) for table in tables) if sink is not None and sink.topic == topic]
    except SqlError as error:
        raise error.in_file(path) from None
    if len(found) != 1:
        problem = "several tables of" if found else "no table of"
        raise DataError(f"{path} has {problem} topic {topic}")
    return found[0]


def _sink(table: CreateTable, text: str) -> Sink | None:
    """None for a table that cannot be written, such as one with metadata."""
    try:
        return bind_sink(table, text, [])
    except SqlValidationError:
        if len(table.columns) and not any(column.metadata for column in table.columns):
            raise
        return None


def _schema(path: Path, text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is no Avro schema: {error}") from error
    if not isinstance(schema, dict) or schema.get("type") != "record" or not isinstance(schema.get("fields"), list):
        raise DataError(f"{path} is no Avro schema of a record")
    return schema


def statement_of(schema: dict[str, Any], topic: str, key: list[str]) -> str:
    """The CREATE TABLE of a topic whose values have an Avro schema.

    Raises:
        DataError: a field has a type that a CSV file cannot hold.

    Example:
        >>> fields = [{"name": "qty", "type": ["null", "int"]}]
        >>> print(statement_of({"type": "record", "name": "r", "fields": fields}, "sales", []).partition(" WITH")[0])
        CREATE TABLE `sales` (`qty` INT)
    """
    columns = [f"`{name}` INT NOT NULL" for name in key if all(each["name"] != name for each in schema["fields"])]
    columns += [f"`{each['name']}` {_type(each['name'], each['type'])}" for each in schema["fields"]]
    options = {
        "connector": "kafka",
        "topic": topic,
        "value.format": "avro-confluent",
        "value.avro-confluent.schema": json.dumps(schema),
    }
    if key:
        options |= {"key.format": "avro-confluent", "key.fields": ";".join(key)}
        if any(all(each["name"] != name for each in schema["fields"]) for name in key):
            options["value.fields-include"] = "EXCEPT_KEY"
    listed = ", ".join(f"'{name}' = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in options.items())
    return f"CREATE TABLE `{topic}` ({', '.join(columns)}) WITH ({listed})"


def _type(name: str, node: Any) -> str:
    nullable = isinstance(node, list) and "null" in node
    branches = [each for each in node if each != "null"] if isinstance(node, list) else [node]
    inner = branches[0] if len(branches) == 1 else None
    logical = inner.get("logicalType") if isinstance(inner, dict) else None
    plain = inner.get("type") if isinstance(inner, dict) else inner
    if logical == "decimal" and isinstance(inner, dict):
        found: str | None = f"DECIMAL({inner['precision']}, {inner.get('scale', 0)})"
    else:
        found = _LOGICAL.get(str(logical)) or (_PLAIN.get(plain) if isinstance(plain, str) else None)
    if found is None:
        raise DataError(f"field {name!r} of the schema is {json.dumps(node)}: a CSV file cannot hold that")
    return found if nullable else f"{found} NOT NULL"
