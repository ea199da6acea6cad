"""The contract of a pair, and the parameter stores of pairs."""

from types import SimpleNamespace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference import fit, log_weights, reconstruct, sample_prior
from pyro_lvm import Pair, check_pair, penalty
from pyro_lvm.modules import modules_of
from pyro_lvm.pair import param_scope


def normal_model(x, scale=1.0):
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1), scale), obs=x)


def normal_guide(x):
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))


def test_structure_of_a_pair():
    def model(x):
        with pyro.plate("rows", len(x)):
            c = pyro.sample("c", dist.Categorical(torch.ones(3) / 3), infer={"enumerate": "parallel"})
            pyro.sample("z", dist.Normal(c.float(), 1.0))
            pyro.deterministic("twice", 2 * c)
            pyro.sample("x", dist.Poisson(torch.ones(())), obs=x)

    def guide(x):
        with pyro.plate("rows", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    structure = check_pair(Pair(model, guide), torch.ones(4))
    assert (structure.latents, structure.enumerated, structure.observed) == (("z",), ("c",), ("x",))
    assert structure.measure == "mass" and structure.full_size == 4 and structure.refusal is None
    assert check_pair(Pair(normal_model, normal_guide), torch.ones(4)).measure == "density"


def raises_on(model, guide, x, message):
    with pytest.raises(ValueError, match=message):
        check_pair(Pair(model, guide), x)


def test_a_guide_that_misses_a_latent():
    raises_on(normal_model, lambda x: None, torch.ones(3), "guide must sample every latent.*misses 'z'.*Add pyro.sample")


def test_a_guide_that_samples_a_stranger():
    def guide(x):
        normal_guide(x)
        with pyro.plate("data2", len(x)):
            pyro.sample("w", dist.Normal(torch.zeros(len(x)), 1.0))

    raises_on(normal_model, guide, torch.ones(3), "samples 'w', which is not a latent.*Rename")


def test_event_shapes_that_disagree():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 3), 1.0).to_event(1))

    raises_on(normal_model, guide, torch.ones(4), r"site 'z'.*model has \(2,\), the guide \(3,\).*Change the sizes")


def test_a_site_without_event_dimensions():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    raises_on(model, normal_guide, torch.ones(4, 2), r"site x dim -1, 4 vs 2\. A site's batch shape must be .*to_event")


def test_a_pair_that_runs_only_while_a_latent_is_enumerated():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            y = pyro.sample("y", dist.OneHotCategorical(torch.ones(3)))
            loc = z.repeat(3) + y.argmax(-1).reshape(-1)  # [3 * B], for all values of y
            pyro.sample("x", dist.Normal(loc.reshape(y.shape[:-1]), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))
            pyro.sample("y", dist.OneHotCategorical(torch.ones(len(x), 3)))

    raises_on(
        model, guide, torch.ones(4), r"runs only while .* latents \['y'\] are enumerated.*one draw.*size of tensor.*shapes of the draws"
    )


def test_errors_at_sites_come_without_tables_of_shapes():
    def model(x):
        with pyro.plate("data", len(x)):
            with pyro.poutine.mask(mask=x > 0):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Categorical(logits=z[:, None] * torch.ones(3)), obs=x)

    def guide(x):
        with pyro.plate("data", len(x)), pyro.poutine.mask(mask=x > 0):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), pyro.param("scale", torch.ones(()))))

    pair, x = Pair(model, guide), torch.tensor([0, 1, 2, 1])
    with pytest.raises(NotImplementedError, match=r"site 'x' has a Categorical, .*Use draws instead\.$"):
        reconstruct(pair, x)
    with pytest.raises(ValueError, match=r"'z' is masked. Set free_bits=0, or change the guide\.$"):
        fit(pair, x, epochs=1, free_bits=1.0, progress=False)


def test_a_model_without_data():
    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    raises_on(model, normal_guide, torch.ones(3), "must observe the data.*obs=x")


def test_data_outside_the_support():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Bernoulli(logits=z.sum(-1), validate_args=False), obs=x)

    raises_on(model, normal_guide, torch.tensor([0.0, 255.0]), "site 'x': data must lie in the support.*0 to 255.*binarize")


def test_negative_counts():
    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Poisson(z.sum(-1).exp(), validate_args=False), obs=x)

    raises_on(model, normal_guide, torch.tensor([0.0, -2.0]), "data must lie in the support.*-2 to 0")


