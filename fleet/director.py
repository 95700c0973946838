"""The manager's own key while it runs. It may be in a token that somebody takes out: then nothing is said, and work goes on."""

import time
from collections.abc import Callable

import structlog

from agent.wire.keyfile import KeyFileError, Signer
from fleet.errors import SigningError

TOLD_EVERY_S = 60.0


class DirectorKey:
    """A key that tells when it cannot sign, once a minute, and when it can again.

    Args:
        signer: whose signatures it hands on. now_s: monotonic.
    """

    def __init__(self, signer: Signer, now_s: Callable[[], float] = time.monotonic) -> None:
        self._signer = signer
        self._now_s = now_s
        self._told_s: float | None = None
        self._log = structlog.get_logger("fleet")
        self.problem = ""
        """Why it cannot sign, empty if it can."""

    @property
    def algorithm(self) -> int:
        """As the signer's."""
        return self._signer.algorithm

    @property
    def public_key(self) -> bytes:
        """As the signer's."""
        return self._signer.public_key

    @property
    def reference(self) -> str:
        """Nothing: it is never written."""
        return ""

    @property
    def as_signer(self) -> Signer:
        """The signer to use instead."""
        return Signer(self._signer.kid.decode(), self)

    def sign(self, message: bytes) -> bytes:
        """Return the 64 signature bytes.

        Raises:
            SigningError: it cannot; nothing was signed.
        """
        try:
            signature = self._signer.sign(message)
        except KeyFileError as error:
            self.problem, now_s = str(error), self._now_s()
            if self._told_s is None or now_s - self._told_s >= TOLD_EVERY_S:
                self._told_s = now_s
                self._log.error("director.cannot-sign", reason=self.problem)
            raise SigningError(f"the manager's own key cannot sign: {error}") from error
        if self.problem:
            self.problem, self._told_s = "", None
            self._log.info("director.signs")
        return signature
