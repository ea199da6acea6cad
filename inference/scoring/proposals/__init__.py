"""Proposals refined for each datum: a normal distribution fitted to p(z|x), and draws from heavy-tailed mixtures around it."""
