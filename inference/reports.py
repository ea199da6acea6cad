"""What a comparison leaves: its table in print, and a folder of tables and pictures."""

from collections.abc import Mapping
from pathlib import Path

from inference.compare import compare
from inference.evaluation import Evaluation
from inference.runs import Run, budget, random_rows, read_history
from inference.tables import markdown_table

TABLE = "comparison.csv"
NUM_IMAGES = 20


def report(folders: Mapping[str, Path], runs: Mapping[str, Run], scores: Mapping[str, Evaluation], out: Path) -> None:
    """Prints a comparison, and writes it with pictures to a folder.

    Args:
        folders: Run folders by name, for what the fits were given and how they went.
        runs: Models by name, as many as are to be drawn.
        scores: Evaluations by name.
        out: The folder.
    """
    from inference import pictures

    table, fits = compare(scores), budget(folders, scores)
    print("", table, fits.to_string(), sep="\n\n")
    table.to_csv(out / TABLE)
    data = next(iter(runs.values())).data
    (out / "comparison.md").write_text(
        f"{data.description}\n\n{table.to_markdown()}\n\n{markdown_table(fits)}\n"
    )
    histories = {name: read_history(folder) for name, folder in folders.items()}
    pictures.draw_history(histories, out / "curves.png")
    pictures.draw_estimates(scores, out / "estimate-vs-particles.png")

    x = random_rows(data.test, NUM_IMAGES, seed=0)
    if pictures.are_images(x.shape[1:]):
        pictures.draw_models({name: run.vae.cpu() for name, run in runs.items()}, x, out)
    else:
        print(f"No pictures of samples: data of shape {tuple(x.shape[1:])} are no images.")
