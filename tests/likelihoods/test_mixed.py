"""Tables of several kinds of columns: densities are the textbook's in the data's units, and missing cells are integrated out."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
from scipy import stats
import torch
from torch import nn

from inference import impute, log_weights
from inference.predictive.draws import sample_prior
import pyro_lvm as lvm

NAN = float("nan")
KINDS = ["category", "real", "ordinal", "count", "binary", "real", "ordinal", "category"]
NUM_VALUES = [3, 0, 4, 0, 2, 0, 2, 2]
LOC, SCALE = torch.tensor([9.0, 1000.0, 9.0, 9.0, 9.0, -3.0, 9.0, 9.0]), torch.tensor([2.0, 50.0, 2.0, 2.0, 2.0, 0.01, 2.0, 2.0])
NUM = lvm.MixedLikelihood.num_outputs(KINDS, NUM_VALUES)
ROWS = torch.tensor(
    [
        [2.0, 1033.0, 0.0, 4.0, 1.0, -3.002, 1.0, 0.0],
        [0.0, 950.0, 3.0, 0.0, 0.0, -2.99, 0.0, 1.0],
        [1.0, 990.0, 2.0, 17.0, 1.0, -3.01, 0.0, 1.0],
    ]
).double()


def made(df=None, dispersion=0.7) -> lvm.MixedLikelihood:
    """A likelihood whose network gives, at z, the outputs 0.1, 0.2, ... times z."""
    network = nn.Linear(1, NUM, bias=False)
    network.weight.data = torch.arange(1, NUM + 1)[:, None] / 10
    return lvm.MixedLikelihood(
        network,
        KINDS,
        NUM_VALUES,
        loc=LOC,
        scale=SCALE,
        noise=torch.tensor([0.5, 2.0]),
        df=df,
        dispersion=dispersion,
        thresholds=[torch.tensor([-1.0, 0.5, 0.7]), torch.tensor([0.3])],
    ).double()


def expected(x: np.ndarray, z: float, df, dispersion) -> list[float]:
    """Log densities of the cells of one row, by scipy."""
    f = np.arange(1, NUM + 1) / 10 * z
    (a, b), count, binary, ordinal, categories = f[:2], f[2], f[3], f[4:6], (f[6:9], f[9:11])

    def real(value, place, location, noise):
        scale = float(SCALE[place].double()) * noise
        at = float(LOC[place].double()) + float(SCALE[place].double()) * location
        return stats.norm.logpdf(value, at, scale) if df is None else stats.t.logpdf(value, df, at, scale)

    def below(thresholds, location):
        return np.concatenate([[0.0], 1 / (1 + np.exp(location - np.asarray(thresholds, dtype=np.float32))), [1.0]])

    def ordered(value, thresholds, location):
        return math.log(np.diff(below(thresholds, location))[int(value)])

    mean = math.exp(count)
    size = None if dispersion is None else 1 / dispersion
    counted = stats.poisson.logpmf(x[3], mean) if size is None else stats.nbinom.logpmf(x[3], size, size / (size + mean))
    logits = [each - np.log(np.exp(each).sum()) for each in categories]
    return [
        logits[0][int(x[0])],
        real(x[1], 1, a, 0.5),
        ordered(x[2], [-1.0, 0.5, 0.7], ordinal[0]),
        counted,
        stats.bernoulli.logpmf(x[4], 1 / (1 + np.exp(-binary))),
        real(x[5], 5, b, 2.0),
        ordered(x[6], [0.3], ordinal[1]),
        logits[1][int(x[7])],
    ]


@pytest.mark.parametrize(("df", "dispersion"), [(None, 0.7), (3.0, None)])
def test_every_column_has_the_density_of_its_kind_in_its_own_units(df, dispersion):
    z = torch.tensor([[0.3], [-1.0], [2.0]]).double()
    right = torch.tensor([expected(x.numpy(), float(at), df, dispersion) for x, at in zip(ROWS, z, strict=True)])
    fn = made(df, dispersion)(z)
    torch.testing.assert_close(fn.base_dist.log_prob(ROWS), right, rtol=1e-6, atol=1e-6)  # thresholds and noise begin in float32
    gaps = torch.rand(ROWS.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    torch.testing.assert_close(fn.log_prob(ROWS.masked_fill(gaps, NAN)), right.masked_fill(gaps, 0).sum(1), rtol=1e-6, atol=1e-6)


def test_gradients_are_those_of_the_observed_cells():
    likelihood, z = made(), torch.tensor([[0.3], [-1.0], [2.0]]).double()
    gaps = torch.rand(ROWS.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    likelihood(z).log_prob(ROWS.masked_fill(gaps, NAN)).sum().backward()
    gradients = [parameter.grad.clone() for parameter in likelihood.parameters()]
    likelihood.zero_grad()
    likelihood(z).base_dist.log_prob(ROWS).masked_fill(gaps, 0).sum().backward()
    for gradient, parameter in zip(gradients, likelihood.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


def test_draws_have_the_probabilities_and_moments_of_their_columns():
    torch.manual_seed(0)
    fn = made()(torch.tensor([0.5]).double())
    draws = fn.sample((20_000,))
    assert draws.shape == (20_000, 8) and bool(fn.support.check(draws).all())
    for place, probabilities in fn.base_dist.probabilities().items():
        shares = torch.stack([(draws[:, place] == code).double().mean() for code in range(NUM_VALUES[place])])
        torch.testing.assert_close(probabilities.sum(), torch.ones((), dtype=torch.double))
        assert ((shares - probabilities).abs() < 4.5 * (probabilities * (1 - probabilities) / 20_000).sqrt()).all(), place
    for place, mean, deviation in ((1, 1000 + 50 * 0.05, 25.0), (5, -3 + 0.01 * 0.1, 0.02), (3, math.exp(0.15), None)):
        error = draws[:, place].std() / 20_000**0.5
        assert abs(draws[:, place].mean() - mean) < 4.5 * error
        assert deviation is None or abs(draws[:, place].std() / deviation - 1) < 0.03


def test_cells_outside_their_columns_are_refused():
    fn = made()(torch.zeros(3, 1).double())
    for place, value in ((0, 3.0), (3, -1.0), (3, 0.5), (4, 2.0), (1, float("inf"))):
        x = ROWS.clone()
        x[1, place] = value
        assert fn.support.check(x).tolist() == [True, False, True], (place, value)
    assert fn.support.check(ROWS.masked_fill(ROWS > 2, NAN)).all()


class FactorAnalysis(nn.Module):
    """x = m + s (W z + b + noise), with the exact posterior given the observed cells as guide."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        noise = torch.rand(5) + 0.3
        self.loc, self.scale = torch.tensor([1e3, 0.0, -5.0, 2.0, 0.1]), torch.tensor([100.0, 1e-3, 1.0, 20.0, 3.0])
        network = lvm.MLP(2, [], 5)
        self.likelihood = lvm.MixedLikelihood(network, ["real"] * 5, [0] * 5, loc=self.loc, scale=self.scale, noise=noise).double()
        self.loc, self.scale = self.loc.double(), self.scale.double()

    @property
    def parameters_of_x(self):
        layer = self.likelihood.network.layers[0]
        return layer.weight.detach(), layer.bias.detach(), self.likelihood.noise.value.detach()

    def model(self, x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x):
        weight, bias, noise = self.parameters_of_x
        known = (~x.isnan()).double()
        rest = ((x - self.loc) / self.scale - bias).nan_to_num(nan=0.0) / noise**2
        precision = torch.eye(2).double() + torch.einsum("bi,ij,ik->bjk", known / noise**2, weight, weight)
        mean = torch.linalg.solve(precision, (rest @ weight)[..., None])[..., 0]
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.MultivariateNormal(mean, precision_matrix=precision))


