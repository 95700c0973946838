"""The wire, tested from both ends."""
