"""Models given labels, and models of labels of which some are missing, against closed forms."""

from labelled import V, conditional, data, log_px_given, semi_supervised
from pyro.infer import TraceEnum_ELBO
import pytest
import torch

from inference import compare, diagnose, encode, evaluate, fit, label_posterior, reconstruct, sample_prior
from inference.data.fingerprint import data_id
from inference.svi.objectives.elbo import default_objective
from pyro_lvm import (
    MLP,
    VAE,
    BernoulliLikelihood,
    Conditions,
    GaussianLikelihood,
    Join,
    LabelIndicators,
    NormalEncoder,
    SemiSupervisedVAE,
    Standardize,
    StandardNormal,
    check_pair,
)
from pyro_lvm.distributions.certain import CertainLabel

QUIET = {"num_particles": 2000, "progress": False}


def agrees(score, exact):
    return bool(((score.log_px - exact).abs() < 5 * score.mc_error + 1e-6).all()) and float(score.mc_error.max()) < 0.1


def test_a_conditional_likelihood_is_that_of_the_linear_model():
    vae, (x, y) = conditional(), data()
    score = evaluate(vae, (x, y), **QUIET)
    assert agrees(score, log_px_given(vae, x).gather(1, y[:, None])[:, 0])
    assert score.data_id == data_id(x) and score.given_id == data_id(y) and "is given" in repr(score)


def test_a_label_is_summed_out_where_it_is_missing():
    vae, (x, y) = semi_supervised(), data()
    joint = log_px_given(vae, x) + vae.labels.logits.detach().log_softmax(0)  # [N, V]
    some = torch.where(torch.arange(len(x)) % 2 == 0, y, -1)
    exact = torch.where(some >= 0, joint.gather(1, y[:, None])[:, 0], joint.logsumexp(1))
    score = evaluate(vae, (x, some), **QUIET)
    assert agrees(score, exact) and score.measure == "mixed" and score.num_dims == 4.5
    missing = evaluate(vae, (x, torch.full_like(y, -1)), **QUIET)
    assert agrees(missing, joint.logsumexp(1)) and missing.data_id == data_id(x) and missing.given_id == ""
    assert score.data_id == data_id(x, some)


def test_a_missing_label_is_drawn_from_its_posterior_and_a_known_one_is_kept():
    vae, (x, y) = semi_supervised(), data(3000)
    some = torch.where(torch.arange(len(x)) % 2 == 0, y, -1)
    drawn = encode(vae, x, some, enumerated=True, seed=0)
    assert torch.equal(drawn["y"][some >= 0], y[some >= 0]) and len(drawn["y"][some < 0].unique()) == V
    samples = sample_prior(vae, x, some, seed=0)
    frequencies = samples["label"].bincount(minlength=V) / len(x)
    assert torch.allclose(frequencies.double(), vae.labels.logits.detach().softmax(0), atol=0.04)
    assert reconstruct(vae, x, some, seed=0)["x"].shape == x.shape


def test_a_fit_sums_labels_out_and_learns_them():
    torch.manual_seed(0)
    y = torch.randint(2, (400,))
    x = torch.bernoulli(torch.where(y[:, None] == 1, 0.9, 0.1).expand(-1, 6))
    known = torch.where(torch.arange(400) < 20, y, -1)
    labels = LabelIndicators(2)
    vae = SemiSupervisedVAE(
        StandardNormal(1),
        BernoulliLikelihood(Join(None, labels, MLP(3, [], 6))),
        NormalEncoder(Join(None, None, MLP(8, [], 2))),
        MLP(6, [], 2),
        num_labels=2,
    )
    structure = check_pair(vae, x, known)
    assert type(default_objective(structure)) is TraceEnum_ELBO
    result = fit(vae, (x, known), valid=(x, torch.full_like(y, -1)), epochs=15, learning_rate=0.03, progress=False)
    drawn = encode(vae, x, torch.full_like(y, -1), enumerated=True, means=True)["y"]
    assert (drawn == y).float().mean() > 0.95 and result.best_loss < 6 * 0.6
    assert (vae.classifier(x).argmax(-1) == y).float().mean() > 0.95  # by the penalty
    assert label_posterior(vae, x, torch.full_like(y, -1), num_particles=50).accuracy(y)[0] > 0.95


