"""Networks for priors, likelihoods and encoders: perceptrons, convolutions, grids of vectors, flows, and their initialization."""
