"""What the draws are given: observed sites, held sites, conditions, and nothing of the caller's handlers."""

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.infer.autoguide import AutoNormal
import pytest
import torch
from torch import nn

from inference import decode, encode, fit, reconstruct, sample_prior
from inference.predictive.draws import sample_latents
from pyro_lvm import MLP, VAE, BernoulliLikelihood, NormalEncoder, Pair, StandardNormal, check_pair


def guide_at(value):
    def guide(*batch):
        with pyro.plate("data", len(batch[0])):
            pyro.sample("z", dist.Normal(torch.full((len(batch[0]),), value).double(), 1e-12))

    return guide


def autoregressive(x):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        previous = torch.zeros(len(x)).double()
        for t in range(x.shape[1]):
            previous = pyro.sample(f"x{t}", dist.Normal(z + 0.5 * previous**2, 0.1), obs=x[:, t])


def labelled(x, y):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
        label = pyro.sample("y", dist.Categorical(torch.tensor([0.1, 0.2, 0.7]).double()), obs=y)
        pyro.sample("x", dist.Normal(z + 10.0 * label, 0.5), obs=x)


def test_elements_of_a_sequence_are_reconstructed_given_those_before_them():
    x = torch.randn(6, 3).double()
    got = reconstruct(Pair(autoregressive, guide_at(0.3)), x)
    expected = 0.3 + 0.5 * torch.cat([torch.zeros(6, 1), x[:, :-1]], 1).double() ** 2
    torch.testing.assert_close(torch.stack([got[f"x{t}"] for t in range(3)], 1), expected)
    many = x[:1].expand(20000, 3)
    draws = reconstruct(Pair(autoregressive, guide_at(0.3)), many, draws=True, seed=0)
    for t in range(3):
        assert abs(draws[f"x{t}"].mean() - expected[0, t]) < 5 * 0.1 / 20000**0.5
        assert draws[f"x{t}"].std() == pytest.approx(0.1, rel=0.03)


def test_decoded_means_are_given_draws_of_what_comes_before():
    """E[x1 | z] = z + (var(x0) + z^2) / 2, not z + E[x0]^2 / 2."""
    x, z = torch.zeros(20000, 2).double(), torch.full((20000,), 0.3).double()
    means = decode(Pair(autoregressive, guide_at(0.3)), z, x, seed=0)
    torch.testing.assert_close(means["x0"], z)
    assert abs(means["x1"].mean() - (0.3 + 0.5 * (0.01 + 0.09))) < 5 * means["x1"].std() / 20000**0.5


def test_a_label_is_kept_in_reconstructions_and_has_no_mean():
    x, y = torch.randn(5).double(), torch.tensor([0, 1, 2, 1, 0])
    pair = Pair(labelled, guide_at(0.3))
    means = reconstruct(pair, x, y)
    assert set(means) == {"x"}
    torch.testing.assert_close(means["x"], 0.3 + 10.0 * y.double())
    draws = reconstruct(pair, x, y, draws=True, seed=0)
    assert set(draws) == {"x", "y"} and ((draws["x"] - 0.3 - 10 * y).abs() < 4).all()


def test_a_label_of_one_hot_is_kept_although_it_has_a_mean():
    """The mean of its prior would be a tenth of every label."""
    levels, y = 10.0 * torch.arange(10.0).double(), torch.eye(10).double()[torch.tensor([3, 0, 9, 3])]

    def model(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            y = pyro.sample("y", dist.OneHotCategorical(torch.full((10,), 0.1).double()), obs=y)
            pyro.sample("x", dist.Normal(z + y @ levels, 0.1), obs=x)

    got = reconstruct(Pair(model, guide_at(0.3)), y @ levels, y)
    torch.testing.assert_close(got["x"] if isinstance(got, dict) else got, 0.3 + y @ levels)


def test_a_label_may_be_held():
    x, y = torch.zeros(4000).double(), torch.arange(4000) % 3
    pair = Pair(labelled, guide_at(0.3))
    draws = sample_prior(pair, x, y, held={"y": y}, seed=0)
    assert ((draws - 10 * y).std() - 1.25**0.5).abs() < 0.06 and (draws - 10 * y).mean().abs() < 0.1
    free = sample_prior(pair, x, y, seed=0)
    assert abs((free["y"] == 2).double().mean() - 0.7) < 5 * (0.21 / 4000) ** 0.5
    assert ((free["x"] - 10 * free["y"]).abs() < 6).all()
    torch.testing.assert_close(decode(pair, {"z": x + 1, "y": y}, x, y), 1 + 10.0 * y.double())
    assert sample_prior(pair, x, y, held={"y": y, "x": x})["x"] is not None
    with pytest.raises(ValueError, match=r"held must contain only sites of the model, \('z', 'y', 'x'\); got \('w',\)"):
        sample_prior(pair, x, y, held={"w": y})
    with pytest.raises(ValueError, match="the value of site 'y' must have shape"):
        sample_prior(pair, x, y, held={"y": y[:, None]})


def test_sites_without_any_mean_are_refused():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Categorical(torch.ones(3)), obs=x)

    x = torch.tensor([0, 2])
    for function in (lambda: reconstruct(Pair(model, guide_at(0.0)), x), lambda: sample_prior(Pair(model, guide_at(0.0)), x, means=True)):
        with pytest.raises(NotImplementedError, match="site 'x' has a Categorical, which has no mean"):
            function()


