"""What a process must never forget: sealed streams, command counters, latches. SQLite, one writer, fsync before "yes"."""
