"""The ledger, tested on real files."""
