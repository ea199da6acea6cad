"""A small grammar of pairs of programs: what varies is what people write differently."""

from dataclasses import dataclass

from hypothesis import strategies as st

STATES = 3  # of a categorical
READERS = {  # how a program reads one of its latents; those of "anywhere" work with any number of dimensions before the event's
    (): {
        "anywhere": ("z[..., None]", "z.unsqueeze(-1)", "stack"),
        "plain": ("z[:, None]", "z.view(-1, 1)", "z.reshape(len(z), 1)", "outer", "z.unsqueeze(1)"),
    },
    (2,): {
        "anywhere": ("z", "z[..., :1]", "z.flip(-1)", "z.sum(-1, keepdim=True)", "einsum ...", "chunk(2, -1)"),
        "plain": (
            "z[:, :1]",
            "z.view(-1, 2)",
            "z.flip(1)",
            "z.sum(1, keepdim=True)",
            "einsum bd",
            "chunk(2, 1)",
            "bmm",
            "softmax(1)",
            "z.T.T",
        ),
    },
    (2, 2): {
        "anywhere": ("z.flatten(-2)", "z[..., 0, :]", "z.sum(-2)", "z[..., 0]"),
        "plain": (
            "z.flatten(1)",
            "z.view(len(z), 4)",
            "z.view(-1, 4)",
            "z[:, 0]",
            "z[:, :, 0]",
            "z.sum(1)",
            "transpose(1, 2)",
            "einsum bij",
        ),
    },
    "state": {
        "anywhere": ("table[z]", "one_hot", "embedding", "Vindex"),
        "plain": ("index_select", "table[z.view(-1)]", "stack of a loop"),
    },
}
OUTPUTS = {"anywhere": ("[..., 0]", "squeeze(-1)", "sum(-1)"), "plain": ("[:, 0]", "squeeze()", "view(-1)", "sum(1)", "squeeze(1)")}
PLATES = ("sized", "unsized", "subsampling", "dim", "own name")
HOLDERS = ("module", "closure", "namespace", "dict", "param", "pyro module", "class", "partial", "list in a class", "default argument")
ENCODERS = ("linear", "matmul", "batch norm", "dropout", "first columns", "twice")


@dataclass(frozen=True)
class Latent:
    kind: str  # normal, bernoulli, categorical (drawn by the guide), enumerated, or enumerated bernoulli
    shape: tuple[int, ...]
    reader: str
    follows: bool  # the one before it, in the model
    guided: bool  # by the one before it, in the guide


@dataclass(frozen=True)
class Observation:
    kind: str  # normal, bernoulli, poisson, categorical
    shape: tuple[int, ...]
    output: str
    source: str  # "x", or an argument of its own
    masked: bool


@dataclass(frozen=True)
class Program:
    latents: tuple[Latent, ...]
    observations: tuple[Observation, ...]
    join: str = "sum"
    plate: str = "sized"
    guide_plate: str = "sized"
    holder: str = "closure"
    encoder: str = "linear"
    condition: str = "none"  # labels, labels read by tolist, a vector
    extras: tuple[str, ...] = ()
    accident: str = "none"  # a site whose data broadcast against it, which must be refused
    num_rows: int = 4
    equal_rows: int = 1  # at the start
    num_particles: int = 3
    chunk_size: int | None = None
    seed: int = 0


EXTRAS = ("deterministic", "markov", "masked latents", "scaled", "penalty", "plate entered again", "x last")
PLAIN_EXTRAS = ("guide in another order", "other weights before", "factor in the guide")
ACCIDENTS = ("column against scalars", "scalars against a column", "one parameter for several features", "row of parameters")


def is_enumerated(latents):
    return any(latent.kind.startswith("enumerated") for latent in latents)


@st.composite
def drawn_latents(draw):
    kinds = draw(st.lists(st.sampled_from(("normal", "normal", "bernoulli", "categorical", "enumerated")), min_size=1, max_size=3))
    latents = []
    for i, kind in enumerate(kinds):
        shape = draw(st.sampled_from({"normal": ((), (2,), (2, 2)), "bernoulli": ((), (2,))}.get(kind, ((),))))
        how = READERS[shape if kind in ("normal", "bernoulli") else "state"]
        reader = draw(st.sampled_from(how["anywhere"] if kind == "enumerated" else how["anywhere"] + how["plain"]))
        follows, guided = (i > 0 and draw(st.booleans()) for _ in range(2))
        guided = guided and "enumerated" not in (kinds[i - 1], kind)
        if kind == "enumerated":
            kind = draw(st.sampled_from(("enumerated", "enumerated bernoulli")))
        latents.append(Latent(kind, shape, reader, follows, guided))
    return tuple(latents)


@st.composite
def drawn_observation(draw, outputs):
    kind = draw(st.sampled_from(("normal", "normal", "bernoulli", "poisson", "categorical")))
    shape = () if kind == "categorical" else draw(st.sampled_from(((), (3,))))
    source = draw(st.sampled_from(("x", "own"))) if kind == "normal" else "own"
    return Observation(kind, shape, draw(st.sampled_from(outputs)), source, draw(st.sampled_from((False, False, True))))


@st.composite
def programs(draw):
    latents = draw(drawn_latents())
    anywhere = is_enumerated(latents)
    outputs = OUTPUTS["anywhere"] if anywhere else OUTPUTS["anywhere"] + OUTPUTS["plain"]
    return Program(
        latents=latents,
        observations=tuple(draw(st.lists(drawn_observation(outputs), min_size=1, max_size=3))),
        join="sum" if anywhere else draw(st.sampled_from(("sum", "cat"))),
        plate=draw(st.sampled_from(PLATES)),
        guide_plate=draw(st.sampled_from(PLATES)),
        holder=draw(st.sampled_from(HOLDERS)),
        encoder=draw(st.sampled_from(ENCODERS)),
        condition=draw(st.sampled_from(("none", "none", "labels", "vector", "tolist"))),
        extras=tuple(sorted(draw(st.sets(st.sampled_from(EXTRAS if anywhere else EXTRAS + PLAIN_EXTRAS), max_size=2)))),
        accident=draw(st.sampled_from(("none",) * 12 + ACCIDENTS)),
        num_rows=draw(st.sampled_from((4, 2, 3, 5, 6, 7, 8, 9, 1))),
        equal_rows=draw(st.sampled_from((1, 1, 2, 3))),
        num_particles=draw(st.sampled_from((3, 1, 2, 7, 1000))),
        chunk_size=draw(st.sampled_from((None, None, 1, 4, 5))),
        seed=draw(st.integers(0, 3)),
    )
