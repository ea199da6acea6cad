"""Models: modules that turn priors, likelihoods and encoders into Pyro's model and guide.

One level of latents, several levels, or discrete codes.
"""
