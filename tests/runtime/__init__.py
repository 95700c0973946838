"""The agent process, tested on real sockets, files and virtual time."""
