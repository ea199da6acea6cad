"""Try every function of pyro-lvm on the example models of Pyro and pyroVED as they are, and compare its figures with plain Pyro's.

    python benchmarks/pyro_models.py PYRO PYROVED [--only NAME ...]

PYRO and PYROVED are checkouts of https://github.com/pyro-ppl/pyro and https://github.com/ziatdinovmax/pyroVED. Parameters are moved away
from where they begin, so that no term vanishes. A figure is right if it is within five standard errors of plain Pyro's, one draw after
another; a copy or a loaded pair is right if it has the same figures, and its training leaves the original as it was.
"""

import argparse
from collections.abc import Callable
import copy
from functools import partial
import math
from pathlib import Path
import pickle
import re
import tempfile
import traceback
from typing import Any, NamedTuple
import warnings

import example_pairs as examples
from example_pairs import CASES, Case
import pyro
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.infer import SVI, infer_discrete
import torch
from torch import Tensor

import inference
from pyro_lvm import Pair, check_pair
from pyro_lvm.sites import density_sites, is_data

REPEATS, DRAWS, GROUPS, EPOCHS, STEPS, ERRORS = 40, 200, 5, 16, 300, 5.0


class Refused(ValueError):
    """A pair that can be trained but not scored."""


class Figures(NamedTuple):
    """Our figure and plain Pyro's, each over repetitions."""

    ours: Tensor
    plain: Tensor

    def agree(self) -> bool:
        error = math.hypot(*(float(x.std()) / len(x) ** 0.5 for x in self))
        return abs(float(self.ours.mean() - self.plain.mean())) <= ERRORS * error + 1e-3 * max(1.0, abs(float(self.plain.mean())))

    def __str__(self) -> str:
        return " | ".join(f"{float(x.mean()):.3f} ± {float(x.std()) / len(x) ** 0.5:.3f}" for x in self)


class Trial:
    """A case with parameters that plain Pyro and our pair share."""

    def __init__(self, make: Callable[[], Case], seed: int = 0) -> None:
        torch.manual_seed(seed)
        pyro.clear_param_store()
        self.case = make()
        self.batch = self.case.batch
        self.data = self.batch if len(self.batch) > 1 else self.batch[0]
        self.train(False)
        examples.ENUM2().loss(self.case.model, self.case.guide, *self.batch) if self._fails() else None
        generator = torch.Generator().manual_seed(1 + seed)
        with torch.no_grad():
            for value in {id(p): p for p in (*self._parameters(), *pyro.get_param_store()._params.values())}.values():
                value += 0.3 * torch.randn(value.shape, generator=generator) / (value[0].numel() if value.dim() > 1 else 1) ** 0.5
        self.state = pyro.get_param_store().get_state()
        self.pair = Pair(self.case.model, self.case.guide)
        self.pair.param_store.set_state(self.state)
        self.train(True)

    def _parameters(self) -> list[Tensor]:
        return [p for network in self.case.networks for p in network.parameters() if p.requires_grad]

    def _fails(self) -> bool:
        try:
            self.run()
        except (ValueError, RuntimeError):  # runs only under enumeration
            return True
        return False

    def train(self, mode: bool) -> None:
        for network in self.case.networks:
            network.train(mode)

    def run(self) -> tuple[poutine.Trace, poutine.Trace]:
        guide_trace = poutine.trace(self.case.guide).get_trace(*self.batch)
        return guide_trace, poutine.trace(poutine.replay(self.case.model, trace=guide_trace)).get_trace(*self.batch)

    def plainly(self, figure: Callable[[], Any], repeats: int, mode: bool = False) -> list[Any]:
        """Compute a figure by plain Pyro several times."""
        pyro.get_param_store().set_state(self.state)
        self.train(mode)
        torch.manual_seed(2)
        with torch.no_grad():
            return [figure() for _ in range(repeats)]

    def fit(self, **options: Any) -> Any:
        whole = {"batch_size": len(self.batch[0])}
        return inference.fit(self.pair, self.data, elbo=self.case.elbo(), progress=False, compile=False, **(whole | options))

    def score(self) -> Tensor:
        """A figure that depends on all parameters: log p(x), or draws where there is none."""
        try:
            return inference.evaluate(self.pair, self.data, num_particles=20, seed=3, progress=False).log_px
        except ValueError:
            draws = inference.sample_prior(self.pair, *self.batch, seed=3), inference.encode(self.pair, *self.batch, seed=3)
            return torch.cat([x.double().flatten() for each in draws for x in (each.values() if isinstance(each, dict) else [each])])


