"""What tests of priors and encoders share."""

import torch


def perturbed(build, scale):
    """A module far enough from its start that no flow is the identity and no two weights are equal."""
    torch.manual_seed(0)
    module = build()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return module


def grid(limit, points=301):
    axis = torch.linspace(-limit, limit, points, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), (axis[1] - axis[0]) ** 2  # [N, 2], area of a cell


def random_logits(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def assert_frequencies(p, z):
    """Draws ``[N, *S]`` against the exact mass of every state, within 5 standard errors."""
    states = p.enumerate_support()
    mass = p.log_prob(states).exp()
    weights = p.num_codes ** torch.arange(p.event_shape.numel()).flip(0)
    counts = torch.bincount((z.flatten(1) * weights).sum(1), minlength=len(states))
    error = (mass * (1 - mass) / len(z)).sqrt()
    assert ((counts / len(z) - mass).abs() < 5 * error).all()
