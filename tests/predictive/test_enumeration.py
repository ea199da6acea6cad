"""Summed-out latents given the data, against posteriors by enumeration of all joint states."""

from itertools import product

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.infer import config_enumerate
import pytest
import torch

from inference import decode, encode, reconstruct, sample_prior
from inference.predictive import enumeration
from pyro_lvm import Pair
from pyro_lvm.sites import penalty

N = 20000
PARALLEL = {"enumerate": "parallel"}


def brute_posterior(joint, num_states):
    """p(c | x, z) ``[*num_states, B]`` from a function that gives log p(x, z, c) ``[B]`` at integers c."""
    log_p = torch.stack([joint(*states) for states in product(*map(range, num_states))])
    return log_p.softmax(0).reshape(*num_states, -1)


def frequencies(draws, num_states):
    """Shares ``[*num_states]`` of joint states among draws, each ``[N]``."""
    number = torch.zeros_like(draws[0])
    for c, count in zip(draws, num_states, strict=True):
        number = number * count + c
    return number.bincount(minlength=torch.Size(num_states).numel()).reshape(num_states) / len(number)


def assert_frequencies(got, expected):
    assert ((got - expected).abs() <= 5 * (expected * (1 - expected) / N).sqrt() + 1e-9).all(), (got, expected)


def assert_draws(pair, x, joint, num_states, names, read=lambda c: c):
    """Compare draws for many copies of each datum with the posterior of that datum at the drawn codes' fixed value."""
    exact = brute_posterior(joint, num_states)
    for row in range(len(x[0])):
        copies = tuple(a[row].expand(N, *a.shape[1:]) for a in x)
        draws = encode(pair, *copies, seed=row, enumerated=True)
        assert_frequencies(frequencies([read(draws[name]) for name in names], num_states), exact[..., row])


def fixed_guide(*batch):
    """A guide that puts z at 0.3 for every datum, so that posteriors of what is summed out can be written down."""
    with pyro.plate("data", len(batch[0])):
        pyro.sample("z", dist.Normal(torch.full((len(batch[0]),), 0.3).double(), 1e-12))


