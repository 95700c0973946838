"""The gateway's certificate for the broker, read anew for every connection, so that a renewal needs no restart.

    <state>/tls/ca.pem         whom we believe to be our broker: the city's own authority, no other
    <state>/tls/gateway.pem    our certificate, and the issuing authority's
    <state>/tls/gateway.key    mode 0600; TLS only, it never signs a message

A certificate that is missing, unreadable or over says so at each attempt to connect, and stops nothing else.
"""

import ssl
import stat
from pathlib import Path

from agent.runtime.errors import TransportError

CA, CERTIFICATE, KEY = "ca.pem", "gateway.pem", "gateway.key"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class _ClosingSocket(ssl.SSLSocket):
    """A handshake that fails closes its socket: the MQTT client would leave that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def read_context(folder: Path) -> ssl.SSLContext:
    """What a connection to a broker needs.

    Raises:
        TransportError: a file is missing, no such thing, or the key can be read by others.
    """
    try:
        if mode := (folder / KEY).stat().st_mode & _OTHERS:
            raise TransportError(f"{folder / KEY}: others may read this private key (mode ..{mode:02o}): chmod 600 it")
        context = ssl.create_default_context(cafile=folder / CA)
        context.sslsocket_class = _ClosingSocket
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY, password=_no_passphrase)
    except ssl.SSLError as error:
        raise TransportError(f"{folder}: {CA}, {CERTIFICATE} and {KEY} do not fit: {error}") from error
    except OSError as error:
        raise TransportError(f"{error.filename or folder}: {error.strerror}; enrol the gateway first") from error
    return context


def _no_passphrase() -> str:
    """OpenSSL would ask on the terminal: a cabinet starts without a person."""
    return ""
