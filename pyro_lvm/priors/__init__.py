"""Priors p(z): modules whose call returns a Pyro distribution with batch shape [] and the event shape of the latent.

Each kind of prior has its own file: normal, mixtures, VampPrior, flows, heavy tails, proportions, unit vectors, discrete codes.
"""