def log_density(trace: poutine.Trace) -> Tensor:
    return sum((scale_and_mask(s["fn"].log_prob(s["value"]), mask=s["mask"]) for s in density_sites(trace)), torch.zeros(()))


def projected(value: Tensor) -> Tensor:
    """Weigh all elements at random, so that exchanged rows show; heavy tails are tamed."""
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    return (torch.asinh(value.double()) * weights).sum() / value.numel() ** 0.5


def compare_draws(ours: list[Any], plain: list[dict[str, Tensor]]) -> Figures:
    name = next(iter(plain[0]))
    values = [each[name] if isinstance(each, dict) else each for each in ours]
    if values[0].shape != plain[0][name].shape:
        raise AssertionError(f"shape {tuple(values[0].shape)}, plain {tuple(plain[0][name].shape)}")
    return Figures(torch.stack(list(map(projected, values))), torch.stack([projected(each[name]) for each in plain]))


def checked(trial: Trial) -> None:
    structure = check_pair(trial.pair, *trial.batch)
    if structure.refusal is not None:
        raise Refused(structure.refusal)


def fitted(trial: Trial, make: Callable[[], Case], batch_size: int | None = None) -> Figures:
    """The loss without learning; for parameters of rows, the ELBO after learning as well."""
    size = len(trial.batch[0])
    ours = trial.fit(epochs=EPOCHS, learning_rate=1e-12, batch_size=batch_size or size).history.train_loss
    svi = SVI(trial.case.model, trial.case.guide, pyro.optim.Adam({"lr": 0.05}), loss=trial.case.elbo())
    figures = Figures(
        torch.tensor(ours), torch.tensor(trial.plainly(lambda: svi.evaluate_loss(*trial.batch) / size, 2 * EPOCHS, mode=True))
    )
    if not trial.case.rows or not figures.agree():
        return figures
    trial.fit(epochs=STEPS, learning_rate=0.05)
    ours = trial.plainly(lambda: svi.evaluate_loss(*trial.batch) / size, 2 * EPOCHS)
    other = Trial(make)
    svi = SVI(other.case.model, other.case.guide, pyro.optim.Adam({"lr": 0.05}), loss=trial.case.elbo())
    for _ in range(STEPS):
        svi.step(*trial.batch)
    plain = [svi.evaluate_loss(*trial.batch) / size for _ in range(2 * EPOCHS)]
    worse = Figures(torch.tensor(ours), torch.tensor(plain))
    return figures if worse.ours.mean() < worse.plain.mean() or worse.agree() else worse


def log_p(trial: Trial, log_w: Callable[[int], Tensor]) -> Figures:
    def plain() -> Tensor:
        guide_trace, model_trace = trial.run()
        return (log_density(model_trace) - log_density(guide_trace)).expand(len(trial.batch[0])).double()

    def mean(weights: Tensor) -> Tensor:
        return (weights.logsumexp(0) - math.log(len(weights))).mean()

    ours = torch.stack([log_w(seed).mean() for seed in range(GROUPS)])
    weights = torch.stack(trial.plainly(plain, DRAWS * GROUPS))
    return Figures(ours, torch.stack([mean(part) for part in weights.split(DRAWS)]))


