"""Why a pair fails: where prior and codes disagree, what the KL is made of, which latents are in use."""
