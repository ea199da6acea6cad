"""Draws from a fitted model: ``pyro-lvm sample runs/vamp`` writes samples, reconstructions and codes, and pictures or text of them."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
import numpy as np
import torch
from torch import Tensor

from inference.checkpoint import move_
from inference.data.columns import Column
from inference.data.splits import random_rows
from inference.data.text import decode_text
from inference.files import replacing_file
from inference.files.folders import checked_folder, replacing_folder
from inference.new_rows.tables import as_named, write_table
from inference.predictive.draws import Values, encode, of_data, reconstruct, sample_prior
from inference.recipes.build import batch_given
from inference.runs.folders import load_runs
from inference.runs.kinds import ARRAYS, SAMPLES
from inference.runs.run import CHECKPOINT, Run
from inference.runs.scores import expost_path, run_under
from pyro_lvm.structure import known_row_parameters


def main(args: Namespace) -> None:
    """Draw from a fitted model and write arrays, and pictures if the data are images."""
    folder = Path(args.run)
    place = folder if args.expost is None else expost_path(folder, args.expost)
    shown = args.out or place / "samples"
    out = checked_folder(Path(shown), SAMPLES, overwrite=args.overwrite, beside=[folder], within=folder)
    run = load_runs({"run": folder})["run"]
    if args.expost is not None:
        run = run_under(run, place, args.expost, args.device)
    arrays = draws(run, args.split, args.num_draws, seed=args.seed, device=args.device, given=args.given)

    with replacing_folder(out, SAMPLES, overwrite=args.overwrite, worth_keeping=CHECKPOINT) as new:
        values = {name: tensor.numpy() for name, tensor in arrays.items()}
        with replacing_file(new / ARRAYS) as temporary:
            np.savez_compressed(temporary, **values)  # type: ignore[arg-type]  # none is named allow_pickle
        if run.data.kinds is not None and "samples" in arrays:
            write_tables(arrays, run.data.kinds, new)
        elif run.data.alphabet is None:
            draw(arrays, new)
        else:
            write_texts(arrays, run.data.alphabet, new)
    print("\n".join(f"{name:<16} {tuple(tensor.shape)}" for name, tensor in arrays.items()))
    print(f"Wrote {shown}.")


def draws(run: Run, split: str, count: int, *, seed: int, device: str, given: Sequence[float] | None = None) -> dict[str, Tensor]:
    """Samples and reconstructions ``[n, *X]`` with the data that they are of, and codes ``[N, D]`` of all data of a split, by name.

    Samples are given what the data are given or, instead, the values ``given``, and these are kept with them.
    """
    move_(run.pair, device)
    batch = tuple(x.to(device) for x in run.data.batch(split))
    rows = random_rows(torch.arange(len(batch[0])), count, seed=seed)
    given_rows, shown = (batch, rows) if known_row_parameters(run.pair) else (tuple(x[rows] for x in batch), slice(None))
    asked = given_rows if given is None else batch_given(run.data, given_rows, given)
    arrays = {"data": given_rows[0]}  # [n, *X]
    arrays |= {f"given_{name}": x for name, x in zip(run.data.given, asked[1:], strict=True)}  # each [n, *C]
    arrays |= by_site("samples", sample_prior(run.pair, *asked, seed=seed))  # each [n, *X]
    arrays |= by_site("reconstructions", reconstruct(run.pair, *given_rows, seed=seed, draws=not run.has_means))  # each [n, *X]
    if run.has_means:
        arrays |= by_site("sample_means", sample_prior(run.pair, *asked, seed=seed, means=True))  # each [n, *X]
        arrays |= level_means(run.pair, *given_rows, seed=seed)  # each [n, *X]
    arrays = {name: values[shown].cpu() for name, values in arrays.items()}
    return arrays | {name: values.cpu() for name, values in by_site("codes", encode(run.pair, *batch, seed=seed)).items()}  # each [N, D]


def by_site(name: str, values: Values) -> dict[str, Tensor]:
    """Values of a single site under ``name``, or those of several sites under ``name_SITE`` each."""
    return {f"{name}_{site}": value for site, value in values.items()} if isinstance(values, dict) else {name: values}


def level_means(pair: object, *batch: Tensor, seed: int) -> dict[str, Tensor]:
    """For a hierarchy: means of p(x|z) with more and more levels, from the top down, held at codes of the data."""
    codes = encode(pair, *batch, seed=seed)
    if not isinstance(codes, dict):
        return {}
    held = [list(codes)[: i + 1] for i in range(len(codes) - 1)]
    given = {"_".join(names): {name: codes[name] for name in names} for names in held}
    return {f"means_given_{names}": of_data(pair, sample_prior(pair, *batch, held=z, seed=seed, means=True)) for names, z in given.items()}


def write_texts(arrays: dict[str, Tensor], alphabet: str, out: Path) -> None:
    """Write codes of characters as text, one paragraph per datum."""
    for name in ("samples", "data", "reconstructions"):
        with replacing_file(out / f"{name}.txt") as temporary:
            temporary.write_text("\n\n".join(decode_text(arrays[name], alphabet)) + "\n", encoding="utf-8")


def write_tables(arrays: dict[str, Tensor], columns: Sequence[Column], out: Path) -> None:
    """Write rows of a table with the names of their columns and values."""
    for name in ("samples", "data", "reconstructions"):
        write_table(out / f"{name}.csv", as_named(arrays[name].double().numpy(), columns))


def draw(arrays: dict[str, Tensor], out: Path) -> None:
    """Write pictures if the data are images, and otherwise print that they are not."""
    from inference.drawing import save_axes
    from inference.plots.images import are_images, plot_samples

    shape = arrays["data"].shape[1:]
    if not are_images(shape) or "samples" not in arrays:
        print(f"No pictures: {f'data of shape {tuple(shape)} are not images' if 'samples' in arrays else 'several sites are observed'}.")
        return
    means = {"means": arrays["sample_means"]} if "sample_means" in arrays else {}
    samples = {"data": arrays["data"]} | means | {"draws": arrays["samples"]}
    save_axes(plot_samples(samples), out / "samples.png", title="Draws from the prior, decoded")
    reconstructions = {"data": arrays["data"], "mean" if means else "draw": arrays["reconstructions"]}
    save_axes(plot_samples(reconstructions), out / "reconstructions.png", title="Data, encoded and decoded")
    given = {name.removeprefix("means_").replace("_", " "): arrays[name] for name in arrays if name.startswith("means_given")}
    if given:
        rows = {"data": arrays["data"]} | given | {"given all": arrays["reconstructions"]}
        save_axes(plot_samples(rows), out / "levels.png", title="Upper levels held at codes of the data, the others drawn")
