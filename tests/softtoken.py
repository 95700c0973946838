"""A token in software, SoftHSM's, of this test process: it reads its environment once, so there is one."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from agent.wire.token import TokenUri

MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


@cache
def soft_token(program: Path) -> TokenUri:
    """An empty token; what this process starts finds it too."""
    folder = Path(tempfile.mkdtemp(prefix="armoire-token-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    pin = folder / "pin"
    pin.write_text("4711\n")
    pin.chmod(0o640)
    os.environ["SOFTHSM2_CONF"] = str(folder / "conf")
    made = [str(program), "--init-token", "--free", "--label", "armoire", "--so-pin", "0815", "--pin", "4711"]
    subprocess.run(made, check=True, capture_output=True, timeout=30)
    return TokenUri("armoire", "", next(each for each in MODULES if Path(each).exists()), str(pin))
