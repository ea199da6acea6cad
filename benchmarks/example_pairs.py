"""Example models of Pyro and pyroVED, loaded from checkouts as they are, at small sizes and with random data."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
import importlib.util
import json
import math
from pathlib import Path
import sys
import tempfile
import types
from typing import Any

import pyro
from pyro import poutine
import pyro.distributions as dist
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoNormal, init_to_feasible
import torch
from torch import Tensor, nn

ROOT = Path()  # a checkout of Pyro


def use(pyro_path: Path, pyroved_path: Path) -> None:
    """Load the examples from these checkouts."""
    global ROOT
    ROOT = pyro_path
    sys.path.append(str(pyroved_path))
    for name in ("visdom", "wget", "torchvision", "torchvision.utils", "utils.mnist_cached", "utils.vae_plots", "mnist", "util"):
        sys.modules[name] = Anything(name)
    for name in ("util", "scanvi_data"):
        sys.modules[f"pyro.contrib.examples.{name}"] = Anything(name)


# Loading -------------------------------------------------------------------------------------------------------------------
class Anything(types.ModuleType):
    """A module that an example imports only to draw or to download."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: tempfile.gettempdir()


@lru_cache(None)
def example(path: str) -> Any:
    folder = str((ROOT / "examples" / path).parent)
    sys.path.insert(0, folder)
    name = f"example_{Path(path).stem}"
    spec: Any = importlib.util.spec_from_file_location(name, ROOT / "examples" / path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache(None)
def notebook(file: str, cells: tuple[int, ...]) -> Any:
    source = json.loads((ROOT / "tutorial/source" / file).read_text())["cells"]
    module: Any = sys.modules.setdefault(file, types.ModuleType(file))
    vars(module).update(math=math, torch=torch, nn=nn, F=nn.functional, pyro=pyro, dist=dist, PyroModule=pyro.nn.PyroModule)
    vars(module).update(PyroSample=pyro.nn.PyroSample, constraints=dist.constraints, ruggedness=None, is_cont_africa=None, log_gdp=None)
    pyro.render_model = lambda *args, **kwargs: None
    exec("\n".join("".join(source[i]["source"]) for i in cells), vars(module))
    return module


# Models --------------------------------------------------------------------------------------------------------------------
@dataclass
class Case:
    """A model, its guide, data, and the objective that its example trains with."""

    model: Callable
    guide: Callable
    batch: tuple[Tensor, ...]
    elbo: Callable = Trace_ELBO
    networks: list[nn.Module] = field(default_factory=list)
    rows: bool = False  # whether parameters of the guide belong to the rows


CASES: dict[str, Callable[[], Case]] = {}
ENUM = partial(TraceEnum_ELBO, max_plate_nesting=1, strict_enumeration_warning=False)
ENUM2 = partial(TraceEnum_ELBO, max_plate_nesting=2, strict_enumeration_warning=False)
HIDDEN: dict[str, Any] = dict(hidden_dim_e=[8, 8], hidden_dim_d=[8, 8], device="cpu")


def case(name: str) -> Callable:
    return lambda make: CASES.setdefault(name, make)


def of(module: Any, *batch: Tensor, elbo: Callable = Trace_ELBO, enumerated: bool = False, **names: str) -> Case:
    guide = getattr(module, names.get("guide", "guide"))
    guide = config_enumerate(guide, "parallel", expand=True) if enumerated else guide
    return Case(getattr(module, names.get("model", "model")), guide, batch, elbo, [module])


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def binary(*shape: int) -> Tensor:
    return (random(*shape) < 0.4).float()


def counts(*shape: int) -> Tensor:
    return torch.poisson(5 * random(*shape), generator=torch.Generator().manual_seed(1))


LABELS = torch.eye(3)[torch.arange(6) % 3]
LENGTHS = torch.tensor([5, 3, 4, 2, 5, 1])


def sequences(features: int) -> Tensor:
    return binary(6, 5, features) * (torch.arange(5) < LENGTHS[:, None])[..., None]


@case("vae")
def _() -> Case:
    return of(example("vae/vae.py").VAE(z_dim=3, hidden_dim=16), binary(6, 784))


def ss_vae() -> Any:
    return example("vae/ss_vae_M2.py").SSVAE(
        output_size=3, input_size=12, z_dim=2, hidden_layers=[8], config_enum="parallel", aux_loss_multiplier=46
    )


CASES["ss_vae_M2, no labels"] = lambda: of(ss_vae(), binary(6, 12), elbo=ENUM, enumerated=True)
CASES["ss_vae_M2, labels"] = lambda: of(ss_vae(), binary(6, 12), LABELS, elbo=ENUM, enumerated=True)
CASES["ss_vae_M2, classifier"] = lambda: of(ss_vae(), binary(6, 12), LABELS, model="model_classify", guide="guide_classify")


@case("cvae")
def _() -> Case:
    whole = binary(6, 28, 28)
    given = torch.where((torch.arange(28)[:, None] >= 14) & (torch.arange(28) >= 14), whole, -1.0)
    return of(example("cvae/cvae.py").CVAE(3, 8, 8, example("cvae/baseline.py").BaselineNet(8, 8)), given, whole)


class Sequences(nn.Module):
    """The deep Markov model on sequences and lengths; Pyro's own helpers make its other arguments."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.dmm = example("dmm.py").DMM(input_dim=5, z_dim=2, emission_dim=4, transition_dim=4, rnn_dim=6, **options)

    def arguments(self, x: Tensor, lengths: Tensor) -> tuple:
        poly, x = example("dmm.py").poly, x[:, : int(lengths.max())]
        packed = nn.utils.rnn.pack_padded_sequence(poly.reverse_sequences(x, lengths), lengths, batch_first=True, enforce_sorted=False)
        return x, packed, poly.get_mini_batch_mask(x, lengths), lengths

    def model(self, x: Tensor, lengths: Tensor) -> None:
        self.dmm.model(*self.arguments(x, lengths))

    def guide(self, x: Tensor, lengths: Tensor) -> None:
        self.dmm.guide(*self.arguments(x, lengths))


CASES["dmm"] = lambda: of(Sequences(), sequences(5), LENGTHS)
CASES["dmm, flows"] = lambda: of(Sequences(num_iafs=1, iaf_dim=4), sequences(5), LENGTHS)


def scanvi() -> Any:
    return example("scanvi/scanvi.py").SCANVI(num_genes=7, num_labels=3, l_loc=2.0, l_scale=0.5, latent_dim=2, scale_factor=1.0)


CASES["scanvi, no labels"] = lambda: of(scanvi(), counts(6, 7), elbo=ENUM, enumerated=True)
CASES["scanvi, labels"] = lambda: of(scanvi(), counts(6, 7), LABELS, elbo=ENUM, enumerated=True)
CASES["prodlda"] = lambda: of(notebook("prodlda.ipynb", (16,)).ProdLDA(9, 3, 8, 0.2), counts(6, 9), elbo=TraceMeanField_ELBO)


def nothing(*batch: Tensor) -> None:
    """The guide of a model whose latents are all summed out."""


def hmm(number: int) -> Case:
    module = example("hmm.py")
    module.tones_generator = None
    args = Namespace(hidden_dim=4, nn_dim=5, nn_channels=2, jit=False, raftery_parameterization=False)
    model = partial(getattr(module, f"model_{number}"), args=args)
    guide: Callable = AutoDelta(poutine.block(model, expose_fn=lambda msg: msg["name"].startswith("probs_")))
    return Case(model, nothing if number == 6 else guide, (sequences(4), LENGTHS), ENUM if number == 0 else ENUM2)


for number in range(8):
    CASES[f"hmm, model {number}"] = partial(hmm, number)


@case("lda")
def _() -> Case:
    lda, sizes = example("lda.py"), dict(num_topics=3, num_words=8, num_words_per_doc=5, layer_sizes="10-10")
    predictor = lda.make_predictor(Namespace(**sizes))

    def model(docs: Tensor) -> None:
        lda.model(docs.T, Namespace(**sizes, num_docs=len(docs)))

    def guide(docs: Tensor) -> None:
        lda.parametrized_guide(predictor, docs.T, Namespace(**sizes, num_docs=len(docs)))

    return Case(model, guide, ((8 * random(6, 5)).long(),), ENUM2, [predictor])


def baseball(name: str) -> Case:
    model, hits = (
        getattr(example("baseball.py"), name),
        torch.tensor([18.0, 17, 16, 15, 14, 14, 13, 12, 11, 11, 10, 10, 10, 10, 10, 9, 8, 7]),
    )
    guide = AutoNormal(model)
    return Case(model, guide, (torch.full((18,), 45.0), hits), networks=[guide], rows=name != "fully_pooled")


for name in ("fully_pooled", "not_pooled", "partially_pooled", "partially_pooled_with_logit"):
    CASES[f"baseball, {name}"] = partial(baseball, name)


@case("eight_schools")
def _() -> Case:
    schools = example("eight_schools/svi.py")
    return Case(schools.model, schools.guide, (schools.data,), rows=True)


def sparse_gamma(kind: str) -> Case:
    module = example("sparse_gamma_def.py")
    model = module.SparseGammaDEF()
    model.top_width, model.mid_width, model.bottom_width, model.image_size = 4, 3, 2, 9
    guides = {"custom": lambda: model.guide, "easy": lambda: module.MyEasyGuide(model.model)}
    guide = guides.get(kind, lambda: AutoDiagonalNormal(model.model, init_loc_fn=init_to_feasible))()
    return Case(model.model, guide, (counts(6, 9),), TraceMeanField_ELBO, [guide] if isinstance(guide, nn.Module) else [], rows=True)


for kind in ("custom", "auto", "easy"):
    CASES[f"sparse_gamma_def, {kind} guide"] = partial(sparse_gamma, kind)


@case("bayesian_regression")
def _() -> Case:
    model = notebook("bayesian_regression.ipynb", (15,)).BayesianRegression(3, 1)
    guide = AutoDiagonalNormal(model)
    return Case(model, guide, (random(12, 3), random(12, 3).sum(1)), networks=[model, guide])


@case("intro_long")
def _() -> Case:
    module = notebook("intro_long.ipynb", (24, 34, 42))
    return Case(module.model, module.custom_guide, ((torch.arange(12) % 3 == 0).float(), 5 * random(12), 9 - random(12)))


@case("air")
def _() -> Case:
    sizes = dict(encoder_net=[6], decoder_net=[6], predict_net=[6], bl_predict_net=[6], decoder_output_bias=-2)
    air = example("air/air.py").AIR(
        num_steps=2,
        x_size=8,
        window_size=5,
        z_what_size=3,
        rnn_hidden_size=6,
        decoder_output_use_sigmoid=True,
        baseline_scalar=0.1,
        **sizes,
    )
    return Case(partial(air.model, batch_size=None), partial(air.guide, batch_size=None), (random(6, 8, 8),), TraceGraph_ELBO, [air])


def ved(name: str, *args: Any, **options: Any) -> Any:
    import pyroved

    return getattr(pyroved.models, name)(*args, seed=torch.initial_seed(), **options)


IMAGES, PIXELS = binary(6, 6, 6), binary(6, 36)
CASES["pyroVED iVAE"] = lambda: of(ved("iVAE", (6, 6), 2, **HIDDEN), IMAGES)
CASES["pyroVED iVAE, r and t"] = lambda: of(ved("iVAE", (6, 6), 2, ["r", "t"], **HIDDEN), IMAGES)
CASES["pyroVED iVAE, conditional"] = lambda: of(ved("iVAE", (6, 6), 2, c_dim=3, **HIDDEN), PIXELS, LABELS)
CASES["pyroVED jiVAE"] = lambda: of(ved("jiVAE", (6, 6), 2, 3, **HIDDEN), IMAGES, elbo=ENUM, enumerated=True)
CASES["pyroVED jiVAE, r"] = lambda: of(ved("jiVAE", (6, 6), 2, 3, ["r"], **HIDDEN), IMAGES, elbo=ENUM, enumerated=True)
SSI: dict[str, Any] = dict(hidden_dim_cls=[8], **HIDDEN)
CASES["pyroVED ssiVAE, no labels"] = lambda: of(ved("ssiVAE", (6, 6), 2, 3, None, **SSI), PIXELS, elbo=ENUM, enumerated=True)
CASES["pyroVED ssiVAE, r"] = lambda: of(ved("ssiVAE", (6, 6), 2, 3, ["r"], **SSI), PIXELS, elbo=ENUM, enumerated=True)
CASES["pyroVED ssiVAE, labels"] = lambda: of(ved("ssiVAE", (6, 6), 2, 3, None, **SSI), PIXELS, LABELS, elbo=ENUM, enumerated=True)
CASES["pyroVED VED"] = lambda: of(
    ved("VED", (8, 8), (8,), latent_dim=2, hidden_dim_e=[(4,), (4, 4), (4, 4)], hidden_dim_d=[(4, 4), (4, 4), (4,)]),
    binary(6, 1, 8, 8),
    binary(6, 1, 8),
)
