"""Models: modules that turn priors, likelihoods and encoders into Pyro's model and guide.

They have one level of latents, several levels, or discrete codes.
"""
