"""A pair as a graph of tensor operations: traced once, improved, and compiled to machine code."""