@pytest.mark.parametrize("dims", [1, 300])
def test_a_cluster_is_drawn_given_data_and_code(dims):
    mu, weights = torch.tensor([-1.0, 0.5, 2.0]).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    x = torch.tensor([-1.0, 0.3, 1.4]).double()[:, None] * torch.ones(dims).double() / dims**0.5

    def model(x):
        with pyro.plate("data", 60000, subsample_size=len(x)):
            c = pyro.sample("c", dist.Categorical(weights), infer=PARALLEL)
            z = pyro.sample("z", dist.Normal(mu[c], 1.0))
            penalty("cost", 3.0 * c)  # not a part of the likelihood
            loc = (mu[c] / dims**0.5 + 0 * z)[..., None]
            pyro.sample("x", dist.Normal(loc.expand((*loc.shape[:-1], dims)), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", 60000, subsample_size=len(x)):
            pyro.sample("z", dist.Normal(torch.full((len(x),), 0.3).double(), 1e-12))

    def joint(c):
        log_px = dist.Normal(mu[c] / dims**0.5, 1.0).log_prob(x).sum(-1)
        return weights[c].log() + dist.Normal(mu[c], 1.0).log_prob(torch.tensor(0.3)) + log_px

    assert_draws(Pair(model, guide), (x,), joint, (3,), ["c"])


@pytest.mark.parametrize("kind", ["no size", "masked", "one state"])
def test_plates_without_a_size_masked_priors_and_single_states(kind):
    mu, weights = torch.tensor([-1.0, 1.0]).double(), torch.tensor([0.2, 0.8]).double()
    x = torch.tensor([-1.0, 0.5]).double()

    def model(x):
        with pyro.plate("data", None if kind == "no size" else len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=kind != "masked"):
                c = pyro.sample("c", dist.Categorical(weights), infer=PARALLEL)
            d = pyro.sample("d", dist.Categorical(torch.ones(1 if kind == "one state" else 2)), infer=PARALLEL)
            pyro.sample("x", dist.Normal(mu[c] + z + d, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data"):
            pyro.sample("z", dist.Normal(torch.full((len(x),), 0.3).double(), 1e-12))

    def joint(c, d):
        return weights[c].log() + dist.Normal(mu[c] + 0.3 + d, 1.0).log_prob(x)

    assert_draws(Pair(model, guide), (x,), joint, (2, 1 if kind == "one state" else 2), ["c", "d"])


def test_sites_that_depend_on_one_another_and_a_masked_datum():
    first, second = torch.tensor([0.3, 0.7]).double(), torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]).double()
    x, seen = torch.tensor([0.0, 2.0, 0.5]).double(), torch.tensor([True, True, False])

    def model(x, seen):
        with pyro.plate("data", len(x)):
            a = pyro.sample("a", dist.Categorical(first), infer=PARALLEL)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            b = pyro.sample("b", dist.Categorical(second[a]), infer=PARALLEL)
            with poutine.mask(mask=seen):
                pyro.sample("x", dist.Normal(z + a - b, 0.8), obs=x)

    def joint(a, b):
        return first[a].log() + second[a, b].log() + seen * dist.Normal(0.3 + a - b, 0.8).log_prob(x)

    assert_draws(Pair(model, fixed_guide), (x, seen), joint, (2, 3), ["a", "b"])


@pytest.mark.parametrize("kind", ["one-hot", "Bernoulli"])
def test_states_may_have_event_dimensions_or_be_fractions(kind):
    probs, mu = torch.tensor([0.4, 0.6]).double(), torch.tensor([-0.5, 1.0]).double()
    x = torch.tensor([-1.0, 0.4]).double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            if kind == "one-hot":
                c = pyro.sample("c", dist.OneHotCategorical(probs), infer=PARALLEL)
                loc = c @ mu
            else:
                c = pyro.sample("c", dist.Bernoulli(probs[1]), infer=PARALLEL)
                loc = mu[0] + c * (mu[1] - mu[0])
            pyro.sample("x", dist.Normal(loc + z, 0.5), obs=x)

    def joint(c):
        return probs[c].log() + dist.Normal(mu[c] + 0.3, 0.5).log_prob(x)

    read = (lambda c: c.argmax(-1)) if kind == "one-hot" else (lambda c: c.long())
    assert_draws(Pair(model, fixed_guide), (x,), joint, (2,), ["c"], read)
    one = encode(Pair(model, fixed_guide), x[:1], enumerated=True, seed=0)["c"]
    assert one.shape == ((1, 2) if kind == "one-hot" else (1,))


def test_a_markov_chain_and_a_second_plate():
    start, step, up = torch.tensor([0.5, 0.5]).double(), torch.tensor([[0.9, 0.1], [0.3, 0.7]]).double(), torch.tensor([0.2, 0.9]).double()
    x = torch.tensor([[0.5, -1.0, 2.0], [1.0, 1.0, 1.0]]).double()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            c = None
            for t in pyro.markov(range(3)):
                c = pyro.sample(f"c{t}", dist.Categorical(start if c is None else step[c]), infer=PARALLEL)
                pyro.sample(f"x{t}", dist.Normal(c + z, 1.0), obs=x[:, t])

    def joint(*c):
        log_p = start[c[0]].log() + step[c[0], c[1]].log() + step[c[1], c[2]].log()
        return log_p + sum(dist.Normal(c[t] + 0.3, 1.0).log_prob(x[:, t]) for t in range(3))

    assert_draws(Pair(model, fixed_guide), (x,), joint, (2, 2, 2), ["c0", "c1", "c2"])

    def pixels(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            a = pyro.sample("a", dist.Categorical(start), infer=PARALLEL)
            with pyro.plate("pixels", 3, dim=-2):
                c = pyro.sample("c", dist.Bernoulli(up[a]), infer=PARALLEL)
                pyro.sample("x", dist.Normal(c + z, 1.0), obs=x.T)

    def joint_of_pixels(a, *c):
        log_p = start[a].log() + sum((up[a] if value else 1 - up[a]).log() for value in c)
        return log_p + sum(dist.Normal(c[t] + 0.3, 1.0).log_prob(x[:, t]) for t in range(3))

    exact = brute_posterior(joint_of_pixels, (2, 2, 2, 2))
    for row in range(2):
        draws = encode(Pair(pixels, fixed_guide), x[row].expand(N, 3), seed=row, enumerated=True)
        c = draws["c"].long()
        assert c.shape == (3, N)
        assert_frequencies(frequencies([draws["a"].broadcast_to(1, N)[0], *c], (2, 2, 2, 2)), exact[..., row])


def test_padding_has_its_prior_and_tells_nothing():
    step, x = torch.tensor([[0.9, 0.1], [0.3, 0.7]]).double(), torch.tensor([[3.0, 0.0]]).double().expand(N, 2)

    def model(x, lengths):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            c = 0
            for t in pyro.markov(range(2)):
                with poutine.mask(mask=t < lengths):
                    c = pyro.sample(f"c{t}", dist.Categorical(step[c]), infer=PARALLEL)
                    pyro.sample(f"x{t}", dist.Normal(3.0 * c + z, 1.0), obs=x[:, t])

    draws = encode(Pair(model, fixed_guide), x, torch.ones(N), enumerated=True, seed=0)
    first = (step[0].log() + dist.Normal(torch.tensor([0.3, 3.3]).double(), 1.0).log_prob(torch.tensor(3.0))).softmax(0)
    assert_frequencies(frequencies([draws["c0"], draws["c1"]], (2, 2)), first[:, None] * step)


def test_labels_seen_for_some_rows_are_kept_and_the_others_drawn():
    mu = torch.tensor([-1.0, 1.0]).double()
    x, y = torch.tensor([0.2, 0.2]).double().repeat(N // 2), torch.tensor([0, 1]).repeat(N // 2)
    seen = torch.arange(N) < N // 2

    def model(x, y, seen):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            label = pyro.sample("y", dist.Categorical(torch.ones(2).double()), obs=y, obs_mask=seen)
            pyro.sample("x", dist.Normal(mu[label] + z, 1.0), obs=x)

    pair = Pair(config_enumerate(model, default="parallel"), fixed_guide)
    means = reconstruct(pair, x, y, seen, seed=0)["x"]
    torch.testing.assert_close(means[seen], (mu[y] + 0.3)[seen])
    exact = (dist.Normal(mu + 0.3, 1.0).log_prob(torch.tensor(0.2))).softmax(0)[1]
    share = (means[~seen] > 0.3).double().mean()
    assert abs(share - exact) < 5 * (exact * (1 - exact) / (N / 2)).sqrt()


def test_decoding_holds_given_states_and_draws_the_others_from_the_model():
    mu = torch.tensor([-10.0, 10.0]).double()
    x = torch.full((N,), 10.0).double()

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.tensor([0.8, 0.2]).double()), infer=PARALLEL)
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(mu[c] + z, 1.0), obs=x)

    pair = Pair(model, fixed_guide)
    codes = encode(pair, x, enumerated=True, seed=0)
    assert set(codes) == {"z", "c"} and (codes["c"] == 1).all()
    torch.testing.assert_close(decode(pair, codes, x), mu[1] + codes["z"])
    drawn = decode(pair, codes["z"], x, seed=0)
    assert abs((drawn > 0).double().mean() - 0.2) < 5 * (0.16 / N) ** 0.5
    held = sample_prior(pair, x, held={"c": torch.zeros(N, dtype=torch.long)}, means=True, seed=0)
    assert (held < 0).all() and held.std() == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="latents must hold the sites"):
        decode(pair, {"c": codes["c"]}, x)
    with pytest.raises(ValueError, match=r"value of site 'c' must have shape \(20000,\); got \(1,\)"):
        decode(pair, {"z": codes["z"], "c": codes["c"][:1]}, x)


