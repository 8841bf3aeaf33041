"""Numbers and tables as text, for the terminal and for legends. Rounding happens here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence

DIGITS = 7
"""Significant digits that are printed at most."""


def plus_minus(value: float, error: float) -> str:
    """A value to two digits of its error, and that: 12.34 ± 0.56; four digits where the error is 0."""
    if math.isnan(value):
        return "not computed"
    if math.isinf(value):
        return f"{value}"
    if not error:
        return f"{value:.0f}" if value == round(value) and abs(value) < 1e6 else f"{value:#.4g}"
    if not math.isfinite(error):
        return f"{value:.4g} ± ?"
    largest = max(abs(value), error)
    exponent = math.floor(math.log10(largest))
    scale = exponent if not -3 <= exponent < 6 else 0
    value, error = value / 10**scale, error / 10**scale
    decimals = min(1 - math.floor(math.log10(error)), DIGITS - 1 - (exponent - scale))
    text = f"{value:.{max(0, decimals)}f} ± "
    smallest = 10.0 ** -max(0, decimals)
    text += f"{error:.{max(0, decimals)}f}" if error >= smallest / 2 else f"{error:.0e}"
    return f"({text})e{scale:+03d}" if scale else text


def two_digits(error: float) -> str:
    """An error to two digits: 18, 1.1, 0.048."""
    decimals = max(0, 1 - math.floor(math.log10(error))) if error > 0 else 0
    return f"{error:.{decimals}f}" if decimals <= DIGITS else f"{error:.1e}"


def sampled(error: float) -> str:
    """A sampling error, in brackets behind the others; nothing where there is none."""
    return f" (± {two_digits(error)})" if math.isfinite(error) else ""


def percent(share: float, error: float) -> str:
    """A share with its standard error: 78.2 ± 1.3 %."""
    return "not computed" if math.isnan(share) else f"{plus_minus(100 * share, 100 * error)} %"


def mean_std(value: float, std: float) -> str:
    """A mean and the standard deviation of what it is of, to two digits of that: 68.42(57), 68.4(1.3)."""
    if math.isnan(value):
        return "not computed"
    if not (math.isfinite(std) and std > 0):
        return f"{value:#.4g}" + ("(0)" if std == 0 else "(?)")
    std = float(f"{std:.1e}")  # 0.0996 has its two digits as 0.10
    decimals = min(max(0, 1 - math.floor(math.log10(std))), DIGITS)
    if decimals > 0 and std < 1:
        return f"{value:.{decimals}f}({round(std * 10**decimals)})"
    return f"{value:.{decimals}f}({std:.{decimals}f})"


def duration(seconds: float) -> str:
    """8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned by blanks, the first to the left, the others to the right; one row a line."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines)


def printable(text: str) -> str:
    """The text without what would end its line or steer a terminal; bytes that are no text stay visible."""
    return "".join(c if c.isprintable() or "\ud800" <= c <= "\udfff" else "?" for c in text)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The same as a table of Markdown."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join([lines[0], f"| --- |{' ---: |' * (len(rows[0]) - 1)}", *lines[1:]])


LATEX = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\dots{}",
    "θ": r"$\theta$",
    "λ": r"$\lambda$",
    "∇": r"$\nabla$",
    "‖": r"$\|$",
}
"""What LaTeX has to read in place of a letter."""


def latex(rows: Sequence[Sequence[str]]) -> str:
    """The same as a tabular of LaTeX, ruled by the package booktabs."""
    lines = [
        " & ".join("".join(LATEX.get(letter, letter) for letter in cell) for cell in row) for row in rows
    ]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}"
    body = [rf"{line} \\" for line in lines]
    return "\n".join([begin, r"\toprule", body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}"])
