"""Small models by recipe, and data drawn from what each likelihood can make."""

import torch
from torch import Tensor

from inference.data.load import Data
from inference.recipes.options import model_options

SMALL = model_options()(latent_dim=2, hidden=(6,), num_components=4, flow_transforms=1, flow_hidden=(8,), flow_context=3)
SUPPORTS = {
    "auto": lambda shape: torch.randint(2, shape),
    "mixed": lambda shape: torch.randn(shape),
    "bernoulli": lambda shape: torch.randint(2, shape),
    "gaussian": lambda shape: torch.randn(shape),
    "student-t": lambda shape: torch.randn(shape),
    "discretized-logistic": lambda shape: torch.randint(256, shape),
    "categorical": lambda shape: torch.randint(5, shape),
    "poisson": lambda shape: torch.randint(40, shape),
    "negative-binomial": lambda shape: torch.randint(40, shape),
    "zero-inflated-negative-binomial": lambda shape: torch.randint(40, shape),
    "multinomial": lambda shape: torch.randint(40, shape),
}


def draw(likelihood: str, *shape: int) -> Tensor:
    torch.manual_seed(0)
    return SUPPORTS[likelihood](shape).float()


def as_data(x: Tensor) -> Data:
    return Data("drawn", "drawn", x, x[:10], x[:10])
