"""A supervisor over three shell programs, to be killed: ``python -m tests.process.keeping FOLDER``.

Each program writes its pid to ``<name>.pid`` when it runs and a line to ``stopped`` when it is asked to stop.
"""

import asyncio
import sys
from pathlib import Path

from agent.cli.supervisor import Program, Supervisor

STAGES = {"broker": 0, "hardware": 1, "cabinet": 2}
_SCRIPT = 'trap "echo $0 >> stopped; exit 0" TERM; echo $$ > $0.tmp; mv $0.tmp $0.pid; while :; do sleep 0.02; done'


def main(folder: Path) -> None:
    """Keep them running in ``folder``."""
    programs = tuple(
        Program(name, ("sh", "-c", f"cd {folder} && {_SCRIPT}", name), stage) for name, stage in STAGES.items()
    )
    asyncio.run(Supervisor(programs, lambda text: print(text, flush=True)).run())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
