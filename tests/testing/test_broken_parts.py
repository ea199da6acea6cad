"""Parts that are broken in one way each fail the check that is for it, in an error that names the remedy."""

import numpy as np
import pyro
import pyro.distributions as dist
from pyro.distributions import TorchDistribution
import pytest
import torch
from torch import Size, Tensor, nn

import pyro_lvm as lvm
from pyro_lvm.testing import check_encoder, check_likelihood, check_pair, check_prior


class Normal(dist.Normal):
    """Normal distribution whose batch shape expands as one of the same class."""

    def expand(self, batch_shape, _instance=None):
        return type(self)(self.loc.expand(batch_shape), self.scale.expand(batch_shape), validate_args=False)


class Prior(nn.Module):
    """A correct prior, of which all others are variants: D normal numbers with learned means and scales."""

    kind: type = Normal

    def __init__(self, latent_dim: int = 1) -> None:
        super().__init__()
        self.loc, self.log_scale = nn.Parameter(torch.zeros(latent_dim)), nn.Parameter(torch.zeros(latent_dim))

    def forward(self) -> TorchDistribution:
        return self.kind(self.loc, self.log_scale.exp()).to_event(1)


def drawing(**methods: object) -> type[Prior]:
    """A prior whose distribution has other methods."""
    return type("Broken", (Prior,), {"kind": type("BrokenNormal", (Normal,), methods)})


def log_prob_of(f: object) -> type[Prior]:
    return drawing(log_prob=lambda self, z: f(self, z, lambda z: Normal.log_prob(self, z)))  # type: ignore[operator]


def rsample_of(f: object) -> type[Prior]:
    def rsample(self: dist.Normal, sample_shape: Size = Size()) -> Tensor:
        e = torch.randn(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        return f(self, e)  # type: ignore[operator]

    return drawing(rsample=rsample, sample=lambda self, sample_shape=Size(): rsample(self, sample_shape).detach())


class NoEvent(Prior):
    def forward(self) -> TorchDistribution:
        return self.kind(self.loc, self.log_scale.exp())


class Attribute(Prior):
    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.ones(1)

    def forward(self) -> TorchDistribution:
        return self.kind(self.loc + self.shift.to(self.loc), self.log_scale.exp()).to_event(1)


class MadeInForward(Prior):
    def forward(self) -> TorchDistribution:
        return self.kind(self.loc + torch.ones(3), self.log_scale.exp()).to_event(1)


class FixedDtype(Prior):
    def forward(self) -> TorchDistribution:
        return self.kind(self.loc.float(), self.log_scale.exp().float()).to_event(1)


class Idle(Prior):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.ones(1))


class Unsaved(Prior):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.randn(1), persistent=False)

    def forward(self) -> TorchDistribution:
        return self.kind(self.loc + self.shift, self.log_scale.exp()).to_event(1)


class HoldsItself(Prior):
    def __init__(self) -> None:
        super().__init__()
        self.mean = lambda: self.loc

    def forward(self) -> TorchDistribution:
        return self.kind(self.mean(), self.log_scale.exp()).to_event(1)


class Stale(Prior):
    kept = None

    def forward(self) -> TorchDistribution:
        if torch.is_grad_enabled():
            return super().forward()
        if self.kept is None:
            self.kept = self.loc.clone(), self.log_scale.exp()
        return self.kind(*self.kept).to_event(1)


class Counting(Prior):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self) -> TorchDistribution:
        self.calls += 1
        return super().forward()


