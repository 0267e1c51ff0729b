"""User name and password as HTTP sends them."""

from __future__ import annotations

import base64


def basic_auth(user: str, password: str) -> str:
    """The header ``Authorization``; aiohttp's own function for it is not in all releases that we allow.

    Example:
        >>> basic_auth("ann", "secret")
        'Basic YW5uOnNlY3JldA=='
    """
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
