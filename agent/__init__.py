"""Runs in the cabinet: model, safety kernel, wire contract, guard, runtime, CLI."""
