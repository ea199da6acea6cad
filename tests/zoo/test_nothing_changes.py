"""What must not change a figure, and what a score must not change."""

import copy
import pickle
from threading import Thread
import warnings

import pyro
import pytest
import torch

from inference import fit, log_weights
from zoo.entries import ENTRIES, SCORED
from zoo.variants import modules_run, registered, tensors_of

QUIET = {"progress": False}
OURS = (ValueError, TypeError)


def score(pair, batch):
    return log_weights(pair, *batch, num_particles=3, seed=0)


def pair_and_batch(name):
    entry = ENTRIES[name]
    return entry.pair(), entry.batch()


@pytest.mark.parametrize("name", SCORED)
def test_a_score_leaves_everything_as_it_was(name):
    pair, batch = pair_and_batch(name)
    first = score(pair, batch)
    modules = modules_run(pair, batch)
    for i, module in enumerate(modules):
        module.training = i % 2 == 0
    tensors, state, data = tensors_of(modules), torch.get_rng_state(), [x.clone() for x in batch]
    before = [tensor.clone() for tensor in tensors]
    assert torch.equal(score(pair, batch), first), "another score, or the modes of the modules, changed the figures"
    assert [module.training for module in modules] == [i % 2 == 0 for i in range(len(modules))]
    assert all(torch.equal(tensor, value) for tensor, value in zip(tensors, before, strict=True))
    assert all(torch.equal(x, value) for x, value in zip(batch, data, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(pyro.get_param_store().keys())


def trained(pair, batch):
    """Fit a pair, and return what was said about networks that are not trained: warnings, or a refusal."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit(pair, batch, epochs=3, batch_size=len(batch[0]), learning_rate=0.05, compile=False, **QUIET)
        except ValueError as error:
            if "parameters to train" not in str(error):
                raise
            return str(error)
    return " ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("name", SCORED)
def test_a_fit_trains_what_runs_or_says_so_and_the_figures_follow(name):
    pair, batch = pair_and_batch(name)
    before = score(pair, batch)
    parameters = [p for p in tensors_of(modules_run(pair, batch)) if p.requires_grad]
    values = [p.detach().clone() for p in parameters]
    words = trained(pair, batch)
    if not parameters:
        assert words or not torch.equal(score(pair, batch), before)
        return
    if words:
        assert "registered" in words or "parameters to train" in words, words
        pair = registered(pair, batch)
        trained(pair, batch)
    still = [tuple(p.shape) for p, value in zip(parameters, values, strict=True) if torch.equal(p, value)]
    assert len(still) == NOT_TRAINED.get(name, 0), f"parameters of shapes {still}, of {len(parameters)}, did not move"
    assert len(still) == len(parameters) or not torch.equal(score(pair, batch), before), "the figures are those of before the fit"


NOT_TRAINED = {"cvae_of_the_examples": 2, "weights_tied_by_hand": 4}  # its baseline runs without gradients; its encoder counts zero times
CONSTANT = ("mixture_summed_out", "certain_of_a_discrete_latent", "support_that_depends_on_a_latent", "hidden_states_summed_out")


@pytest.mark.parametrize("name", [name for name in SCORED if name not in CONSTANT])
def test_a_deep_copy_is_another_pair(name):
    pair, batch = pair_and_batch(name)
    expected = score(pair, batch)
    try:
        other = copy.deepcopy(pair)
    except OURS as error:
        assert "cop" in str(error), error
        return
    assert torch.equal(score(other, batch), expected)
    if not trained(other, batch):
        assert not torch.equal(score(other, batch), expected)
    assert torch.equal(score(pair, batch), expected), "a fit of the copy changed the original"


@pytest.mark.parametrize("name", SCORED)
def test_a_pickled_pair_has_the_same_figures(name):
    pair, batch = pair_and_batch(name)
    expected = score(pair, batch)
    try:
        data = pickle.dumps(pair)
    except (AttributeError, pickle.PicklingError, *OURS):  # Python's own message on functions within functions
        return
    assert torch.equal(score(pickle.loads(data), batch), expected)


def test_pairs_in_other_threads_change_nothing():
    names = ["vae_normal", "parameters_only", "closures_registered", "mixture_of_features", "methods", "vae_batch_norm_and_dropout"]
    pairs = [pair_and_batch(name) for name in names]
    expected, got = [score(*each) for each in pairs], {}

    def job(part):
        for _ in range(3):
            got.update({(i, part): score(*pairs[i]) for i in range(part, len(pairs), 2)})

    threads = [Thread(target=job, args=(part,)) for part in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == len(pairs)
    assert [names[i] for i, part in got if not torch.equal(got[i, part], expected[i])] == []
