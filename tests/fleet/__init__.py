"""The fleet manager: ingest, store, commands, API, against real brokers, databases and sockets."""
