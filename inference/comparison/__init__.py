"""Several models side by side: paired differences of their log-likelihoods, and a verdict in words."""
