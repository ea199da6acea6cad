"""Options of any words: each line is read, or refused with a message, and nothing else happens."""

from argparse import ArgumentError

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
import pytest

from inference.recipes.combinations import check_parts
from inference.scripts.arguments import OPTIONS
from inference.scripts.parsing import parse

NAMES = ["--model.prior", "--model.hidden", "--fit.epochs", "--fit.warmup_epochs", "--fit.free_bits", "--data.shape", "--data.binarize"]
NAMES += ["--evaluate.num_particles", "--num_particles", "--priors", "--expost", "--seed", "--device", "--model", "--fit."]
VALUES = ["vamp", "uniform", "stacked", "1", "0", "-1", "1e9", "nan", "null", "true", "[1,2]", "[", "{a: 1}", "{a: {b: [}", "&a [*a]"]
WORDS = st.one_of(st.sampled_from(NAMES), st.sampled_from(VALUES), st.text(st.characters(exclude_categories=["Cs"]), max_size=5))


@settings(max_examples=250, deadline=None, derandomize=True, database=None, suppress_health_check=[*HealthCheck])
@given(st.sampled_from(list(OPTIONS)), st.lists(WORDS, max_size=6))
def test_lines_of_any_words(command, words):
    if {"-h", "--help"} & set(words) or any(word.startswith(("--print", "--config", "--conf")) for word in words):
        return
    try:
        args = parse(command, "", [*words, "--out=x"])
        if "model" in args:
            check_parts(args.model)
    except (ValueError, TypeError, OSError, ArgumentError) as error:
        assert str(error).strip()


@pytest.mark.parametrize("text", ["fit: [", "fit: !!python/object/apply:os.getcwd []", "- 1", "fit: {epochs: {a: 1}}", "\x00", "fit: 3"])
def test_configurations_that_are_none(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises((ArgumentError, ValueError, TypeError)):
        parse("train", "", ["--out", "x", "--config", str(path)])
