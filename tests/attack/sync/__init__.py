"""Attacks on what passes between gateway and fleet manager."""
