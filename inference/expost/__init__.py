"""Priors fitted after training to the codes of a pair, whose likelihood and guide are left unchanged.

The codes are draws from the aggregate posterior, which need not match the prior. Each function fits a density to codes of training
data and returns a prior module, so that ``vae.with_prior(prior)`` samples and is scored like any other pair.
"""