def test_second_plates_and_sites_outside_have_no_likelihood():
    def nested(x):
        with pyro.plate("pixels", 2, dim=-2), pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(torch.zeros(2, len(x)), 1.0), obs=x.T)

    assert "second plate 'pixels'" in check_pair(Pair(nested, lambda x: None), torch.ones(3, 2)).refusal

    def outside(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(loc, 1.0), obs=x)

    structure = check_pair(Pair(outside, lambda x: pyro.sample("loc", dist.Normal(0.0, 1.0))), torch.ones(3))
    assert structure.global_sites == ("loc",) and "'loc' lies outside the data plate" in structure.refusal


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ((), ValueError, "at least one tensor"),
        ((torch.ones(0, 2),), ValueError, "at least one row"),
        ((torch.tensor(1.0),), ValueError, "at least one row"),
        (([1.0],), TypeError, "must be a tensor, an array.*got a float"),
        ((torch.ones(3), torch.ones(2)), ValueError, "as many rows as the first, 3; argument 1 has 2"),
        ((torch.tensor([1.0, float("inf")]),), ValueError, "1 of 2 rows hold NaN or infinite"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        check_pair(Pair(normal_model, normal_guide), *batch)


def test_what_is_no_pair():
    with pytest.raises(TypeError, match="guide must be a callable"):
        Pair(normal_model, None)
    with pytest.raises(TypeError, match="callable .model and .guide; got Linear"):
        check_pair(nn.Linear(1, 1), torch.ones(2))


def test_each_pair_has_a_store_of_its_own_and_nested_scopes_agree():
    def model(x):
        return pyro.param("w", torch.tensor(1.0))

    first, second = Pair(model, model), Pair(model, model)
    with param_scope(first):
        pyro.param("w", torch.tensor(5.0))
        with param_scope(second):
            pyro.param("w", torch.tensor(7.0))
            with param_scope(first):
                pyro.param("late", torch.tensor(2.0))
            assert "late" not in pyro.get_param_store()
        assert pyro.param("late").item() == 2.0
    assert first.model(None).item() == 5.0 and second.model(None).item() == 7.0
    assert not pyro.get_param_store().keys()
    with pytest.raises(ZeroDivisionError), param_scope(first):
        pyro.param("even_later", torch.tensor(3.0))
        raise ZeroDivisionError
    assert "even_later" in first.param_store and not pyro.get_param_store().keys()


_global_network = nn.Linear(2, 2)


def sampling(network):
    """A model and a guide whose means come from a function of the data."""

    def model(x):
        normal_model(x)

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(network(x[:, None].expand(-1, 2)), 1.0).to_event(1))

    return model, guide


def test_the_modules_that_run_are_found():
    local, box = nn.Linear(2, 2), SimpleNamespace(deep=[{"network": nn.Linear(2, 2)}])
    pair = Pair(*sampling(lambda x: local(_global_network(box.deep[0]["network"](x)))))
    assert modules_of(pair) == []  # they are known once it has run
    check_pair(pair, torch.ones(3))
    assert set(modules_of(pair)) == {local, _global_network, box.deep[0]["network"]}


def test_a_module_and_the_owner_of_methods_are_known_at_once():
    class Holder(nn.Module):
        def model(self, x): ...
        def guide(self, x): ...

    holder = Holder()
    assert modules_of(holder) == [holder] == modules_of(Pair(holder.model, holder.guide))


def test_a_penalty_belongs_in_the_model():
    def guide(x):
        normal_guide(x)
        with pyro.plate("more", len(x)):
            penalty("cost", torch.ones(len(x)))

    raises_on(normal_model, guide, torch.ones(3), "penalty 'cost' must be declared in the model")


def test_auxiliary_sites_must_determine_the_latents():
    def guide(x):
        with pyro.plate("data", len(x)):
            u = pyro.sample("u", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(2 * u, log_density=-2 * torch.tensor(2.0).log(), event_dim=1))

    def loose(x):
        normal_guide(x)
        with pyro.plate("more", len(x)):
            pyro.sample("u", dist.Normal(torch.zeros(len(x)), 1.0), infer={"is_auxiliary": True})

    structure = check_pair(Pair(normal_model, guide), torch.ones(4))
    assert structure.refusal is None and not structure.is_deterministic
    assert "auxiliary sites ['u']" in check_pair(Pair(normal_model, loose), torch.ones(4)).refusal


def test_nan_parameters_are_named_briefly():
    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(torch.full((len(x), 2), float("nan")), 1.0).to_event(1))

    raises_on(normal_model, guide, torch.ones(3), "Expected parameter loc.*and it does not. Look for NaN")


def test_parameters_of_plain_svi_can_be_taken_over():
    pyro.param("w", torch.tensor(3.0))
    pair = Pair(lambda x: pyro.param("w", torch.tensor(0.0)), normal_guide, param_store=pyro.get_param_store())
    assert pair.model(torch.ones(2)).item() == 3.0
    pyro.clear_param_store()


def test_a_registered_module_is_known_by_its_name_although_only_its_parts_run():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))

    def whole(x):
        pyro.module("network", network)
        return network[1](network[0](x))

    pair = Pair(*sampling(whole))
    assert list(check_pair(pair, torch.ones(3)).networks.registered) == ["network"]
    assert modules_of(pair) == [network]


class LaplacePrior(nn.Module):
    def __init__(self, latent_dim=2):
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(0.5, 2.0, latent_dim))

    def forward(self):
        return dist.Laplace(torch.ones_like(self.scale), self.scale).to_event(1)


def test_another_prior_is_the_model_written_with_it():
    prior = LaplacePrior()

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    x, pair, written = torch.randn(4), Pair(normal_model, normal_guide), Pair(model, normal_guide)
    refitted = pair.with_prior(prior, site="z")
    draws = {"num_particles": 5, "seed": 0}
    before = log_weights(pair, x, **draws)
    assert torch.equal(log_weights(refitted, x, **draws), log_weights(written, x, **draws))
    assert torch.equal(sample_prior(refitted, x, seed=0), sample_prior(written, x, seed=0))
    assert torch.equal(log_weights(pair, x, **draws), before) and not torch.equal(log_weights(refitted, x, **draws), before)
    assert refitted.param_store is pair.param_store and prior in modules_of(refitted)


def test_another_prior_needs_a_latent_and_a_module():
    pair, x = Pair(normal_model, normal_guide), torch.ones(3)
    with pytest.raises(ValueError, match=r"site must be a latent of the model, one of \['z'\]; got 'w'. Give its name"):
        check_pair(pair.with_prior(LaplacePrior(), site="w"), x)
    with pytest.raises(TypeError, match="prior must be a torch.nn.Module; got Independent. Its call returns a distribution"):
        pair.with_prior(LaplacePrior()(), site="z")
    with pytest.raises(ValueError, match="site 'z': model and guide must have the same event shape"):
        check_pair(pair.with_prior(LaplacePrior(1), site="z"), x)
