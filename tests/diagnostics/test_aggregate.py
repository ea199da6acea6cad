"""The aggregate posterior against brute force: every path, every block size, leave-one-fold-out, marginals."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference.densities.layout import Layout
from inference.diagnostics.aggregate import is_matrix_form, leave_out, log_fold_sums, log_marginals
from pyro_lvm import MLP, VAE, BernoulliLikelihood, FlowEncoder, Pair, StandardNormal, iaf
from pyro_lvm.pair import param_scope

D = 3
X = torch.randn(23, 2 * D, generator=torch.Generator().manual_seed(0)).double()
Z = torch.randn(17, D, generator=torch.Generator().manual_seed(1)).double() * 2
FOLDS = [torch.arange(g, 23, 4) for g in range(4)]
BROADCAST, TILED = Layout(True), Layout(False)


def posterior(x):
    return dist.Normal(x[:, :D], 0.01 + x[:, D:] ** 2)  # some scales are small


def in_rows(normal):
    return dist.Normal(normal.loc[:, None], normal.scale[:, None]).to_event(2)


def pair_of(make_posterior):
    def model(x):
        raise NotImplementedError

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", make_posterior(x))

    return Pair(model, guide)


def one_by_one(x):
    """Every feature a site of its own."""
    with pyro.plate("data", len(x)):
        for d in range(D):
            pyro.sample(f"z{d}", dist.Normal(x[:, d], 0.01 + x[:, D + d] ** 2))


MATRIX = pair_of(lambda x: posterior(x).to_event(1))
PAIRS = {
    "matrix": (MATRIX, {"z": Z}),
    "two event dimensions": (pair_of(lambda x: in_rows(posterior(x))), {"z": Z[:, None]}),
    "a site for each feature": (Pair(lambda x: None, one_by_one), {f"z{d}": Z[:, d] for d in range(D)}),
}
EXPECTED = posterior(X).to_event(1).log_prob(Z[:, None])  # [M, N]


@pytest.mark.parametrize("layout", (BROADCAST, TILED), ids=("broadcast", "tiled"))
@pytest.mark.parametrize("chunk_size", (7, 30, 10**6))
@pytest.mark.parametrize("name", PAIRS)
def test_every_path_and_every_block_size_equal_brute_force(name, chunk_size, layout):
    pair, latents = PAIRS[name]
    with torch.no_grad():
        got = log_fold_sums(pair, (X,), FOLDS, latents, layout, chunk_size=chunk_size)
        assert is_matrix_form(pair, (X,)) == (name == "matrix")
    expected = torch.stack([EXPECTED[:, fold].logsumexp(1) for fold in FOLDS])
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-8)


def test_a_fold_is_left_out():
    with torch.no_grad():
        sums = log_fold_sums(MATRIX, (X,), FOLDS, {"z": Z}, BROADCAST)
    left = leave_out(sums, torch.tensor([len(fold) for fold in FOLDS]))
    for g, fold in enumerate(FOLDS):
        others = torch.tensor([n for n in range(len(X)) if n not in fold])
        expected = EXPECTED[:, others].logsumexp(1) - torch.tensor(float(len(others))).double().log()
        torch.testing.assert_close(left[g], expected, rtol=1e-12, atol=1e-8)


@pytest.mark.parametrize("chunk_size", (20, 10**6))
def test_marginals_are_mixtures_of_the_posteriors_marginals(chunk_size):
    with torch.no_grad():
        got = log_marginals(MATRIX, (X,), Z, chunk_size=chunk_size)
    expected = posterior(X).log_prob(Z[:, None]).logsumexp(1) - torch.tensor(23.0).double().log()
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-10)


def test_a_flow_is_scored_at_the_codes_of_other_data():
    torch.manual_seed(0)
    encoder = FlowEncoder(MLP(4, [8], 2 * D + 2), iaf(D, 2, hidden=(8,)))
    for parameter in encoder.parameters():
        parameter.data.normal_(0, 0.4)
    vae = VAE(StandardNormal(D), BernoulliLikelihood(MLP(D, [8], 4)), encoder).double()
    x = torch.rand(5, 4).double()
    with torch.no_grad(), param_scope(vae):
        got = log_fold_sums(vae, (x,), [torch.arange(5)], {"z": Z}, BROADCAST)[0]
        each = torch.stack([encoder(x[n]).log_prob(Z) for n in range(5)])  # [N, M]
        assert not is_matrix_form(vae, (x,)) and log_marginals(vae, (x,), Z) is None
    torch.testing.assert_close(got, each.logsumexp(0), rtol=1e-10, atol=1e-8)
