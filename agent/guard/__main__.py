"""``python -m agent.guard site.toml``: what the supervisor and the systemd unit start."""

import sys

from agent.guard.lean import leave_out


def main(arguments: list[str]) -> int:
    """Run one site's guard until SIGTERM; return the exit code."""
    leave_out()
    from agent.guard.process import GuardSetupError, run
    from agent.process.entry import Entry

    without = "The guard controls nothing; the equipment runs its own plan."
    return Entry("guard", "agent.guard", run, GuardSetupError, without).main(arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
