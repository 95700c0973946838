"""What ``--json`` prints."""

import msgspec


def print_json(answer: object) -> int:
    """Print a document, indented; return the exit code of success."""
    print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    return 0
