"""What a request is, as ASGI has it: its scope."""

from typing import Any

from bettensor.neurons.edges.tls import key_that_serves

Scope = dict[str, Any]


def target_of(scope: Scope) -> str:
    """Path and query of a request, exactly as received."""
    query: bytes = scope["query_string"]
    target: bytes = scope["raw_path"] + (b"?" + query if query else b"")
    return target.decode("latin-1")


def headers_of(scope: Scope) -> dict[str, str]:
    """The headers of a request, by name in lower case. They are for no event: strangers may have secrets in them."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # RFC 9110, 5.3: field lines of one name mean the same as one line with their values and commas between them
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def remote_of(scope: Scope) -> str:
    """The peer's IP address."""
    return scope["client"][0] if scope["client"] else ""


def tls_key_of(scope: Scope) -> str:
    """The key of the certificate that serves the connection; empty if it is plain."""
    return key_that_serves(scope["extensions"]["bettensor"].transport)
