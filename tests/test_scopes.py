"""A pair runs undisturbed: by the caller's handlers, modes, random state and parameters, and by other threads."""

from threading import Thread

from fits import linear_vae
import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.infer import SVI, Trace_ELBO
import pytest
import torch

from inference import evaluate, fit, log_weights
from pyro_lvm import Pair, check_pair

QUIET = {"progress": False}


@pytest.fixture
def x():
    return torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def vae_figures(vae, x):
    """A loss of training, and log weights."""
    loss = fit(vae, x, epochs=2, learning_rate=0.05, **QUIET).history.train_loss.iloc[-1]
    return loss, evaluate(vae, x, num_particles=7, **QUIET).log_px, log_weights(vae, x, num_particles=2, seed=0)


SURROUNDINGS = {
    "mask": lambda: poutine.mask(mask=False),
    "scale": lambda: poutine.scale(scale=0.01),
    "plate": lambda: pyro.plate("data", 30),
    "plate of another size": lambda: pyro.plate("others", 7, dim=-2),
    "condition": lambda: poutine.condition(data={"z": torch.zeros(30, 2).double()}),
    "block": lambda: poutine.block(),
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "validation off": lambda: pyro.validation_enabled(False),
}


@pytest.fixture(scope="module")
def alone():
    return vae_figures(linear_vae(), torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


@pytest.mark.parametrize("name", SURROUNDINGS)
def test_what_surrounds_a_call_has_no_effect_and_is_restored(name, alone, x):
    gradients, validates = torch.is_grad_enabled(), pyro.infer.util.is_validation_enabled()
    vae = linear_vae()
    with SURROUNDINGS[name]():
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        stack = tuple(pyro.poutine.runtime._PYRO_STACK)
        loss, log_px, log_w = vae_figures(vae, x)
        assert modes == (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
        assert stack == tuple(pyro.poutine.runtime._PYRO_STACK)
        if name == "plate":
            assert pyro.sample("after", dist.Normal(0.0, 1.0)).shape == (30,)
    assert (torch.is_grad_enabled(), pyro.infer.util.is_validation_enabled()) == (gradients, validates)
    assert loss == alone[0] and torch.equal(log_px, alone[1]) and torch.equal(log_w, alone[2])


def test_autocast_and_float32_networks(x):
    """Which autocast would compute in bfloat16."""
    vae = linear_vae().float()
    expected = evaluate(vae, x.float(), num_particles=7, **QUIET).log_px
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(evaluate(vae, x.float(), num_particles=7, **QUIET).log_px, expected)
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_a_trace_of_the_callers_sees_none_of_a_pairs_sites(x):
    with poutine.trace() as trace:
        vae_figures(linear_vae(), x)
        pyro.sample("own", dist.Normal(0.0, 1.0))
    assert [name for name, site in trace.trace.nodes.items() if site["type"] == "sample"] == ["own"]


@pytest.mark.parametrize("state", [1, 2])
def test_random_states_are_independent(state, x, alone):
    """The caller's has no effect on figures, and figures have none on it."""
    vae = linear_vae()
    torch.manual_seed(state)
    expected = torch.rand(3)
    torch.manual_seed(state)
    loss, log_px, log_w = vae_figures(vae, x)
    check_pair(vae, x)
    assert torch.equal(torch.rand(3), expected)
    assert loss == alone[0] and torch.equal(log_px, alone[1]) and torch.equal(log_w, alone[2])


def shifted(start):
    """Pairs whose parameter has one name and different values."""

    def loc():
        return pyro.param("loc", torch.tensor(start, dtype=torch.float64))

    def model(x):
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(loc(), 1.0)), 1.0), obs=x[:, 0])

    def guide(x):
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal((x[:, 0] + loc()) / 2, 0.5**0.5))

    return Pair(model, guide)


def test_two_threads_do_not_disturb_one_another(x, double):
    """Scores and fits at the same time, of pairs with parameters of the same names."""
    starts, got, errors = (0.0, 3.0), {}, []
    expected = [dist.Normal(start, 2**0.5).log_prob(x[:, 0]) for start in starts]
    alone = [fit(shifted(start), x, epochs=3, **QUIET).history.train_loss.tolist() for start in starts]

    def job(i):
        try:
            pair = shifted(starts[i])
            scores = [evaluate(pair, x, num_particles=5, **QUIET).log_px for _ in range(5)]
            got[i] = scores, fit(pair, x, epochs=3, **QUIET).history.train_loss.tolist()
        except Exception as error:  # of any type, as threads mix up whatever they share
            errors.append(error)

    threads = [Thread(target=job, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for i in range(2):
        scores, losses = got[i]
        assert losses == alone[i]
        for score in scores:
            torch.testing.assert_close(score, expected[i], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["loc", "another"])
def test_parameters_that_wait_in_pyros_store_are_pointed_out(name, x, double):
    pyro.param(name, torch.tensor(2.0, dtype=torch.float64))
    pair, taken = shifted(0.0), Pair(*shifted(0.0)._programs, param_store=pyro.get_param_store())
    exact = dist.Normal(0.0, 2**0.5).log_prob(x[:, 0])
    if name == "loc":
        with pytest.warns(UserWarning, match=r"own parameters \['loc'\].*param_store=pyro.get_param_store\(\)") as caught:
            score = evaluate(pair, x, num_particles=3, **QUIET)
        assert [warning.filename for warning in caught] == [__file__]
    else:
        score = evaluate(pair, x, num_particles=3, **QUIET)  # warnings are errors
    torch.testing.assert_close(score.log_px, exact, rtol=0, atol=1e-10)
    again = evaluate(pair, x, num_particles=3, **QUIET)  # said once
    assert torch.equal(again.log_px, score.log_px)
    loc = 2.0 if name == "loc" else 0.0
    torch.testing.assert_close(
        evaluate(taken, x, num_particles=3, **QUIET).log_px, dist.Normal(loc, 2**0.5).log_prob(x[:, 0]), rtol=0, atol=1e-10
    )


def test_plain_svi_knows_the_parameters_of_a_pair_by_name(x, tmp_path):
    """So that the state of its optimizer can be saved and loaded."""
    first, second = shifted(0.0), shifted(0.0)
    optimizer = pyro.optim.Adam({"lr": 0.1})
    svi = SVI(first.model, first.guide, optimizer, Trace_ELBO())
    torch.manual_seed(0)
    for _ in range(3):
        svi.step(x)
    assert set(optimizer.get_state()) == {"loc"}
    kept = first.param_store["loc"].item()
    optimizer.save(tmp_path / "state")
    svi.step(x)
    other = pyro.optim.Adam({"lr": 0.1})
    other.load(tmp_path / "state")
    with torch.no_grad():
        second.model(x)
        second.param_store["loc"] = torch.tensor(kept, dtype=torch.float64)
    torch.manual_seed(1)
    SVI(second.model, second.guide, other, Trace_ELBO()).step(x)
    assert second.param_store["loc"].item() == pytest.approx(first.param_store["loc"].item(), abs=0.02)
    assert second.param_store["loc"].item() != kept