class WithoutScale(nn.Module):
    """Four correlated numbers whose density lacks the determinant: no quadrature shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = nn.Parameter(torch.zeros(4, 4))

    def forward(self) -> TorchDistribution:
        tril = self.root.tril(-1) + self.root.diagonal().exp().diag()

        class Lacking(dist.MultivariateNormal):
            def log_prob(self, z: Tensor) -> Tensor:
                return super().log_prob(z) + 0.1

            def expand(self, batch_shape, _instance=None):
                return super().expand(batch_shape, self._get_checked_instance(Lacking, _instance))

        return Lacking(tril.new_zeros(4), scale_tril=tril)


def numpy_noise(p: dist.Normal, e: Tensor) -> Tensor:
    return p.loc + p.scale * torch.as_tensor(np.random.default_rng().standard_normal(e.shape)).to(e)


def one_draw(p: dist.Normal, e: Tensor) -> Tensor:
    return p.loc + p.scale * e[..., :1].flatten()[0].expand_as(e)


BROKEN = {
    "normalization": (log_prob_of(lambda p, z, log_prob: log_prob(z) + 0.01), "integrates to 1; got 1.0101"),
    "normalization, in 4 dimensions": (WithoutScale, r"integrates to 1; got 1\.1.* by importance sampling"),
    "scale of draws": (rsample_of(lambda p, e: p.loc + 1.1 * p.scale * e), "draws of Broken: expected .*Draw in sample"),
    "place of draws": (rsample_of(lambda p, e: p.loc + 0.1 + p.scale * e), "draws of Broken: expected"),
    "shape of draws": (rsample_of(lambda p, e: p.loc + p.scale * 1.7 * e.sign() * torch.rand_like(e)), "draws of Broken: expected"),
    "mean": (drawing(mean=property(lambda self: self.loc + 0.01)), "the mean of Broken: expected"),
    "event shape": (NoEvent, r"expected batch shape \(\); got \(1,\).*\.to_event\(1\)"),
    "constant as attribute": (Attribute, "Attribute.shift: expected a parameter or a buffer"),
    "constant made in forward": (
        MadeInForward,
        "on another device: expected all tensors there; got operations with tensors on the cpu, add",
    ),
    "fixed dtype": (FixedDtype, "with weights of torch.float64: expected torch.float64; got torch.float32"),
    "no gradient of draws": (rsample_of(lambda p, e: (p.loc + p.scale * e).detach()), "expected draws with gradients; got draws without"),
    "no gradient of the scale": (rsample_of(lambda p, e: p.loc + p.scale.detach() * e), "with respect to log_scale: expected"),
    "detached density": (log_prob_of(lambda p, z, f: Normal(p.loc.detach(), p.scale).log_prob(z)), "log_prob with respect to loc"),
    "gradient of values": (log_prob_of(lambda p, z, f: f(z.detach()) + 0 * z), "gradcheck of a draw to work"),
    "idle parameter": (Idle, "with respect to unused: expected one that is not zero; got zero. Use it in forward"),
    "in place": (log_prob_of(lambda p, z, f: f(z) + 0 * (z.mul_(1.5) if not z.requires_grad else z)), "its argument unchanged"),
    "buffer changed": (Counting, "Counting.calls in evaluation mode: expected no change"),
    "not saved": (Unsaved, "saved and loaded: expected the same log density.*persistent buffers"),
    "holds itself": (HoldsItself, "HoldsItself, copied, with other weights: expected the same log density.*hold the module itself"),
    "stale": (Stale, "Stale, copied, with other weights: expected the same log density"),
    "noise of NumPy": (rsample_of(numpy_noise), "from one seed: expected equal draws"),
    "one draw": (rsample_of(one_draw), "expected draws that differ; got copies of one draw"),
    "expand": (drawing(expand=lambda self, batch_shape, _instance=None: self), r"a draw expanded to \(4, 3\): expected shape \(4, 3, 1\)"),
}


def test_what_the_broken_parts_are_variants_of_passes() -> None:
    assert len(check_prior(Prior)) >= 12
    check_prior(rsample_of(lambda p, e: p.loc + p.scale * e))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_priors_fail(name: str) -> None:
    build, message = BROKEN[name]
    with pytest.raises(AssertionError, match=message):
        check_prior(build)


class MeanOverRows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = lvm.MLP(3, [4], 4)

    def forward(self, x: Tensor) -> TorchDistribution:
        loc, log_scale = self.network(x - x.mean(0)).chunk(2, -1)
        return Normal(loc, log_scale.exp()).to_event(1)


class ScoreFunction(MeanOverRows):
    def forward(self, x: Tensor) -> TorchDistribution:
        loc, log_scale = self.network(x).chunk(2, -1)
        return type("Unreparameterized", (Normal,), {"has_rsample": False})(loc, log_scale.exp()).to_event(1)


def test_broken_encoders_fail() -> None:
    x = torch.rand(4, 3)
    with pytest.raises(AssertionError, match="row 0 alone: expected the log density of the batch.*rows independently"):
        check_encoder(MeanOverRows, x)
    with pytest.raises(AssertionError, match="expected draws with gradients .has_rsample.; got none.*reparameterized=False"):
        check_encoder(ScoreFunction, x)
    check_encoder(ScoreFunction, x, reparameterized=False)


class Truncated(dist.Poisson):
    def sample(self, sample_shape: Size = Size()) -> Tensor:
        return super().sample(sample_shape).clamp(max=3.0)

    def expand(self, batch_shape, _instance=None):
        return type(self)(self.rate.expand(batch_shape), validate_args=False)


class Shifted(Truncated):
    sample = dist.Poisson.sample

    def log_prob(self, x: Tensor) -> Tensor:
        return super().log_prob(x) + 0.001


class Counts(lvm.PoissonLikelihood):
    kind = Truncated

    def elements(self, params: Tensor) -> TorchDistribution:
        return self.kind(params.exp(), validate_args=False)


@pytest.mark.parametrize(("kind", "message"), [(Truncated, "draws of Mutant: expected the frequencies"), (Shifted, "got 1.0010")])
def test_broken_likelihoods_fail(kind: type, message: str) -> None:
    mutant = type("Mutant", (Counts,), {"kind": kind})
    with pytest.raises(AssertionError, match=message):
        check_likelihood(lambda: mutant(lvm.MLP(2, [4], 3)), torch.randn(3, 2))


class Whole(nn.Module):
    """A pair of a linear model and guide."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder, self.encoder = nn.Linear(1, 3), nn.Linear(3, 2)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            loc, log_scale = self.encoder(self.centered(x)).chunk(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))

    def centered(self, x: Tensor) -> Tensor:
        return x


class OverRows(Whole):
    def centered(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Frozen(Whole):
    def centered(self, x: Tensor) -> Tensor:
        return self.scale.detach() * x

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))


def test_broken_pairs_fail() -> None:
    x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert len(check_pair(Whole, x)) == 6
    with pytest.raises(AssertionError, match="the first row of OverRows beside other rows"):
        check_pair(OverRows, x)
    with pytest.raises(AssertionError, match="expected one for every parameter; got none for scale"):
        check_pair(Frozen, x)


def test_what_cannot_be_checked_is_refused() -> None:
    prior = Prior()
    with pytest.raises(TypeError, match="got a module itself. Pass a function"):
        check_prior(prior)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="got the same Prior twice"):
        check_prior(lambda: prior)
    with pytest.raises(ValueError, match="at most 131072 joint values; got"):
        check_prior(lambda: lvm.CategoricalCodePrior((16,), 4))
    with pytest.raises(ValueError, match="at least 2 rows"):
        check_encoder(MeanOverRows, torch.rand(1, 3))