def evaluated(trial: Trial) -> Figures:
    return log_p(trial, lambda seed: inference.evaluate(trial.pair, trial.data, num_particles=DRAWS, seed=seed, progress=False).log_px)


def weighed(trial: Trial) -> Figures:
    draw = partial(inference.log_weights, trial.pair, *trial.batch, num_particles=DRAWS)
    return log_p(trial, lambda seed: draw(seed=seed).logsumexp(0) - math.log(DRAWS))


def encoded(trial: Trial) -> Figures | None:
    def plain() -> dict[str, Tensor]:
        guide_trace, model_trace = trial.run()
        return {s["name"]: s["value"] for s in density_sites(guide_trace) if not s["is_observed"] and s["name"] in model_trace}

    ours = [inference.encode(trial.pair, *trial.batch, seed=seed) for seed in range(REPEATS)]
    return compare_draws(ours, trial.plainly(plain, REPEATS)) if ours[0] != {} else None


def reconstructed(trial: Trial) -> Figures:
    """Means of the first observed site; what is summed out is drawn from its posterior by Pyro's infer_discrete."""
    depth = trial.case.elbo.keywords["max_plate_nesting"] if trial.case.elbo in (examples.ENUM, examples.ENUM2) else 1

    def plain() -> dict[str, Tensor]:
        guide_trace, model_trace = trial.run()
        names = [s["name"] for s in density_sites(model_trace) if is_data(s)]
        if any(s["infer"].get("enumerate") and s["name"] not in guide_trace for s in density_sites(model_trace)):
            given = poutine.condition(trial.case.model, {s["name"]: s["value"] for s in density_sites(guide_trace)})
            model_trace = poutine.trace(infer_discrete(given, first_available_dim=-1 - depth)).get_trace(*trial.batch)
        return {s["name"]: s["fn"].mean.expand(s["value"].shape) for s in density_sites(model_trace) if s["name"] in names}

    ours = [inference.reconstruct(trial.pair, *trial.batch, seed=seed) for seed in range(REPEATS)]
    return compare_draws(ours, trial.plainly(plain, REPEATS))


def sampled(trial: Trial) -> Figures:
    def plain() -> dict[str, Tensor]:
        names = [s["name"] for s in density_sites(trial.run()[1]) if is_data(s)]
        trace: Any = poutine.trace(poutine.uncondition(trial.case.model)).get_trace(*trial.batch)
        return {name: trace.nodes[name]["value"] for name in names}

    return compare_draws([inference.sample_prior(trial.pair, *trial.batch, seed=i) for i in range(REPEATS)], trial.plainly(plain, REPEATS))


def diagnosed(trial: Trial) -> Figures:
    def plain() -> Tensor:
        guide_trace, model_trace = trial.run()
        data = sum(scale_and_mask(s["fn"].log_prob(s["value"]), mask=s["mask"]).mean() for s in density_sites(model_trace) if is_data(s))
        return (log_density(guide_trace) - log_density(model_trace)).mean() + data

    many = tuple(torch.cat([x] * 20) for x in trial.batch)
    found = inference.diagnose(trial.pair, many, num_draws=300, quantile=0.05, progress=False)
    rate = torch.tensor([found.rate - found.standard_errors["rate"], found.rate + found.standard_errors["rate"]])  # of this mean and error
    return Figures(rate, torch.stack(trial.plainly(plain, 100)))


