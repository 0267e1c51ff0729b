"""How Kafka is reached: settings as the arguments of aiokafka and of Faust."""

from __future__ import annotations

import ssl
from typing import Any

import faust

from anomaly_app.settings import LOCAL_BROKER, LoadedSettings, split_servers

CONNECT_TIMEOUT_MS = 8_000
"""A wrong address is an error within seconds, not minutes."""
FETCH_WAIT_MS = 500
"""How long a broker keeps a fetch to which it has nothing to say; it answers as soon as it has."""
METADATA_MS = 30_000
"""How soon a reader of delivery sees a partition that was added to a topic."""
MOCK_FETCH_WAIT_MS = 100
"""The same of the mock cluster, which answers at the end of that time only, and may be asked to create topics."""


def bootstrap_servers(loaded: LoadedSettings) -> list[str]:
    """The brokers of the settings, one host:port each."""
    return split_servers(loaded.settings.kafka.bootstrap_servers or LOCAL_BROKER)


def ssl_context(loaded: LoadedSettings) -> ssl.SSLContext | None:
    """The TLS side of the settings; None for a protocol without TLS.

    Raises:
        SettingsError: a certificate or key cannot be used.
    """
    kafka = loaded.settings.kafka
    if not kafka.security_protocol.endswith("SSL"):
        return None
    try:
        context = ssl.create_default_context(cafile=str(kafka.ssl_ca_file) if kafka.ssl_ca_file else None)
    except (ssl.SSLError, OSError) as error:
        raise loaded.error("kafka.ssl_ca_file", f"not a certificate in PEM form: {error}") from error
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_cert_file:
        try:
            context.load_cert_chain(
                str(kafka.ssl_cert_file),
                str(kafka.ssl_key_file) if kafka.ssl_key_file else None,
                kafka.ssl_key_password.get_secret_value() or None,
            )
        except (ssl.SSLError, OSError) as error:
            raise loaded.error("kafka.ssl_cert_file", f"certificate and key cannot be used: {error}") from error
    return context


def client_options(loaded: LoadedSettings) -> dict[str, Any]:
    """Connection arguments of any aiokafka client."""
    kafka = loaded.settings.kafka
    options: dict[str, Any] = {
        "bootstrap_servers": bootstrap_servers(loaded),
        "security_protocol": kafka.security_protocol,
        "ssl_context": ssl_context(loaded),
    }
    if kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": _mechanism(loaded),
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.get_secret_value(),
        }
    return options


def faust_credentials(loaded: LoadedSettings) -> Any:
    """The same for Faust's ``broker_credentials``; None for plain text."""
    kafka = loaded.settings.kafka
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.get_secret_value(),
            mechanism=_mechanism(loaded),
            ssl_context=ssl_context(loaded),
        )
    context = ssl_context(loaded)
    return faust.SSLCredentials(context) if context is not None else None


def _mechanism(loaded: LoadedSettings) -> str:
    kafka = loaded.settings.kafka
    if kafka.sasl_mechanism == "OAUTHBEARER":
        raise loaded.error(
            "kafka.sasl_mechanism", "OAUTHBEARER needs a token provider, which is not built in; use PLAIN or SCRAM"
        )
    if not kafka.sasl_username:
        raise loaded.error("kafka.sasl_username", f"{kafka.security_protocol} needs a user name")
    return kafka.sasl_mechanism
