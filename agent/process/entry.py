"""How guard and agent start: one site file, run until told to stop, one sentence when that cannot be."""

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from agent.model.site import Cabinet
from agent.model.site_file import SiteFileError, read_cabinet
from drivers.errors import TextFileError
from drivers.textfile import read_text

EXIT_DONE, EXIT_SETUP = 0, 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One process's way in.

    Args:
        name: as in ``guard: ...``. module: as in ``python -m``.
        run: runs the cabinet until SIGTERM; the path is the site file's folder.
        setup_error: what ``run`` raises when it cannot start.
        without: what becomes of the equipment then.
    """

    name: str
    module: str
    run: Callable[[Cabinet, Path], Awaitable[None]]
    setup_error: type[Exception]
    without: str

    def main(self, arguments: list[str]) -> int:
        """Run one site until SIGTERM; return the exit code."""
        if len(arguments) != 1:
            sys.stderr.write(f"usage: python -m {self.module} SITE.toml\n")
            return EXIT_SETUP
        path = Path(arguments[0])
        try:
            cabinet = read_cabinet(read_text(path), path.name)
            gc.freeze()
            asyncio.run(self._run(cabinet, path.parent))
        except (OSError, TextFileError, SiteFileError, self.setup_error) as error:
            sys.stderr.write(f"{self.name}: {error}\n{self.without}\n")
            return EXIT_SETUP
        except KeyboardInterrupt:
            pass
        return EXIT_DONE

    async def _run(self, cabinet: Cabinet, home: Path) -> None:
        await self.run(cabinet, home)
