"""The gateway's own processes, started by hand or by their systemd units."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

SitePath = Annotated[Path, Parameter(name="SITE.toml")]


def run(site: SitePath, /) -> int:
    """Run guard and agent of one site until Ctrl-C.

    Args:
        site: The site file.
    """
    from agent.cli.run import run as run_both

    return run_both(site)


def guard(site: SitePath, /) -> int:
    """Run the guard alone, as its systemd unit does.

    Args:
        site: The site file.
    """
    from agent.cli.run import run_guard

    return run_guard(site)


def agent(site: SitePath, /) -> int:
    """Run the agent alone, as its systemd unit does.

    Args:
        site: The site file.
    """
    from agent.cli.run import run_agent

    return run_agent(site)
