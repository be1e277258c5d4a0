"""Serve the page on the loopback interface until Ctrl-C."""

from __future__ import annotations

import secrets
import socket

import uvicorn

from robustcmr.errors import UserError
from robustcmr.review.guard import App

LOOPBACK = "127.0.0.1"


def new_token() -> str:
    """Return a token of 32 random bytes for the address of a page."""
    return secrets.token_urlsafe(32)


def listen(port: int) -> socket.socket:
    """Return a socket that listens on the loopback interface alone.

    Args:
        port: 0 for any that is free.

    Raises:
        UserError: the port cannot be had.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((LOOPBACK, port))
        found.listen(128)
    except (OSError, OverflowError) as error:
        found.close()
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(
            f"port {port} cannot be used: {why}; choose another one, or --port 0 for any that is free"
        ) from error
    return found


def address(listening: socket.socket, token: str) -> str:
    """Return the address of the page."""
    return f"http://{LOOPBACK}:{listening.getsockname()[1]}/{token}/"


def server(app: App) -> uvicorn.Server:
    """Return a server of an application, quiet and without a log of its addresses, as they hold the token."""
    config = uvicorn.Config(
        app,
        log_level="error",
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=16_384,
    )
    return uvicorn.Server(config)
