"""What can go wrong with the agent as a process."""


class AgentError(Exception):
    """Root."""


class AgentSetupError(AgentError):
    """The agent cannot start; the reason is for the person who installs it. Nothing was sent to any equipment."""


class TransportError(AgentError):
    """The broker is not there, refuses, or fell silent. What was being published may or may not have arrived."""
