"""Classical latent variable models as pairs with exact scores, to stand beside the models of a comparison."""
