"""The street hardware, on real wires, without the street."""
