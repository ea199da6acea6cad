"""Priors p(z): modules whose call returns a Pyro distribution with batch shape [] and the event shape of the latent.

One file a kind of prior: normal, mixtures, VampPrior, flows, heavy tails, proportions, unit vectors, discrete codes.
"""
