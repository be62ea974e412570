"""The one request that needs no signature: whether a validator works (protocol, "HTTP exchanges")."""

from typing import Final

from bus.events import HttpRequestReceived

HEALTH_PATH: Final = "/ws/health"


def asks_for_health(request: HttpRequestReceived) -> bool:
    """Whether ``request`` is for the health of a validator; with another method it is refused like any other."""
    path, _, _ = request.target.partition("?")
    return path == HEALTH_PATH and request.method in ("GET", "HEAD")
