"""Who may talk to the API from a browser: only pages this manager served itself.

There is no login yet, so the address is the guard: we listen on loopback unless told otherwise, and a page of somebody
else's, open in an operator's browser, must not reach us. Two ways it would try: a cross-site POST (its Origin is not
ours) and DNS rebinding (its Host is a name that is not ours).
"""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SAME_SITE = frozenset({"same-origin", "none"})
CONTENT_TYPES = frozenset({"application/json", "application/pkcs10"})
"""A page of another site can send neither without asking first."""
CONTENT_POLICY = (
    b"default-src 'self'; "
    b"style-src 'self' 'unsafe-inline'; "  # Leaflet positions its panes by inline styles; scripts stay ours alone.
    b"img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; object-src 'none'"
)
HEADERS = (
    (b"content-security-policy", CONTENT_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Origins:
    """Which hosts we answer to.

    Args:
        names: beyond loopback, as given with ``--listen``.
        any_address: answer to every literal address too: a rebinding attack needs a name.
    """

    def __init__(self, names: Iterable[str] = (), *, any_address: bool = False) -> None:
        self._names = LOCAL_NAMES | {name.lower() for name in names}
        self._any_address = any_address

    def problem(self, method: str, headers: dict[str, str]) -> str:
        """Why a request may not pass, or empty."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"this manager does not answer to the name {host[:100]!r}: use the address it printed at its start"
        if method in SAFE_METHODS:
            return ""
        origin = headers.get("origin")
        if origin is not None and _authority(origin) != host:
            return f"a page of {origin[:100]!r} may not command: open the console at the manager's own address"
        if headers.get("sec-fetch-site", "none") not in SAME_SITE:
            return "a page of another site may not command: open the console at the manager's own address"
        if headers.get("content-type", "").partition(";")[0].strip() not in CONTENT_TYPES:
            return "send application/json"
        return ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return self._any_address


def _authority(origin: str) -> str:
    """Host and port of a web page's origin; empty, which no host is, for anything else."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return ""
    return parts.netloc if parts.scheme in {"http", "https"} else ""


def guarded(app: ASGIApp, origins: Origins) -> ASGIApp:
    """Wrap an application: strangers get 403, every answer its security headers."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return  # Nothing here speaks anything else.
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        problem = origins.problem(scope["method"], headers)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = [(name, value) for name, value in HEADERS if name not in present]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        if problem:
            await _refuse(send_with_headers, problem)
        else:
            await app(scope, receive, send_with_headers)

    return serve


async def _refuse(send: Send, problem: str) -> None:
    body = msgspec.json.encode({"detail": problem})
    await send(
        {
            "type": "http.response.start",
            "status": 403,
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