@pytest.mark.parametrize("num_particles", [1, 3])
def test_a_fit_maximizes_the_bound_of_a_classifier_in_place_of_the_posterior(num_particles):
    vae, (x, y) = semi_supervised(), data()
    some = torch.where(torch.arange(len(x)) % 2 == 0, y, -1)
    torch.manual_seed(3)
    loss = default_objective(check_pair(vae, x, some), num_particles=num_particles)
    torch.manual_seed(3)
    found = loss.differentiable_loss(vae.model, vae.guide, x, some)
    torch.manual_seed(3)
    log_c = vae.classifier(x).log_softmax(-1)
    q = vae.encoder(x, torch.where((some >= 0)[:, None], vae.indicators(some), log_c.exp()))
    z = q.rsample((num_particles,) if num_particles > 1 else ())
    log_joint = torch.stack([vae.labels().log_prob(torch.tensor(v)) + vae.likelihood(z, torch.tensor(v)).log_prob(x) for v in range(V)], -1)
    missing = (log_c.exp() * (log_joint - log_c)).sum(-1)  # its KL from p(y|x,z) is the difference to log p(x|z)
    known = (log_joint * vae.indicators(some)).sum(-1) + vae.classifier_weight * (log_c * vae.indicators(some)).sum(-1)
    bound = torch.where(some >= 0, known, missing) + vae.prior().log_prob(z) - q.log_prob(z)
    assert found.item() == pytest.approx(-bound.sum().item() / num_particles, rel=1e-10)


def test_the_classifiers_loss_is_no_part_of_scores():
    x, y = data()
    light, heavy = semi_supervised(), semi_supervised()
    heavy.classifier_weight = 1e6
    first, second = (evaluate(vae, (x, y), num_particles=10, progress=False) for vae in (light, heavy))
    assert torch.equal(first.log_px, second.log_px)


def test_comparisons_say_what_is_given():
    vae, (x, y) = conditional(), data()
    given, shuffled = evaluate(vae, (x, y), **QUIET), evaluate(vae, (x, y.flip(0)), **QUIET)
    plain = evaluate(VAE(StandardNormal(2), GaussianLikelihood(MLP(2, [], 4)), NormalEncoder(MLP(4, [], 4))).double(), x, **QUIET)
    assert "conditional: log p(x) given arguments" in " ".join(compare({"conditional": given, "plain": plain}).notes)
    assert "which differ between them" in " ".join(compare({"a": given, "b": shuffled}).notes)
    assert "given arguments" not in " ".join(compare({"a": given, "b": given}).notes)


def test_a_conditional_prior_is_diagnosed_for_one_label():
    x, y = data(300)
    with pytest.raises(ValueError, match="those of one label"):
        diagnose(conditional(), (x, y), num_draws=100, progress=False)
    one = diagnose(conditional(), (x[y == 0], y[y == 0]), num_draws=100, progress=False)
    assert one.num_data == 100


def test_layers_of_conditions():
    labels, covariates = torch.tensor([2, -1]), torch.tensor([[1.0], [3.0]])
    layer = Conditions([LabelIndicators(3), Standardize(covariates)])
    scale = 2**-0.5
    assert torch.allclose(layer(labels, covariates), torch.tensor([[0, 0, 1, -scale], [0, 0, 0, scale]]))
    assert layer(labels[:, None, None], covariates).shape == (2, 1, 2, 4)
    with pytest.raises(ValueError, match="expects 2 inputs"):
        layer(labels)
    for wrong in (3, -2):
        with pytest.raises(ValueError, match="labels must be from 0 to 2"):
            LabelIndicators(3)(torch.tensor([0, wrong]))


def test_a_certain_label_has_all_of_its_mass_there():
    label = CertainLabel(torch.tensor([1, 0]), 3)
    assert label.log_prob(torch.tensor([1, 1])).tolist() == [0, -torch.inf] and label.sample().tolist() == [1, 0]
    assert label.expand(torch.Size((2, 2))).batch_shape == (2, 2) and label.support.is_discrete


def test_likelihoods_take_conditions_with_more_leading_dimensions():
    vae = conditional()
    z, y = torch.zeros(5, 2).double(), torch.arange(V)[:, None]
    assert vae.likelihood(z, y).batch_shape == (V, 5) and vae.likelihood(z, y).event_shape == (4,)
