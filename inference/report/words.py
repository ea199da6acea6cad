"""Names of figures as readers of a report know them, instead of those in the code."""

from collections.abc import Iterable
import re

FIGURES = {
    "rate": "rate",
    "mutual_information": "mutual information",
    "marginal_kl": "KL of the aggregate posterior to the prior",
    "marginal_kl_held_out": "the same, held out",
    "total_correlation": "total correlation of the units",
    "dimension_kl": "KL of single units, summed",
    "reverse_kl": "KL of the prior to the aggregate posterior",
    "distortion": "distortion",
    "approximation_gap": "approximation gap",
    "amortization_gap": "amortization gap",
    "holes_prior": "prior draws outside the codes",
    "holes_codes": "codes outside the prior",
    "auc": "area under the classifier's curve",
    "active_units": "active units",
    "codes_used": "code values in use",
    "perplexity": "perplexity of the codes",
}
FITS = {"batch": "batch size", "rate": "learning rate"}
_COLUMNS = {
    "log_px": "log p(x)",
    "bad_k": "unreliable data",
    "mc_error": "error of the draws",
    "num_particles": "draws per datum",
    "difference_se": "the error of a difference",
    "is_bound": "whether it is a bound",
}
_CODE_NAMES = {name: words for name, words in (FIGURES | _COLUMNS).items() if "_" in name}
_IS_CODE_NAME = "|".join(sorted(_CODE_NAMES, key=len, reverse=True))


def figure_name(name: str) -> str:
    """The name of a diagnosis's figure in words.

    >>> figure_name("holes_prior"), figure_name("rate[z1]")
    ('prior draws outside the codes', 'rate: z1')
    """
    figure, _, site = name.partition("[")
    return FIGURES.get(figure, figure) + (f": {site[:-1]}" if site else "")


def in_words(text: str, names: Iterable[str] = ()) -> str:
    """Replace the code names of figures in a sentence by words; names of models stay as they are.

    >>> in_words("difference_se of bad_k: bad_k is large", ["bad_k: bad_k"])
    'the error of a difference of bad_k: bad_k is large'
    """
    kept = "|".join(map(re.escape, sorted(names, key=len, reverse=True))) or r"(?!)"
    pattern = rf"(?<!\w)(?:(?P<kept>{kept})|(?P<name>{_IS_CODE_NAME}))(?!\w)"
    return re.sub(pattern, lambda found: found["kept"] or _CODE_NAMES[found["name"]], text)
