"""Networks of priors, likelihoods and encoders: perceptrons, convolutions, grids of vectors, flows, and how their training starts."""
