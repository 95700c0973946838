"""What guard and agent share as processes: clock, local socket, liveness."""
