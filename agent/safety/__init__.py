"""The kernel: rules, verdicts, modes, latches. Pure, standard library only."""
