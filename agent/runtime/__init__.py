"""The agent process: polling, lamp control, journal, courier, local API. Killing it leaves the guard working."""
