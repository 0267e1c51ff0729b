"""``anomaly config``: every setting with its origin."""

from __future__ import annotations

from anomaly_app.cli.options import ConfigFile, Json, Set, load
from anomaly_app.cli.output import print_json, print_table


def config(config: ConfigFile = None, set: Set = None, json: Json = False) -> None:
    """Print every setting with its value and where it came from; secrets are masked.

    Example: anomaly config --set kafka.bootstrap_servers=broker:9092
    """
    shown = list(load(config, set).shown())
    if json:
        print_json({key: {"value": value, "origin": origin} for key, value, origin in shown})
        return

    def written(value: object) -> str:
        if isinstance(value, list):
            return ",".join(str(part) for part in value)
        return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)

    print_table(("setting", "value", "origin"), [(key, written(value), origin) for key, value, origin in shown])
