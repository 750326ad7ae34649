"""A guard before the application: requests of other sites are refused, answers say what they may.

A server on the loopback address can be reached by every page that is open in the browser. Pages of
other sites are told by what browsers send (`Origin`, `Sec-Fetch-Site`); names that lead to this
machine only since a moment ago (DNS rebinding), by `Host`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset(("127.0.0.1", "localhost", "[::1]"))
ANY_ADDRESS = frozenset(("0.0.0.0", "::"))

HEADERS = {
    # Nothing from elsewhere, nothing inline, no frames around it.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",  # pictures of people do not stay in the browser's cache
}


class Guard:
    """The application, asked only by its own page or by programs on a host name that is known."""

    def __init__(self, application: Application, host: str) -> None:
        self.application = application
        # Who listens on all addresses has no name to check.
        self.hosts = None if host in ANY_ADDRESS else LOOPBACK | {_bracketed(host).lower()}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                new = [pair for pair in added if pair[0] not in known]
                message = {**message, "headers": [*message["headers"], *new]}
            await send(message)

        if scope["type"] != "http":
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.application(scope, receive, send_with_headers)
            return
        body = json.dumps({"error": refusal}).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        start = {"type": "http.response.start", "status": 403, "headers": headers}
        await send_with_headers(start)
        await send({"type": "http.response.body", "body": body})

    def _refusal(self, scope: Message) -> str | None:
        """Why a request is not answered; None where it is."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in _own(scope)}
        host = headers.get("host", "")
        if self.hosts is not None and _without_port(host).lower() not in self.hosts:
            return f"host {host!r} is none of this server's names: {', '.join(sorted(self.hosts))}"
        if not scope["path"].startswith("/api/"):
            return None  # the page itself may be opened by a link
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "requests of other sites are not answered"
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return f"requests of {origin!r} are not answered, only those of this page"
        return None


def _own(scope: Message) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return headers


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0]
