"""Log-likelihoods of held-out data: importance weights, their reduction, and how far they can be trusted."""
