"""The agent process: everything in the cabinet that cannot hurt anybody."""