@pytest.mark.parametrize("declared", ["event", "none"])
def test_deterministic_values_and_factors_are_computed_from_the_draws(declared):
    decoder, x = nn.Linear(2, 6), torch.rand(5, 6).round()
    seen = []

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = pyro.deterministic("logits", decoder(z), event_dim=1 if declared == "event" else None)
            value = pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)
            twice = pyro.deterministic("twice", 2 * value)
            pyro.factor("steer", twice.sum(-1))
            seen.append((z, logits, value, twice))

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(5, 2), 1.0).to_event(1))

    pair = Pair(model, guide)
    for draws in (sample_prior(pair, x, seed=0), reconstruct(pair, x, draws=True), decode(pair, torch.zeros(5, 2), x, draws=True)):
        z, logits, value, twice = seen[-1]
        assert draws.shape == (5, 6) and torch.equal(twice, 2 * value) and torch.equal(logits, decoder(z))
    assert not torch.equal(sample_prior(pair, x, seed=0), x) and not torch.equal(seen[-1][2], x)


def test_masked_data_are_drawn_as_well():
    x, mask = torch.randn(6, 3).double(), torch.rand(6, 3) > 0.5

    def model(x, mask):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            loc = z[..., None] + torch.arange(3.0).double()
            pyro.sample("x", dist.Normal(loc, 1.0).mask(mask).to_event(1), obs=x)

    pair = Pair(model, guide_at(0.3))
    torch.testing.assert_close(reconstruct(pair, x, mask), (0.3 + torch.arange(3.0).double()).expand(6, 3))
    assert sample_prior(pair, x, mask).shape == (6, 3)


def test_every_datum_has_a_draw_of_its_own_in_a_plate_without_a_size():
    def model(x):
        with pyro.plate("data"):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data"):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))

    pair, x = Pair(model, guide), torch.randn(4000)
    draws = sample_prior(pair, x, seed=0)
    assert draws.shape == (4000,) and draws.var() == pytest.approx(2, rel=5 * (2 / 4000) ** 0.5)
    assert torch.equal(decode(pair, x, x), x) and torch.equal(reconstruct(pair, x, seed=0), encode(pair, x, seed=0))
    assert torch.equal(sample_prior(pair, 4000, seed=0), draws)


def test_draws_ignore_the_callers_handlers():
    vae = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [4], 3)), NormalEncoder(MLP(3, [4], 4)))
    x, z = torch.rand(4, 3).round(), torch.ones(4, 2)
    calls = [lambda: sample_prior(vae, x, seed=1), lambda: encode(vae, x, seed=1), lambda: reconstruct(vae, x, seed=1, draws=True)]
    calls += [lambda: decode(vae, z, x, seed=1), lambda: sample_latents(vae, x, seed=1)]
    expected = [call() for call in calls]
    outer = [poutine.condition(data={"z": z}), poutine.block(), poutine.scale(scale=0.1), poutine.mask(mask=False), pyro.plate("data", 4)]
    for handler in outer:
        with handler:
            for call, value in zip(calls, expected, strict=True):
                assert torch.equal(call(), value)
    with poutine.trace() as trace, pyro.plate("data", 4):
        sample_prior(vae, x)
        pyro.sample("after", dist.Normal(0.0, 1.0))
    assert "z" not in trace.trace.nodes and trace.trace.nodes["after"]["value"].shape == (4,)


