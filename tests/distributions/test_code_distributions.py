"""Distributions of codes against enumeration and torch.distributions."""

import math

from parts import assert_frequencies, random_logits
import pyro
import pytest
import torch
from torch import nn

from inference.tracing.trace import trace
from pyro_lvm.distributions.codes import AutoregressiveCodes, CategoricalCodes, UniformCodes

V = 3


# Densities


@pytest.mark.parametrize(("shape", "event_dims"), [((2, 3), 1), ((5, 2, 3), 1), ((4, 5, 2, 2, 3), 2)])
def test_categorical_codes_are_torchs_categorical(shape, event_dims):
    logits = random_logits(*shape).requires_grad_()
    p = CategoricalCodes(logits, event_dims)
    reference = torch.distributions.Independent(torch.distributions.Categorical(logits=logits), event_dims)
    assert p.batch_shape == reference.batch_shape and p.event_shape == reference.event_shape
    z = reference.sample((6,))
    torch.testing.assert_close(p.log_prob(z), reference.log_prob(z), rtol=0, atol=1e-12)
    weight = torch.randn_like(p.log_prob(z))
    got, expected = (torch.autograd.grad((weight * q.log_prob(z)).sum(), logits)[0] for q in (p, reference))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_values_and_batches_broadcast():
    p = CategoricalCodes(random_logits(5, 2, V), 1)
    z = p.sample((4,))  # [4, 5, 2]
    expected = torch.distributions.Independent(torch.distributions.Categorical(logits=p.logits), 1).log_prob(z)
    torch.testing.assert_close(p.expand((4, 5)).log_prob(z), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(p.log_prob(z[0, 0]), p.log_prob(z[0, 0].expand(5, 2)), rtol=0, atol=0)
    assert p.expand((4, 5)).log_prob(z[0]).shape == (4, 5)
    assert p.log_prob(z.int()).equal(p.log_prob(z))


def test_a_density_scored_without_gradients_still_has_one():
    logits = random_logits(2, V).requires_grad_()
    p, z = CategoricalCodes(logits, 1), torch.tensor([0, 2])
    with torch.no_grad():
        assert not p.log_prob(z).requires_grad
    expected = nn.functional.one_hot(z, V) - logits.softmax(-1)
    torch.testing.assert_close(torch.autograd.grad(p.log_prob(z), logits)[0], expected, rtol=0, atol=1e-12)


# Draws


@torch.no_grad()
def test_every_row_of_a_batch_is_drawn_from_its_own_table():
    torch.manual_seed(4)
    logits = 2 * random_logits(3, 1, 2, V)  # sizes of 1 are expanded, the others kept
    p = CategoricalCodes(logits, 1).expand((2, 3, 4))
    z = p.sample((5000,))
    assert z.shape == (5000, 2, 3, 4, 2)
    for row in range(3):
        assert_frequencies(CategoricalCodes(logits[row, 0], 1), z[:, :, row].reshape(-1, 2))


@pytest.mark.parametrize("dead", [0, 1, 3])
def test_a_code_of_no_mass_is_never_drawn(dead, monkeypatch):
    logits = torch.zeros(2, 4)
    logits[:, dead] = -torch.inf
    p = CategoricalCodes(logits, 1, validate_args=True)
    for extreme in (0.0, 1 / 3, 2 / 3, 1 - 2.0**-53):  # ends, and the edges between codes
        monkeypatch.setattr(torch, "rand", lambda *shape, extreme=extreme, **kw: torch.full(shape, extreme, **kw))
        assert (p.sample((5,)) != dead).all()
    assert p.log_prob(torch.tensor([dead, 2])) == -torch.inf


def test_a_code_of_little_mass_is_drawn_where_its_turn_comes(monkeypatch):
    """A mass of 1e-9 after one of nearly 1: float32 sums would never reach it."""
    p = CategoricalCodes(torch.tensor([[0.0, math.log(1e-9)]]), 1)
    for number, code in ((1 - 0.9e-9, 1), (1 - 1.1e-9, 0)):
        monkeypatch.setattr(torch, "rand", lambda *shape, number=number, **kw: torch.full(shape, number, **kw))
        assert p.sample() == code


# Expanding and enumerating


def test_expanding_copies_nothing_and_changes_no_density():
    logits = random_logits(1, 2, 2, V)
    p = CategoricalCodes(logits, 2)
    wide = p.expand((3, 100, 7))
    assert wide.logits.data_ptr() == logits.data_ptr() and wide.logits.untyped_storage().nbytes() == logits.nbytes
    assert wide.expand((2, 3, 100, 7)).batch_shape == (2, 3, 100, 7)
    z = wide.sample()
    assert wide.log_prob(z).shape == (3, 100, 7)
    torch.testing.assert_close(wide.log_prob(z), CategoricalCodes(logits[0], 2).log_prob(z), rtol=0, atol=0)
    assert wide.conditional_logits(z).data_ptr() == wide.conditional_logits(z).data_ptr()  # normalized once


def test_nothing_as_large_as_codes_times_v_is_made():
    """The largest tensor of a density and its gradient, and of a draw, read off their graphs."""
    particles, size, slots, codes = 50, 8, 3, 64
    logits = torch.randn(size, slots, codes, requires_grad=True)

    def scored(z):
        log_prob = CategoricalCodes(logits, 1).expand((particles, size)).log_prob(z)
        return log_prob, *torch.autograd.grad(log_prob.sum(), logits)

    z = torch.randint(codes, (particles, size, slots))
    drawn = trace(lambda z: (CategoricalCodes(logits, 1).expand((particles, size)).sample(),), z)
    for graph in (trace(scored, z), drawn):
        numels = [node.meta["val"].numel() for node in graph.module.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
        assert max(numels) == max(z.numel(), logits.numel())


def test_enumerated_values_are_in_raster_order():
    p = CategoricalCodes(random_logits(5, 2, 2, V), 2)
    values = p.enumerate_support(expand=False)
    assert values.shape == (81, 1, 2, 2) and p.enumerate_support().shape == (81, 5, 2, 2)
    assert values.flatten(1).equal(torch.cartesian_prod(*[torch.arange(V)] * 4))
    torch.testing.assert_close(p.log_prob(values).exp().sum(0), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-12)


def test_the_largest_enumeration_is_allowed():
    assert UniformCodes((5,), 16).enumerate_support(expand=False).shape == (2**20, 5)


# Errors


def test_nan_logits_are_named():
    logits = torch.zeros(2, V)
    logits[0, 0] = torch.nan
    with pytest.raises(ValueError, match="parameter logits .* CategoricalCodes"):
        CategoricalCodes(logits, 1, validate_args=True)
    p = AutoregressiveCodes(lambda z: logits.expand(*z.shape, V), (2,), V, validate_args=True)
    with pytest.raises(ValueError, match="parameter logits"):
        p.log_prob(torch.zeros(2, dtype=torch.long))
    with pyro.validation_enabled(False):
        broken = CategoricalCodes(logits, 1, validate_args=False)
        assert broken.sample((50,)).max() < V and broken.log_prob(broken.sample()).isnan()


@pytest.mark.parametrize("value", [torch.tensor([0, V]), torch.tensor([-1, 0]), torch.zeros(3, dtype=torch.long)])
@pytest.mark.parametrize(
    "p",
    [
        UniformCodes((2,), V, validate_args=True),
        CategoricalCodes(torch.zeros(2, V), 1, validate_args=True),
        AutoregressiveCodes(lambda z: torch.zeros(*z.shape, V), (2,), V, validate_args=True),
    ],
    ids=["uniform", "categorical", "autoregressive"],
)
def test_values_outside_the_support_are_refused(p, value):
    with pytest.raises(ValueError, match="within the support|size of tensor|event_shape|broadcastable"):
        p.log_prob(value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CategoricalCodes(torch.zeros(V), 0), r"event_dims=0.*shape \(1,\)"),
        (lambda: CategoricalCodes(torch.zeros(2, V), 2), "event_dims=2"),
        (lambda: CategoricalCodes(torch.zeros(0, V), 1), "sizes of at least 1"),
        (lambda: UniformCodes((), V), "at least one slot dimension"),
        (lambda: CategoricalCodes(torch.zeros(5, 2, V), 1).expand((4,)), r"cannot be expanded to \(4,\)"),
        (lambda: CategoricalCodes(torch.zeros(5, 2, V), 1).expand(()), "cannot be expanded"),
        (lambda: UniformCodes((21,), 2).enumerate_support(), r"at most 1048576 .* got 2\*\*21.*fewer slots"),
        (lambda: AutoregressiveCodes(lambda z: torch.zeros(2, V), (2,), V).sample((4,)), r"must return logits of shape \(4, 2, 3\)"),
    ],
)
def test_errors_name_what_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()
