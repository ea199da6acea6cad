"""Help and refusals come at once: nothing that takes seconds is imported for them."""

import ast
from pathlib import Path
import subprocess
import sys

import pytest

import inference

ROOT = Path(inference.__file__).parent.parent


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--help"], 0), (["trian"], 2), (["train", "--help"], 0), (["compare", "--prior", "vamp"], 2), (["train"], 2)],
    ids=str,
)
def test_help_and_refusals_import_no_torch(words: list[str], status: int) -> None:
    program = (
        "import sys\nfrom inference.scripts.cli import main\ntry:\n    main(sys.argv[1:])\n"
        "finally:\n    heavy = {'torch', 'pandas', 'pyro', 'matplotlib'} & set(sys.modules)\n    assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == status and "Assertion" not in done.stderr, done.stderr


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(inference.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: f"{node.module}" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(seen) == set(inference.__all__) <= set(dir(inference))
    for name, module in seen.items():
        assert getattr(inference, name) is getattr(sys.modules[module], name)
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        inference.fti  # noqa: B018
