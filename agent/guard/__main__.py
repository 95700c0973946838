"""``python -m agent.guard site.toml``: what the supervisor and the systemd unit start."""

import sys

from agent.guard.process import GuardSetupError, run
from agent.process.entry import Entry

main = Entry(
    "guard", "agent.guard", run, GuardSetupError, "The guard controls nothing; the equipment runs its own plan."
).main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
