"""Conditional probabilities: p(y|x) of labels, and p(x1|x2) of parts of the data."""
