"""The contract with the fleet: envelope, trust, messages, topics, streams. Sans-IO, but for ``mqtt``.

It lives in the cabinet because the side that can hurt somebody owns the grammar of what it accepts.
"""