def test_factor_analysis_with_missing_cells_has_its_closed_form():
    pair = FactorAnalysis()
    weight, bias, noise = pair.parameters_of_x
    generator = torch.Generator().manual_seed(1)
    x = pair.loc + pair.scale * torch.randn(30, 5, generator=generator).double()
    x[torch.rand(30, 5, generator=generator) < 0.4] = NAN
    x[0], x[1, 1:] = pair.loc, NAN
    found = log_weights(pair, x, num_particles=3, seed=0)
    for row, weights in zip(x, found.T, strict=True):
        known = ~row.isnan()
        mean = pair.loc + pair.scale * bias
        covariance = pair.scale[:, None] * (weight @ weight.T + (noise**2).diag()) * pair.scale
        exact = torch.distributions.MultivariateNormal(mean[known], covariance[known][:, known]).log_prob(row[known])
        torch.testing.assert_close(weights, exact.expand(3), rtol=0, atol=1e-6)


def test_latent_classes_with_missing_cells_are_enumerated():
    likelihood, shares = made(), torch.tensor([0.2, 0.5, 0.3]).double()
    places = torch.tensor([0.3, -1.0, 2.0]).double()

    def model(x):
        with pyro.plate("data", len(x)):
            label = pyro.sample("c", dist.Categorical(shares), infer={"enumerate": "parallel"})
            pyro.sample("x", likelihood(places[label][..., None]), obs=x)

    def guide(x):
        pass

    x = ROWS.repeat(4, 1)
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) < 0.3] = NAN
    cells = torch.tensor([[expected(row.nan_to_num().numpy(), float(z), None, 0.7) for row in x] for z in places])  # [3, B, 8]
    exact = (shares.log()[:, None] + cells.masked_fill(x.isnan(), 0).sum(-1)).logsumexp(0)
    torch.testing.assert_close(log_weights(lvm.Pair(model, guide), x, num_particles=1, seed=0)[0], exact, rtol=0, atol=1e-6)