def saved(trial: Trial, make: Callable[[], Case]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_pair(trial.pair, *trial.batch)
        inference.save_checkpoint(trial.pair, Path(folder) / "pair.safetensors")
        other = Trial(make, seed=1)
        check_pair(other.pair, *other.batch)
        inference.load_checkpoint(other.pair, Path(folder) / "pair.safetensors")
    assert torch.equal(trial.score(), other.score()), "a loaded pair has other figures"


def copied(trial: Trial) -> None:
    before = trial.score()
    twin, own = copy.deepcopy(trial.pair), trial.pair
    trial.pair = twin
    assert torch.equal(before, trial.score()), "the copy has other figures"
    trial.fit(epochs=2, learning_rate=0.1)
    trial.pair = own
    assert torch.equal(before, trial.score()), "training the copy changed the original"


def pickled(trial: Trial) -> None:
    before = trial.score()
    trial.pair = pickle.loads(pickle.dumps(trial.pair))
    assert torch.equal(before, trial.score()), "the unpickled pair has other figures"


VERBS: dict[str, Callable[[Trial, Callable[[], Case]], Figures | None]] = {
    "check_pair": lambda trial, make: checked(trial),
    "fit": fitted,
    "fit, batches": lambda trial, make: fitted(trial, make, len(trial.batch[0]) // 2),
    "evaluate": lambda trial, make: evaluated(trial),
    "log_weights": lambda trial, make: weighed(trial),
    "encode": lambda trial, make: encoded(trial),
    "reconstruct": lambda trial, make: reconstructed(trial),
    "sample_prior": lambda trial, make: sampled(trial),
    "diagnose": lambda trial, make: diagnosed(trial),
    "checkpoint": saved,
    "copy": lambda trial, make: copied(trial),
    "pickle": lambda trial, make: pickled(trial),
}


def outcome(name: str, verb: str, refusals: list[str]) -> tuple[str, Figures | None]:
    """Return ``right``, ``refused`` with the number of the reason, or what is wrong."""
    try:
        figures = VERBS[verb](Trial(CASES[name]), CASES[name])
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        if isinstance(error, pickle.PicklingError | AttributeError) and verb == "pickle":
            return "–", None  # Python cannot pickle the program's own functions
        if not isinstance(error, Refused) and not {"pyro_lvm", "inference"} & set(Path(place).parts):
            return f"**{type(error).__name__}** {str(error).splitlines()[0][:80]}", None
        reason = general(str(error))
        refusals += [reason] * (reason not in refusals)
        return f"refused ({1 + refusals.index(reason)})", None
    return ("right" if figures is None or figures.agree() else f"**wrong** {figures}"), figures


def general(message: str) -> str:
    """Leave out what differs between models: names, numbers, shapes."""
    for pattern, word in (
        (r"\[[^\]]*\]|\([^()]*'[^()]*\)", "[...]"),
        (r"'[^' ]*'", "'...'"),
        (r"\d+(\.\d+)?(e[+-]?\d+)?", "N"),
        (r"at site \w+", "at site ..."),
    ):
        message = re.sub(pattern, word, message.splitlines()[0])
    return message


def main() -> None:
    parser = argparse.ArgumentParser(description="Pyro's and pyroVED's example models under every function of pyro-lvm.")
    parser.add_argument("pyro", type=Path)
    parser.add_argument("pyroved", type=Path)
    parser.add_argument("--only", nargs="*", default=[""], help="Parts of the names of the models to try.")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    examples.use(options.pyro, options.pyroved)
    refusals, figures = list[str](), dict[tuple[str, str], Figures]()
    print(f"Pyro {pyro.__version__}\n\n| model | {' | '.join(VERBS)} |\n|{'---|' * (len(VERBS) + 1)}")
    for name in [name for name in CASES if any(part in name for part in options.only)]:
        print(f"| {name} |", end="", flush=True)
        for verb in VERBS:
            word, found = outcome(name, verb, refusals)
            figures |= {(name, verb): found} if found is not None else {}
            print(f" {word} |", end="", flush=True)
        print()
    print("\n" + "\n".join(f"{number}. {reason}" for number, reason in enumerate(refusals, 1)))
    for verb in ("evaluate", "fit", "diagnose"):
        print(f"\n| {verb} | pyro-lvm | plain Pyro |\n|---|---|---|")
        print("\n".join(f"| {name} | {found} |" for (name, each), found in figures.items() if each == verb))


if __name__ == "__main__":
    main()
