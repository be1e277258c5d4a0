"""What stands before the page: only this machine, only with the token, only small requests.

The server listens on the loopback interface. Web pages that the same browser shows can still send requests
there, which is why every request must carry the token in its path, and must name this machine in ``Host``
(a page could let its own name lead here; Jackson et al. 2007, "Protecting browsers from DNS rebinding").
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

LARGEST_BODY = 16_384
"""Bytes of a request, at most."""

HOSTS = ("127.0.0.1", "localhost", "[::1]")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Guard:
    """An ASGI application that hands only permitted requests on, without the token in their path.

    Args:
        app: that answers them.
        token: first part of every path.
        remote_pictures: whether the browser may load pictures from other servers.
    """

    def __init__(self, app: App, token: str, remote_pictures: bool = False) -> None:
        self._app = app
        self._token = token.encode("ascii")
        self._headers = _headers(remote_pictures)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        if (refused := self._refusal(scope)) is not None:
            await self._refuse(send, *refused)
            return
        body = await _body(receive)
        if body is None:
            await self._refuse(send, 413, f"the request is larger than {LARGEST_BODY:,} bytes")
            return
        path = scope["path"].split("/", 2)
        inner = {name: value for name, value in scope.items() if name != "raw_path"}
        inner["path"] = f"/{path[2] if len(path) > 2 else ''}"
        await self._app(inner, _again(body, receive), self._with_headers(send))

    def _refusal(self, scope: MutableMapping[str, Any]) -> tuple[int, str] | None:
        """Status and sentence for a request that is not permitted."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not names_this_machine(hosts[0].decode("latin-1")):
            return 421, "the address must name this machine, as in http://127.0.0.1:8000/"
        first = scope["path"].split("/", 2)[1] if scope["path"].startswith("/") else ""
        if not secrets.compare_digest(first.encode("utf-8", "replace"), self._token):
            return 403, "the address has no valid token; open the one that 'robustcmr review' printed"
        return None

    async def _refuse(self, send: Send, status: int, why: str) -> None:
        headers = [*self._headers, (b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": f"{why}\n".encode()})

    def _with_headers(self, send: Send) -> Send:
        async def wrapped(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
            await send(message)

        return wrapped


def names_this_machine(host: str) -> bool:
    """Return whether a ``Host`` header is that of this machine, with any port.

    Example:
        >>> names_this_machine("localhost:8000"), names_this_machine("localhost.evil.example")
        (True, False)
    """
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()):
        name = host
    return name.lower() in HOSTS


def _headers(remote_pictures: bool) -> list[tuple[bytes, bytes]]:
    pictures = "'self' data: http: https:" if remote_pictures else "'self' data:"
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    values = {
        "content-security-policy": policy,
        "referrer-policy": "no-referrer",  # the address holds the token
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    return [(name.encode(), value.encode()) for name, value in values.items()]


async def _body(receive: Receive) -> bytes | None:
    """The body of a request; None where it is too large."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return body  # the browser has gone
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return body


def _again(body: bytes, receive: Receive) -> Receive:
    """Hand out a body that was read already, then what comes next."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
