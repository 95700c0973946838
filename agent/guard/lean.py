"""What the guard does without: the libraries that ordinary imports bring along and that it never uses.

It opens no TLS connection (cabinet devices speak none, and its own door is a unix socket), so nothing of libssl and
libcrypto need be in the one process that must not fail: 5 MB less to lock into memory, and as much less code that could
be wrong. Python provides for a build without them: asyncio and hashlib then do without, and SHA-256 is Python's own C.
Signatures are not concerned: they are those of ``cryptography``, which carries its own code. Of pymodbus the half that answers instead of asking stays out as well.
"""

import sys
from types import ModuleType
from typing import NoReturn

LEFT_OUT = ("ssl", "_hashlib", "typing_extensions")
"""The last is a second copy of what Python 3.11 has; msgspec looks for it first and takes either."""


class _NoTls:
    """Stands where pymodbus names a TLS context. It may be made, because pymodbus makes one while it is imported."""

    def __init__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name}: this process was started without TLS")


def leave_out() -> bool:
    """Keep those libraries out of this process; call it before anything else is imported.

    Returns:
        Whether that was done: not where they are here already, as in a test.
    """
    if any(name in sys.modules for name in (*LEFT_OUT, "asyncio")):
        return False
    for name in LEFT_OUT:
        sys.modules[name] = None  # type: ignore[assignment] # Python's word for "there is none": ImportError
    import asyncio  # noqa: F401 - finds no ssl, and remembers that

    # pymodbus, unlike asyncio, cannot be imported without these names.
    _stand_in("ssl", SSLContext=_NoTls, PROTOCOL_TLS_CLIENT=0, SSLWantReadError=BlockingIOError)
    _stand_in("pymodbus.datastore", ModbusServerContext=object)  # Only ever named, in what a server would call.
    return True


def _stand_in(name: str, **attributes: object) -> None:
    module = ModuleType(name)
    vars(module).update(attributes)
    sys.modules[name] = module
