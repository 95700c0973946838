"""What can go wrong between a driver and its equipment. Each error says what is known about the equipment afterwards."""

from agent.safety.verdict import Refused


class DriverError(Exception):
    """Root of all driver errors."""


class LinkDownError(DriverError):
    """No connection. Nothing was sent; the equipment runs its own plan."""


class DeviceSilentError(DriverError):
    """No answer in time. A write may or may not have arrived: read back before believing either."""


class DeviceRefusedError(DriverError):
    """The equipment answered no. Nothing changed."""


class ApprovalLapsedError(DriverError):
    """When its turn came the write was no longer approved. Nothing was sent."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"{refused.rule}: {refused.reason}")
        self.refused = refused


class DeviceNonsenseError(DriverError):
    """The answer does not follow the protocol or the profile. Nothing in it is believed."""


class TextFileError(DriverError):
    """A file that is not there, or not what a person could have written; found at start, before anything is sent."""


class ProfileError(DriverError):
    """A register map that cannot be used; found at start, before anything is sent."""
