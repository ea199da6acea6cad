"""Pairs that must have the same figures as the one that they are made of, and what a pair is made of according to a run of it."""

import pyro
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch.nn.modules.module import register_module_forward_pre_hook

from pyro_lvm import Pair
from zoo.reference import plain_scoring


class Rename(Messenger):
    """Give sites other names, in another order."""

    def _pyro_sample(self, msg):
        if not site_is_subsample(msg):
            msg["name"] = msg["name"][::-1] + "_renamed"


class Holder:
    """A pair whose methods call another one's."""

    def __init__(self, pair):
        self.inner = [pair]

    def model(self, *batch):
        return self.inner[0].model(*batch)

    def guide(self, *batch):
        return self.inner[0].guide(*batch)


def registered(pair, batch):
    """Return the pair with all of its networks registered with Pyro."""
    modules = modules_run(pair, batch)
    inner = {id(child) for module in modules for child in module.modules() if child is not module}
    roots = [module for module in modules if id(module) not in inner]

    def model(*batch):
        for i, module in enumerate(roots):
            pyro.module(f"network{i}", module)
        return pair.model(*batch)

    return Pair(model, pair.guide)


def renamed(pair):
    def under(program):
        def run(*batch):
            with Rename():
                return program(*batch)

        return run

    return Pair(under(pair.model), under(pair.guide))


def modules_run(pair, batch):
    """Return all modules that are called when the pair runs once, with the modules inside them."""
    called = {}
    hook = register_module_forward_pre_hook(lambda module, _: called.update({id(m): m for m in module.modules()}))
    try:
        with plain_scoring(), pyro.get_param_store().scope():
            trace = poutine.trace(pair.guide).get_trace(*batch)
            poutine.trace(poutine.replay(pair.model, trace=trace)).get_trace(*batch)
    finally:
        hook.remove()
    return list(called.values())


def tensors_of(modules):
    """Return the parameters and buffers of modules, each once."""
    return list({id(t): t for m in modules for t in (*m.parameters(recurse=False), *m.buffers(recurse=False))}.values())
