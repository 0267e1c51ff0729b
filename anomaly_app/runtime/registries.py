"""Clients of the schema registries that the formats of the jobs need."""

from __future__ import annotations

import ssl

from anomaly_app.errors import RegistryError
from anomaly_app.formats.registry import UNKNOWN_SCHEMA, Registry, RegistryRefusal
from anomaly_app.formats.topics import Topic, avro_options
from anomaly_app.settings import LoadedSettings


class Registries:
    """One client for each registry; the address and credentials of the settings come before those of a job.

    Args:
        loaded: the settings.
    """

    def __init__(self, loaded: LoadedSettings) -> None:
        self._settings = loaded.settings.registry
        self._origin = loaded.origins.get("registry.url", "default")
        self._clients: dict[tuple[str, tuple[str, str] | None], Registry] = {}
        try:
            ca_file = self._settings.ca_file
            self._tls = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
        except (ssl.SSLError, OSError) as error:
            raise loaded.error("registry.ca_file", f"not a certificate in PEM form: {error}") from error

    def of(self, topic: Topic) -> Registry | None:
        """The registry of a source or sink; None if it is not Avro.

        Raises:
            RegistryError: it is, and nothing says where the registry is.
        """
        options = avro_options(topic)
        if options is None:
            return None
        url = self._settings.url or options.url
        if not url:
            raise RegistryError(f"topic {topic.topic} is Avro: set 'url' of the format in the job, or registry.url")
        auth: tuple[str, str] | None = None
        if self._settings.username:
            auth = self._settings.username, self._settings.password.get_secret_value()
        elif options.user_info:
            user, _, password = options.user_info.partition(":")
            auth = user, password
        client = self._clients.get((url, auth))
        if client is None:
            client = self._clients[url, auth] = Registry(url, auth=auth, tls=self._tls)
        return client

    async def check(self) -> None:
        """Ask each registry something; raises RegistryError if it does not answer, refuses us, or is something else."""
        for client in self._clients.values():
            try:
                await client.schema(1)
            except RegistryRefusal as refusal:
                # Nobody needs to know schema 1, but only a registry answers with a code of its own.
                if refusal.error_code != UNKNOWN_SCHEMA:
                    raise

    async def close(self) -> None:
        """Close all connections; a client that is used again opens new ones."""
        for client in self._clients.values():
            await client.close()
