"""``armoire run``, ``armoire guard``, ``armoire agent``: the processes of one cabinet."""

import asyncio
import os
import sys
from pathlib import Path

from agent.cli.supervisor import Program, Supervisor
from agent.model.equipment import Bollard, Junction
from agent.model.site_file import SiteFileError, read_cabinet
from drivers.errors import TextFileError
from drivers.textfile import read_text

EXIT_DONE, EXIT_USAGE = 0, 2


def run(site: Path) -> int:
    """Supervise guard and agent of one site until Ctrl-C; a cabinet without protected equipment runs no guard."""
    try:
        cabinet = read_cabinet(read_text(site), site.name)
    except (TextFileError, SiteFileError) as error:
        print(f"{error}\nNothing was started; the equipment runs its own plan.", file=sys.stderr)
        return EXIT_USAGE
    agent = Program("agent", (sys.executable, "-m", "agent.runtime", str(site)))
    guard = Program("guard", (sys.executable, "-m", "agent.guard", str(site)))
    protected = any(isinstance(equipment, Junction | Bollard) for equipment in cabinet.site.equipment.values())
    programs = (guard, agent) if protected else (agent,)
    supervisor = Supervisor(
        programs, lambda text: print(f"{cabinet.site.gateway}: {text}", file=sys.stderr, flush=True)
    )
    if asyncio.run(supervisor.run()):
        return EXIT_DONE
    print(
        f"{site}: nothing runs; the equipment runs its own plan. Repair what is said above and start again.",
        file=sys.stderr,
    )
    return EXIT_USAGE


def run_guard(site: Path) -> int:
    """Become the guard alone: a new program, because this one has loaded much that a guard never does."""
    os.execv(sys.executable, (sys.executable, "-m", "agent.guard", str(site)))


def run_agent(site: Path) -> int:
    """Run the agent alone, as its systemd unit does."""
    from agent.runtime.__main__ import main

    return main([str(site)])
