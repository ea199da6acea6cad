"""The options of commands that apply a finished run to rows. Nothing here imports torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from jsonargparse.typing import PositiveInt

from inference.recipes.options import Split

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

NEW = "New rows: a .npy, .npz, .csv, .parquet or .txt file, or a folder or glob, read as the run's data were."
_SPLIT = "Split of the run's own data, without --data.source; by default test."


def _apply(parser: "ArgumentParser") -> None:
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    parser.add_argument("--data.source", type=str | None, default=None, help=NEW)
    parser.add_argument("--out", type=str, required=True, help="File to write: .csv or .parquet for a table, .npy or .npz for arrays.")
    parser.add_argument("--overwrite", action="store_true", help="Replace an earlier file.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the draws.")
    parser.add_argument("--device", type=str, default="cpu", help="Device to run on, such as cuda.")


def _encode(parser: "ArgumentParser") -> None:
    _apply(parser)
    parser.add_argument("--split", type=Split | None, default=None, help=_SPLIT)
    parser.add_argument("--draws", type=PositiveInt | None, default=None, help="Draws from q(z|x) for each row; by default one.")
    parser.add_argument("--means", action="store_true", help="Write means of q(z|x) instead of draws.")
    parser.add_argument("--enumerated", action="store_true", help="Also write latents that are summed out, drawn from their posterior.")


def _reconstruct(parser: "ArgumentParser") -> None:
    _apply(parser)
    parser.add_argument("--split", type=Split | None, default=None, help=_SPLIT)
    words = "Draws of z and x for each row; by default, the mean of p(x|z) at one draw of z, or a draw if there is no mean."
    parser.add_argument("--draws", type=PositiveInt | None, default=None, help=words)


def _impute(parser: "ArgumentParser") -> None:
    _apply(parser)
    words = "Draws of the missing cells of each row; by default one, or 100 with --center."
    parser.add_argument("--draws", type=PositiveInt | None, default=None, help=words)
    words = "Write one best value for each missing cell of a table: the mean, median or most frequent of the draws, and probabilities."
    parser.add_argument("--center", action="store_true", help=words)
    parser.add_argument(
        "--num_particles", type=PositiveInt, default=1000, help="Draws of z for each row, of which some are kept by weight."
    )
    words = "Latent that holds the missing cells, of a pair that says why they are missing; by default, the likelihood draws them."
    parser.add_argument("--site", type=str | None, default=None, help=words)


OF_ROWS: dict[str, tuple[str, Callable[["ArgumentParser"], None]]] = {  # how a command is used, and what adds its options
    "encode": ("RUN [--data.source FILE] --out FILE [options]", _encode),
    "reconstruct": ("RUN [--data.source FILE] --out FILE [options]", _reconstruct),
    "impute": ("RUN --data.source FILE --out FILE [options]", _impute),
}