def test_means_of_an_autoguide_are_those_of_its_latents():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    x = torch.randn(7)
    guide = AutoNormal(model, init_scale=0.5)
    pair = Pair(model, guide)
    check_pair(pair, x)
    torch.testing.assert_close(encode(pair, x, means=True), guide.locs.z.detach())
    assert not torch.equal(encode(pair, x), guide.locs.z.detach())
    torch.testing.assert_close(reconstruct(pair, x, seed=0), encode(pair, x, seed=0).sum(-1))

    def positive(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(NotImplementedError, match="site 'z' is a function of auxiliary draws that is not linear"):
        encode(Pair(positive, AutoNormal(positive)), x, means=True)


def test_a_number_of_draws_stands_for_as_many_rows():
    torch.manual_seed(0)
    vae = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [4], 3)), NormalEncoder(MLP(3, [4], 4)))
    with pytest.raises(ValueError, match="the pair must have been run on data before 1000 draws"):
        sample_prior(vae, 1000)
    fit(vae, torch.rand(40, 3).round(), epochs=1, progress=False)
    assert torch.equal(sample_prior(vae, 1000, seed=0), sample_prior(vae, torch.zeros(1000, 3), seed=0))
    assert torch.equal(sample_latents(vae, 1000, seed=0), sample_latents(vae, torch.zeros(1000, 3), seed=0))
    twin = VAE(vae.prior, vae.likelihood, vae.encoder)
    with pytest.raises(ValueError, match="it never was"):
        sample_latents(twin, 10)
    with pytest.raises(ValueError, match="num_draws must be an integer of at least 1; got 0"):
        sample_prior(vae, 0)


def test_a_number_of_draws_needs_arguments_whose_values_do_not_matter():
    def conditional(x, y):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)

    def teacher_forced(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("first", dist.Normal(z, 1.0), obs=x[:, 0])
            pyro.sample("second", dist.Normal(z + x[:, 0], 1.0), obs=x[:, 1])

    def looked_up(x, y):
        rates = torch.tensor([0.5, 0.5, 0.5])[y] if y.max() < 3 else None
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Bernoulli(rates), obs=x)

    ones = torch.ones(6).double()
    for model, batch, place in (
        (conditional, (ones, ones), 1),
        (conditional, (ones, torch.randn(6).double()), 1),
        (teacher_forced, (torch.randn(6, 2).double(),), 0),
    ):
        pair = Pair(model, guide_at(0.0))
        check_pair(pair, *batch)
        for function in (sample_prior, sample_latents):
            with pytest.raises(ValueError, match=f"draws from the model depend on the values of argument {place} of its batch"):
                function(pair, 10)
    pair = Pair(labelled, guide_at(0.0))
    check_pair(pair, ones, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert {name: tuple(value.shape) for name, value in sample_prior(pair, 10).items()} == {"x": (10,), "y": (10,)}
    pair = Pair(looked_up, guide_at(0.0))
    check_pair(pair, ones, torch.zeros(6, dtype=torch.long))
    assert sample_prior(pair, 10).shape == (10,)


def test_a_plate_of_fixed_size_gives_no_other_number_of_draws():
    def model(x):
        with pyro.plate("data", 6):
            pyro.sample("z", dist.Normal(torch.zeros(6).double(), 1.0))
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)

    pair = Pair(model, guide_at(0.0))
    check_pair(pair, torch.randn(6).double())
    assert sample_prior(pair, 6).shape == (6,)
    with pytest.raises(ValueError, match="site 'x' must have one row for each of 10 draws; got shape"):
        sample_prior(pair, 10)


def test_data_that_the_model_reads_besides_observing_them_are_told():
    def read(x, y, w):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
            pyro.sample("x", dist.Normal(z + y + w, 1.0), obs=x)

    x, y, w = torch.randn(3, 8).double().unbind(0)
    pair, returned = Pair(read, guide_at(0.0)), Pair(lambda x, y, w: labelled(x, y), guide_at(0.0))
    message = "observes argument 1 of its batch at site 'y' and also reads it directly: draws are given the values passed"
    with pytest.warns(UserWarning, match=message) as caught:
        sample_prior(pair, x, y, w)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=message):
        decode(pair, x, x, y, w)
    sample_prior(pair, x, y, w, held={"y": y})
    sample_prior(returned, x, torch.arange(8) % 3, w)
    reconstruct(pair, x, y, w)
    check_pair(pair, x, y, w)

    def masked(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x)).double(), 1.0))
            pyro.sample("x", dist.Normal(z[:, None], 1.0).expand([len(x), 3]).mask(x > 0).to_event(1), obs=x)

    rows = torch.randn(8, 3).double()
    sample_prior(Pair(masked, guide_at(0.0)), rows)
    with pytest.raises(ValueError, match="argument 1 of its batch"):
        sample_prior(pair, 8, held={"y": y})


def test_codes_are_decoded_without_rows():
    torch.manual_seed(0)
    vae, x = VAE(StandardNormal(2), BernoulliLikelihood(MLP(2, [4], 3)), NormalEncoder(MLP(3, [4], 4))), torch.rand(5, 3).round()
    z = encode(vae, x)
    torch.testing.assert_close(decode(vae, z, 5), decode(vae, z, x))
    with pytest.raises(ValueError, match="value of site 'z' must have shape"):
        decode(vae, z, 6)
