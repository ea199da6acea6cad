"""Draws from a fitted model: ``pyro-lvm sample runs/vamp`` writes samples, reconstructions and codes, and pictures or text of them."""

from pathlib import Path

from jsonargparse import Namespace
import numpy as np
from torch import Tensor

from inference.data.splits import random_rows
from inference.data.text import decode_text
from inference.files import replacing_file
from inference.files.folders import checked_folder, replacing_folder
from inference.predictive.draws import Values, encode, of_one_site, reconstruct, sample_prior
from inference.runs.folders import load_runs
from inference.runs.kinds import ARRAYS, SAMPLES
from inference.runs.run import CHECKPOINT
from inference.runs.scores import expost_path, run_under


def main(args: Namespace) -> None:
    """Draw from a fitted model and write arrays, and pictures if the data are images."""
    folder = Path(args.run)
    place = folder if args.expost is None else expost_path(folder, args.expost)
    shown = args.out or place / "samples"
    out = checked_folder(Path(shown), SAMPLES, overwrite=args.overwrite, beside=[folder], within=folder)
    run = load_runs({"run": folder})["run"]
    if args.expost is not None:
        run = run_under(run, place, args.expost)
    held_out = getattr(run.data, args.split)
    x = random_rows(held_out, args.num_draws, seed=args.seed)
    arrays = {
        "samples": of_one_site(sample_prior(run.vae, x, seed=args.seed)),  # [n, *X]
        "data": x,  # [n, *X]
        "reconstructions": of_one_site(reconstruct(run.vae, x, seed=args.seed, draws=not run.has_means)),  # [n, *X]
    }
    if run.has_means:
        arrays["sample_means"] = of_one_site(sample_prior(run.vae, x, seed=args.seed, means=True))  # [n, *X]
    arrays |= by_site("codes", encode(run.vae, held_out, seed=args.seed))  # each [N, D]
    arrays |= level_means(run.vae, x, seed=args.seed) if run.has_means else {}  # each [n, *X]

    with replacing_folder(out, SAMPLES, overwrite=args.overwrite, worth_keeping=CHECKPOINT) as new:
        values = {name: tensor.numpy() for name, tensor in arrays.items()}
        with replacing_file(new / ARRAYS) as temporary:
            np.savez_compressed(temporary, **values)  # type: ignore[arg-type]  # none is named allow_pickle
        if run.data.alphabet is None:
            draw(arrays, new)
        else:
            write_texts(arrays, run.data.alphabet, new)
    print("\n".join(f"{name:<16} {tuple(tensor.shape)}" for name, tensor in arrays.items()))
    print(f"Wrote {shown}.")


def by_site(name: str, values: Values) -> dict[str, Tensor]:
    """Values of a single site under ``name``, or those of several sites under ``name_SITE`` each."""
    return {f"{name}_{site}": value for site, value in values.items()} if isinstance(values, dict) else {name: values}


def level_means(pair: object, x: Tensor, *, seed: int) -> dict[str, Tensor]:
    """For a hierarchy: means of p(x|z) with more and more levels, from the top down, held at codes of the data."""
    codes = encode(pair, x, seed=seed)
    if not isinstance(codes, dict):
        return {}
    held = [list(codes)[: i + 1] for i in range(len(codes) - 1)]
    given = {"_".join(names): {name: codes[name] for name in names} for names in held}
    return {f"means_given_{names}": of_one_site(sample_prior(pair, x, held=z, seed=seed, means=True)) for names, z in given.items()}


def write_texts(arrays: dict[str, Tensor], alphabet: str, out: Path) -> None:
    """Write codes of characters as text, one paragraph per datum."""
    for name in ("samples", "data", "reconstructions"):
        with replacing_file(out / f"{name}.txt") as temporary:
            temporary.write_text("\n\n".join(decode_text(arrays[name], alphabet)) + "\n", encoding="utf-8")


def draw(arrays: dict[str, Tensor], out: Path) -> None:
    """Write pictures if the data are images, and otherwise print that they are not."""
    from inference.report.plots.images import are_images, draw_images

    shape = arrays["data"].shape[1:]
    if not are_images(shape):
        print(f"No pictures: data of shape {tuple(shape)} are not images.")
        return
    means = {"means": arrays["sample_means"]} if "sample_means" in arrays else {}
    samples = {"data": arrays["data"]} | means | {"draws": arrays["samples"]}
    draw_images(samples, out / "samples.png", title="Draws from the prior, decoded")
    reconstructions = {"data": arrays["data"], "mean" if means else "draw": arrays["reconstructions"]}
    draw_images(reconstructions, out / "reconstructions.png", title="Data, encoded and decoded")
    given = {name.removeprefix("means_").replace("_", " "): arrays[name] for name in arrays if name.startswith("means_given")}
    if given:
        rows = {"data": arrays["data"]} | given | {"given all": arrays["reconstructions"]}
        draw_images(rows, out / "levels.png", title="Upper levels held at codes of the data, the others drawn")
