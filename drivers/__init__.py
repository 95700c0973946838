"""The field protocols the gateway speaks."""
