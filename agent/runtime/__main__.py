"""``python -m agent.runtime site.toml``: what the supervisor and the systemd unit start."""

import asyncio
import gc
import sys
from pathlib import Path

from agent.model.site_file import SiteFileError, read_cabinet
from agent.runtime.errors import AgentSetupError
from agent.runtime.process import run

EXIT_DONE, EXIT_SETUP = 0, 2


def main(arguments: list[str]) -> int:
    """Run the agent of one site until SIGTERM."""
    if len(arguments) != 1:
        print("usage: python -m agent.runtime SITE.toml", file=sys.stderr)
        return EXIT_SETUP
    path = Path(arguments[0])
    try:
        cabinet = read_cabinet(path.read_text(), path.name)
        gc.freeze()
        asyncio.run(run(cabinet, path.parent))
    except (OSError, UnicodeDecodeError, SiteFileError, AgentSetupError) as error:
        print(f"agent: {error}\nThe agent did not start; guard and equipment go on without it.", file=sys.stderr)
        return EXIT_SETUP
    except KeyboardInterrupt:
        pass
    return EXIT_DONE


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
