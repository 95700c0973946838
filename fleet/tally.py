"""Figures of ingest."""

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """What ingest has done since the start, for the metrics. Only counts up."""

    batches: int = 0
    samples: int = 0
    events: int = 0
    duplicates: int = 0
    ahead: int = 0
    bytes: int = 0
