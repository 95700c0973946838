"""``python -m agent.runtime site.toml``: what the supervisor and the systemd unit start."""

import sys

from agent.process.entry import Entry
from agent.runtime.errors import AgentSetupError
from agent.runtime.process import run

main = Entry(
    "agent", "agent.runtime", run, AgentSetupError, "The agent does not run; guard and equipment go on without it."
).main

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
