"""``python -m agent.cli``: the same as ``armoire``."""

import sys

from agent.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
