"""Diagnosis of a pair: where prior and codes disagree, the terms of the KL, and which latents are in use."""
