"""Whether all parameters of a guide of discrete codes can learn."""

from collections.abc import Iterator
from typing import Any, cast

import pyro
from pyro import poutine
import torch
from torch import Tensor

from pyro_lvm.encoders.codes import CodeEncoder
from pyro_lvm.sites import is_penalty
from pyro_lvm.testing.failures import require, working
from pyro_lvm.testing.subjects import Subject, has_masses


def check_codes(subject: Subject) -> Iterator[str]:
    """Check that a guide of codes keeps :class:`~pyro_lvm.encoders.codes.CodeEncoder`, and that gradients reach its parameters."""
    part = subject.fresh().train()
    if not has_masses(subject.call(subject.fresh())):
        return
    name, (x,) = subject.name, subject.inputs
    remedy = "Give it the methods vectors, code_prior and steer."
    require(isinstance(part, CodeEncoder), name, "a CodeEncoder, as its latents are discrete", "a guide without its methods", remedy)
    encoder = cast(CodeEncoder, part)

    def model() -> Tensor:
        q = subject.call(part)
        codes = q.rsample() if q.has_rsample else q.sample()
        with pyro.plate("data", len(x)):
            return encoder.steer(x.double(), codes, encoder.vectors(codes))

    with torch.random.fork_rng(), working(name, "steer of vectors of its codes", remedy):
        torch.manual_seed(subject.seed)
        trace = poutine.trace(model).get_trace()
    nodes: dict[str, Any] = dict(trace.nodes)
    vectors = nodes["_RETURN"]["value"]
    penalties = [site["fn"].log_factor.sum() for site in nodes.values() if site["type"] == "sample" and is_penalty(site)]
    (vectors.sin().sum() + sum(penalties)).backward()
    idle = [key for key, parameter in part.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    require(not idle, f"{name}: gradients of code vectors and penalties", "one for every parameter", f"none for {', '.join(idle)}", remedy)
    yield "gradients of code vectors and penalties reach every parameter"
