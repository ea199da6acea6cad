"""Trace a function once as a graph of tensor operations, improve the graph and compile it to machine code."""
