"""The plain scorer: one particle and one datum at a time, each log density read from the site, no plates of particles."""

from contextlib import contextmanager
from itertools import product
from math import inf, prod

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
import torch
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def plain_scoring():
    """Without gradients, and with every module in evaluation mode when it is called, whoever holds it."""
    before = []

    def to_evaluation(module, _):
        before.append((module, module.training))
        module.training = False

    hook = register_module_forward_pre_hook(to_evaluation)
    try:
        with torch.no_grad(), torch.random.fork_rng(), pyro.validation_enabled(False):
            yield
    finally:
        hook.remove()
        for module, training in reversed(before):
            module.training = training


def log_weight(pair, rows, latents):
    """Return log p(x, z) - log q(z|x) ``[B]`` at given latents by name: the program runs once, for a single particle."""
    guide = poutine.trace(poutine.condition(pair.guide, data=latents)).get_trace(*rows)
    return log_joint(pair, rows, latents) - log_density(guide, len(rows[0]), in_guide=True)


def log_joint(pair, rows, values):
    """Return log p(x, z), where a loop runs over the values of every enumerated site."""
    trace = poutine.trace(poutine.condition(pair.model, data=values)).get_trace(*rows)
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not site["is_observed"] and site["infer"].get("enumerate") == "parallel":
            return torch.stack([log_joint(pair, rows, {**values, name: v}) for v in site["fn"].enumerate_support()]).logsumexp(0)
    return log_density(trace, len(rows[0]))


def log_density(trace, size, in_guide=False):
    """Return the sum of the sites' log densities ``[B]``: masks count, scales do not; penalties and a guide's factors are no densities."""
    total = torch.zeros(size)
    for site in trace.nodes.values():
        if site["type"] != "sample" or site_is_subsample(site) or site["infer"].get("is_penalty"):
            continue
        if not (in_guide and isinstance(site["fn"], dist.Unit)):
            log_p = scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])
            total = total + log_p.broadcast_to(size)  # fails if a site has another shape than its datum
    return total


class Choose(Messenger):
    """Give every latent of a guide one of the values that it can take, by its number; by default the first."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.counts, self.values = numbers, {}, {}

    def _pyro_sample(self, msg):
        name = msg["name"]
        if not msg["is_observed"] and not site_is_subsample(msg):
            values = values_of(msg["fn"])
            self.counts[name] = len(values)
            self.values[name] = msg["value"] = values[self.numbers.get(name, 0)]
            msg["done"] = True


def values_of(fn):
    """Return all values of a draw; every datum of a batch gets the same of its values."""
    base, dims = fn, 0
    while isinstance(base, dist.Independent):
        dims, base = dims + base.reinterpreted_batch_ndims, base.base_dist
    if hasattr(base, "values"):
        return base.values()
    if isinstance(base, dist.Delta):
        return [fn.sample()]
    if dims == 0:
        return list(fn.enumerate_support())
    support, event = base.enumerate_support(expand=False).flatten(), fn.event_shape
    states = torch.stack([torch.stack(state) for state in product(support, repeat=event.numel())])  # [S, E]
    return list(states.reshape(-1, *[1] * len(fn.batch_shape), *event).expand(-1, *fn.batch_shape, *event))


def num_possible(pair, rows):
    """Return the number of combinations of latents that the guide can draw for a datum, or infinity."""
    try:
        with plain_scoring(), Choose({}) as first:
            pair.guide(*rows)
    except (AttributeError, NotImplementedError):
        return inf
    return prod(first.counts.values())


def possible_log_weights(pair, rows):
    """Return the log weights of all combinations of latents that the guide can draw, ``[S, B]``."""
    with plain_scoring():
        with Choose({}) as first:
            pair.guide(*rows)
        weights = []
        for numbers in product(*(range(count) for count in first.counts.values())):
            with Choose(dict(zip(first.counts, numbers, strict=True))) as chosen:
                pair.guide(*rows)
            weights.append(log_weight(pair, rows, chosen.values))
        return torch.stack(weights).double()


def estimate(pair, rows, num_particles, seed=0):
    """Return the log of the mean weight ``[B]``, one particle after the other, and its standard error."""
    with plain_scoring():
        torch.manual_seed(seed)
        weights = []
        for _ in range(num_particles):
            guide = poutine.trace(pair.guide).get_trace(*rows)
            latents = {n: s["value"] for n, s in guide.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}
            weights.append(log_weight(pair, rows, {n: v for n, v in latents.items() if not guide.nodes[n]["is_observed"]}))
        return mean_and_error(torch.stack(weights).double())


def mean_and_error(log_w):
    """Return the log of the mean of the weights ``[K, B]`` and its standard error."""
    w = (log_w - log_w.amax(0)).exp()
    return log_w.logsumexp(0) - torch.tensor(len(w)).log(), w.std(0) / w.mean(0) / len(w) ** 0.5
