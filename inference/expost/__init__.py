"""Priors fitted after training, to the codes of a fitted pair; its likelihood and guide stay as they are.

The codes, draws from the aggregate posterior, need not fill the prior. Each function fits a density to codes of training data and
returns a prior module, so that ``vae.with_prior(prior)`` samples and is scored like any other pair.
"""
