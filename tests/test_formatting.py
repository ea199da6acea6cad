"""No digit beyond its error."""

from decimal import Decimal
from math import floor, inf, log10, nan

import numpy as np
import pandas as pd
import pytest

from inference.formatting import format_error, format_share, format_value, format_with_error, markdown_table, spreadsheet_name


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-88.812, 0.5271, "-88.8 ± 0.53"),
        (-88.812, 0.097, "-88.81 ± 0.097"),
        (-88.812, 0.0997, "-88.8 ± 0.10"),
        (-88.812, 9.97, "-90 ± 10"),
        (-88.812, 12, "-90 ± 12"),
        (0.31, 2.44, "0 ± 2.4"),
        (-0.003, 0.5, "0.0 ± 0.50"),
        (3.44e6, 1.23e5, "3400000 ± 120000"),
        (3.4567e12, 1.2e9, "3.457e+12 ± 1.2e+09"),
        (9.96e9, 1.2e8, "1.00e+10 ± 1.2e+08"),
        (5.0, 1e9, "0 ± 1.0e+09"),
        (3.21e-14, 2.2e-15, "3.2e-14 ± 2.2e-15"),
        (0.0, 0.0, "0"),
        (1.23456789, 0.0, "1.23457"),
        (-1234.5, nan, "-1200"),
        (0.01234, nan, "0.012"),
        (nan, 0.1, ""),
        (-inf, nan, "-inf"),
        (-inf, 0.1, "-inf"),
        (inf, inf, "inf"),
        (7.0, inf, "? ± inf"),
    ],
)
def test_value_with_error(value: float, error: float, text: str) -> None:
    assert format_with_error(value, error) == text


def test_ten_thousand_numbers_show_no_digit_beyond_their_error() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=10_000) * 10 ** rng.uniform(-6, 8, size=10_000)
    errors = np.abs(values) * 10 ** rng.uniform(-7, 4, size=10_000)
    for value, error in zip(values.tolist(), errors.tolist(), strict=True):
        shown = Decimal(format_value(value, error))
        assert shown % Decimal(10) ** floor(log10(error)) == 0, (value, error)
        # the leading digit's place is at most the rounded error, which is at most 1.05 times the error
        assert abs(float(shown) - value) <= 0.526 * error, (value, error)
        shown_error = Decimal(format_error(error))
        assert len(shown_error.normalize().as_tuple().digits) <= 2, error
        assert abs(float(shown_error) - error) <= 0.0501 * error, error


def test_share_is_rounded_at_its_binomial_error() -> None:
    assert format_share(0.0312, 1000) == "3.1%"
    assert format_share(0.48, 50) == "48%"
    assert format_share(0.0, 50) == "0%"
    assert format_share(1.0, 50) == "100%"
    assert format_share(nan, 50) == ""


def test_markdown_escapes_bars() -> None:
    table = pd.DataFrame({"log_px": ["-1.0"]}, index=["q(z|x)"])
    assert markdown_table(table) == "|  | log_px |\n| --- | ---: |\n| q(z\\|x) | -1.0 |"


def test_impossible_errors_and_shares_are_refused() -> None:
    for function in (format_with_error, format_value):
        with pytest.raises(ValueError, match="zero or larger; got -0.1"):
            function(1.0, -0.1)
    with pytest.raises(ValueError, match="between 0 and 1; got 3"):
        format_share(3, 50)


@pytest.mark.parametrize("name", ["=cmd()", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_names_are_no_formulas(name):
    assert spreadsheet_name(name) == "'" + name
    assert spreadsheet_name("a=1") == "a=1"
