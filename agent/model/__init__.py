"""The nouns: equipment, commands, observations, site. Standard library only, pure."""
