"""PARSE_URL, as ``java.net.URL`` takes a URL apart."""

from __future__ import annotations

import ipaddress
import re

_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9.+-]*):")
_KNOWN = frozenset({"http", "https", "ftp", "file", "jar", "mailto"})
_BLANKS = "".join(map(chr, range(33)))


def _host_of(authority: str) -> tuple[str | None, str]:
    """User information and host.

    Raises:
        ValueError: the address or port is none.
    """
    user: str | None = None
    host = authority
    if "@" in authority:
        user, _, host = authority.partition("@")
        if "@" in host:
            return None, ""
    if host.startswith("["):
        address, closed, port = host.partition("]")
        if not closed or (port and not port.startswith(":")):
            raise ValueError(f"{host!r} is no address")
        ipaddress.IPv6Address(address[1:].partition("%")[0])
        host, port = address + "]", port[1:]
    else:
        host, _, port = host.partition(":")
    if port and not port.isdecimal():
        raise ValueError(f"{port!r} is no port")
    return user, host


def parse_url(url: str, part: str, key: str | None = None) -> str | None:
    """A part of a URL: HOST, PATH, QUERY, REF, PROTOCOL, AUTHORITY, FILE or USERINFO, or a key of the query.

    Example:
        >>> url = "http://ann@h:80/a/b?x=1&y=2#top"
        >>> parse_url(url, "HOST"), parse_url(url, "FILE"), parse_url(url, "QUERY", "y"), parse_url("h/a", "HOST")
        ('h', '/a/b?x=1&y=2', '2', None)
    """
    text = url.strip(_BLANKS)
    text = text[4:] if text[:4].lower() == "url:" else text
    found = _PROTOCOL.match(text)
    if found is None or (protocol := found[1].lower()) not in _KNOWN:
        return None
    rest, hash_sign, ref = text[found.end() :].partition("#")
    rest, question, query = rest.partition("?")
    authority: str | None = None
    user: str | None = None
    path, host = rest, ""
    if rest.startswith("//") and protocol not in ("jar", "mailto"):
        authority, slash, path = rest[2:].partition("/")
        path = slash + path
        try:
            user, host = _host_of(authority)
        except ValueError:
            return None
    if key is not None:
        if part != "QUERY" or not question:
            return None
        value = re.search(f"(?:&|^){re.escape(key)}=([^&]*)", query)
        return value[1] if value else None
    return {
        "HOST": host,
        "PATH": path,
        "QUERY": query if question else None,
        "REF": ref if hash_sign else None,
        "PROTOCOL": protocol,
        "AUTHORITY": authority,
        "FILE": path + question + query,
        "USERINFO": user,
    }.get(part)
