"""Log-likelihoods of held-out data: importance weights, their reduction, and their reliability."""
