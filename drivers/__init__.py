"""Equipment on its own wires: one folder per protocol, a pure codec and an async driver each."""
