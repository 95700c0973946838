"""What can go wrong in the fleet manager. One root; the text is for a person."""


class FleetError(Exception):
    """Root: the manager cannot do what was asked. The equipment follows its cabinet, with or without us."""


class FolderError(FleetError):
    """The manager's folder, keys or database cannot be used."""


class StoreError(FleetError):
    """The database did not take it: nothing of it is durable, and nobody was told that it is."""


class SigningError(StoreError):
    """The manager's own key cannot sign: what needs its signature was neither stored nor said."""


class CertificateError(FleetError):
    """A certificate, a request for one or an authority's key cannot be used. Nothing was certified."""


class AskError(FleetError):
    """What was asked over HTTP cannot be done.

    Args:
        status: the HTTP status it becomes.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
