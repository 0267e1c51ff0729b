"""The settings of a worker and of the tools: one typed tree, and for each value where it came from.

Command line comes before environment, environment before the TOML file, the file before the defaults. The file is the
one that ``ANOMALY_CONFIG`` names, else ``anomaly.toml`` in the working directory if there is one. ``kafka.group_id`` is
``ANOMALY_KAFKA__GROUP_ID`` in the environment; lists are separated by commas there. A secret may stand in a file of
its own: ``sasl_password_file`` in place of ``sasl_password``.
"""

from anomaly_app.settings.loading import (
    CONFIG_VARIABLE,
    CONNECTIONS,
    DEFAULT_FILE,
    KEYS,
    MASK,
    PREFIX,
    SECRETS,
    LoadedSettings,
    Shown,
    load_settings,
)
from anomaly_app.settings.sections import (
    LOCAL_BROKER,
    AlertSettings,
    FunctionSettings,
    KafkaSettings,
    LimitSettings,
    RegistrySettings,
    Settings,
    WebSettings,
    WorkerSettings,
    split_servers,
)

__all__ = [
    "CONFIG_VARIABLE",
    "CONNECTIONS",
    "DEFAULT_FILE",
    "KEYS",
    "LOCAL_BROKER",
    "MASK",
    "PREFIX",
    "SECRETS",
    "AlertSettings",
    "FunctionSettings",
    "KafkaSettings",
    "LimitSettings",
    "LoadedSettings",
    "RegistrySettings",
    "Settings",
    "Shown",
    "WebSettings",
    "WorkerSettings",
    "load_settings",
    "split_servers",
]
