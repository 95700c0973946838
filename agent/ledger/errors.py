"""What can go wrong with the ledger."""


class LedgerError(Exception):
    """Root: nothing of the failed write is stored, and nothing of it may be acted on."""


class LedgerBusyError(LedgerError):
    """Another process has this ledger open. Two writers would fork the streams."""


class UnsealableError(LedgerError):
    """What was to be sealed is not a link: our own bug, or outside bytes nobody cleaned."""


class UnsignedError(LedgerError):
    """The key does not sign: a token that was taken out, or hangs. The disk is not to blame."""
