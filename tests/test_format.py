import math

import pytest

from landscape.format import DIGITS, duration, percent, plus_minus, table, two_digits

NAN = math.nan


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (12.3456, 0.5612, "12.35 ± 0.56"),
        (12.3456, 5.612, "12.3 ± 5.6"),
        (12.3456, 561.2, "12 ± 561"),
        (-12.3456, 0.5612, "-12.35 ± 0.56"),
        (0.0, 0.5, "0.00 ± 0.50"),
        (0.0, 0.0, "0"),
        (1.336042, 0.0, "1.336"),
        (0.0123456, 0.00034, "0.01235 ± 0.00034"),
        (0.000123456, 0.0000034, "(1.235 ± 0.034)e-04"),
        (1.23456e7, 3.4e4, "(1.2346 ± 0.0034)e+07"),
        (-2.5e-9, 1e-11, "(-2.500 ± 0.010)e-09"),
        (1e-9, 3.0, "0.0 ± 3.0"),
        (0.31851334, 6.4e-7, "0.3185133 ± 0.0000006"),
        (0.31851334, 6.4e-12, "0.3185133 ± 6e-12"),
        (2.5, NAN, "2.5 ± ?"),
        (2.5, math.inf, "2.5 ± ?"),
        (NAN, NAN, "not computed"),
        (NAN, 0.0, "not computed"),
        (math.inf, 1.0, "inf"),
        (-math.inf, NAN, "-inf"),
    ],
)
def test_a_value_is_printed_to_two_digits_of_its_error(value, error, text):
    assert plus_minus(value, error) == text


@pytest.mark.parametrize("exponent", range(-12, 13))
@pytest.mark.parametrize("relative", [0.9, 0.1, 1e-3, 1e-5])
def test_what_is_printed_differs_from_the_value_by_less_than_a_tenth_of_its_error(exponent, relative):
    value = 1.2345678 * 10.0**exponent
    error = relative * value
    text = plus_minus(value, error)
    scale = 10.0 ** int(text.partition("e")[2] or 0) if text.startswith("(") else 1.0
    printed, printed_error = (float(part) * scale for part in text.partition(")")[0].strip("(").split(" ± "))
    rounding = max(error / 10, value * 10.0 ** (1 - DIGITS))
    assert abs(printed - value) <= rounding
    assert abs(printed_error - error) <= rounding


def test_a_share_is_printed_in_per_cent():
    assert percent(0.782, 0.013) == "78.2 ± 1.3 %"
    assert percent(1.0, 0.0) == "100 %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (7.6, "8 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_are_written_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_columns_are_aligned():
    lines = table([["eps", "0", "0.1"], ["loss", "1.25", "12.5"]]).splitlines()
    assert lines == ["eps      0   0.1", "loss  1.25  12.5"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (18.2, "18"),
        (3.0, "3.0"),
        (1.14, "1.1"),
        (0.0483, "0.048"),
        (123.4, "123"),
        (0.0, "0"),
        (2e-9, "2.0e-09"),
    ],
)
def test_an_error_alone_has_two_digits(error, words):
    assert two_digits(error) == words