def test_large_spaces_are_enumerated_block_by_block(monkeypatch):
    sizes, mu = [], torch.tensor([-10.0, 0.0, 10.0]).double()
    x = mu.repeat(100)

    def model(x):
        sizes.append(len(x))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            c = pyro.sample("c", dist.Categorical(torch.ones(3).double()), infer=PARALLEL)
            pyro.sample("x", dist.Normal(mu[c] + z, 0.5), obs=x)

    monkeypatch.setattr(enumeration, "_MOST_STATES", 3 * 80)
    codes = encode(Pair(model, fixed_guide), x, enumerated=True)
    assert codes["c"].tolist() == [0, 1, 2] * 100 and {80, 60} < set(sizes)


def test_a_pair_whose_every_latent_is_summed_out():
    mu = torch.tensor([-1.0, 0.0, 3.0]).double()
    x = torch.tensor([-2.0, 0.4, 3.1]).double()

    def model(x):
        with pyro.plate("data", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3).double()), infer=PARALLEL)
            pyro.sample("x", dist.Normal(mu[c], 0.5), obs=x)

    pair = Pair(model, lambda x: None)
    assert encode(pair, x, enumerated=True, means=True)["c"].tolist() == [0, 1, 2]
    torch.testing.assert_close(decode(pair, torch.tensor([2, 1, 0]), x), mu.flip(0))
    assert_draws(pair, (x,), lambda c: dist.Normal(mu[c], 0.5).log_prob(x), (3,), ["c"])
