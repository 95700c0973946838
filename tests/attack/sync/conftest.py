"""The fleet manager's side as its own tests have it."""

from tests.fleet.conftest import bench, standin, trust, trust_folder

__all__ = ["bench", "standin", "trust", "trust_folder"]
