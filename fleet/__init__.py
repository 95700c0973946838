"""The fleet manager: the city's side of every cabinet."""