def vae() -> lvm.VAE:
    torch.manual_seed(0)
    x = ROWS.float().repeat(3, 1)
    x[3, 1], x[4, 0] = NAN, NAN
    inputs = lvm.ColumnInputs(x, KINDS, NUM_VALUES)
    encoder = lvm.NormalEncoder(nn.Sequential(inputs, lvm.MLP(inputs.out_shape, [4], 2)))
    return lvm.VAE(lvm.StandardNormal(1), made().float(), encoder)


def test_the_contract_counts_observed_cells_and_names_the_measure():
    x = ROWS.float().clone()
    x[0, :3], x[2, 5] = NAN, NAN
    structure = lvm.check_pair(vae(), x)
    assert structure.measure == "mixed" and structure.num_elements == 3 * 8 - 4 and structure.refusal is None
    with pytest.raises(ValueError, match="data must lie in the support"):
        lvm.check_pair(vae(), x.index_fill(1, torch.tensor([4]), 2.0))


def test_missing_cells_are_drawn_in_the_kinds_of_their_columns():
    pair, x = vae(), ROWS.float().repeat(3, 1)
    gaps = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.4
    found = impute(pair, x.masked_fill(gaps, NAN), num_draws=5, num_particles=100, seed=0)
    likelihood = pair.likelihood(torch.zeros(9, 1))
    assert likelihood.support.check(found.draws).all() and torch.equal(found.draws[:, ~gaps], x[~gaps].expand(5, -1))
    assert likelihood.support.check(sample_prior(pair, x.masked_fill(gaps, NAN), seed=0)).all()


@pytest.mark.parametrize(
    ("kinds", "num_values", "options", "match"),
    [
        (["real", "whole"], [0, 0], {}, "kinds must be of real, .*; got 'whole' for column 1"),
        (["real"], [2], {}, "num_values of a real column must be 0; got 2"),
        (["category"], [0], {}, "num_values of a category column must be at least 1; got 0"),
        (["real"], [0], {"scale": torch.zeros(1)}, r"scale must have shape \(1,\) and finite positive numbers"),
        (["ordinal"], [3], {"thresholds": [torch.tensor([1.0, 0.0])]}, r"thresholds must increase, \[2\] of them"),
        ([], [], {}, "one entry for each column; got 0 and 0"),
    ],
)
def test_wrong_columns_are_refused(kinds, num_values, options, match):
    with pytest.raises(ValueError, match=match):
        lvm.MixedLikelihood(nn.Linear(1, 1), kinds, num_values, **options)


def test_a_network_of_another_width_is_refused():
    with pytest.raises(ValueError, match=r"must give \[\*lead, 1\]"):
        lvm.MixedLikelihood(nn.Linear(1, 3), ["real"], [0])(torch.zeros(2, 1))
