"""The kinds of folders that commands write, with the names of all files in them."""

from glob import has_magic
from hashlib import sha256
from pathlib import Path
import re

from inference.files.contents import Kind
from inference.recipes.registries import PRIORS, TRACKERS
from inference.runs.run import CHECKPOINT, CONFIG, HISTORY, PAGE, SUMMARY, TABLE

ARRAYS = "arrays.npz"
_OURS = r"manifest\.json|unfinished\.json"
_SAMPLES = rf"arrays\.npz|(samples|reconstructions|levels)\.png|(samples|data|reconstructions)\.(txt|csv)|{_OURS}"
_SCORES = r"(train|valid|test)-K\d+-seed-?\d+[\w-]*\.(nc|csv)"
_SCORED = rf"{_SCORES}|proposal\.yaml|soft/({_SCORES})|samples/({_SAMPLES})"
_TRACKED = "|".join(rf"{re.escape(name)}/({tracker.facts['files']})" for name, tracker in TRACKERS.items())
_RUN = (
    rf"config\.yaml|summary\.yaml|checkpoint(\.last)?\.safetensors|history\.(csv|png)|diagnosis\.csv|calibration\.(csv|png)|{_SCORED}|{_TRACKED}"
    rf"|bidirectional\.csv|user_code/.+\.py|new/[\w-]+/(bidirectional\.csv|{_SCORED})|expost-[\w-]+/(checkpoint\.safetensors|{_SCORED})|{_OURS}"
)
_PICTURES = r"differences|estimate-vs-particles|reliability|samples|reconstructions|walks|codes|dimension-kl|curves|calibration-\d+"
_REPORT = rf"comparison\.(csv|md)|overview\.csv|recipes\.csv|quality\.csv|report\.html|({_PICTURES})\.png|{_OURS}"
_PRIORS = "|".join(map(re.escape, PRIORS))

RUN = Kind("train", (CONFIG, CHECKPOINT, HISTORY, SUMMARY), re.compile(_RUN))
COMPARISON = Kind("compare", (TABLE, PAGE), re.compile(rf"{_REPORT}|({_PRIORS})/({_RUN})"))
REPORT = Kind("report", (TABLE, PAGE), re.compile(_REPORT))
SAMPLES = Kind("sample", (ARRAYS,), re.compile(_SAMPLES))
KINDS = (RUN, COMPARISON, REPORT, SAMPLES)


def default_out(source: str) -> Path:
    """The folder for a comparison on a data set; for a file, its path is part of the name, as other folders may have one of that name."""
    path = Path(source).expanduser()
    is_own = path.suffix or has_magic(source) or path.is_dir()
    mark = f"-{sha256(bytes(path.resolve())).hexdigest()[:8]}" if is_own else ""
    return Path("runs", f"compare-{''.join(c for c in path.stem if c not in '*?[]')}{mark}")
