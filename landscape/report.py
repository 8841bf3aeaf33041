"""Results and metadata as text for a terminal, or as one JSON object."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

from landscape.format import latex, markdown, percent, plus_minus, printable
from landscape.results import Run

THEIR_REMARKS_TELL = ("training", "surface", "line")
"""What is missing in a run that is not complete; of others it is budgets."""
LAYOUTS = {"markdown": (markdown, "<!-- {} -->", "**{}**"), "latex": (latex, "% {}", "% {}")}
"""What writes a table for a page or a paper, a comment there, and a heading."""
MAPPINGS = 12
"""Places of weights that are printed."""


def say(line: str) -> None:
    """Print a line; what a file gave as a name cannot end it or steer the terminal."""
    print(printable(line))


def print_run(found: Run, as_json: bool, output: str | None, layout: str | None = None) -> None:
    """layout: "text", "markdown" or "latex"; by default what the run was asked for."""
    told = found.provenance
    if as_json:
        print(json.dumps({**found.plain(), "output": output}))
        return
    layout = layout or _asked(found)
    if layout in LAYOUTS:
        _print_for_paper(found, layout, output)
        return
    checkpoint, data = told.get("checkpoint"), told["data"]
    for each in told.get("checkpoints", [checkpoint] if checkpoint else []):
        say(f"checkpoint  {each['path']}  ({each['format']}, sha256 {each['sha256'][:12]})")
    if checkpoint:
        say(f"model       {checkpoint['model']}, {checkpoint['parameters']:,} parameters")
    else:
        say(f"model       {told['model']}")
    say(f"data        {data['name']}, {data['split']}, {_examples(data)}")
    say(f"setting     {_setting(found)}")
    for note in told["notes"]:
        say(f"note        {note}")
    if told.get("directions"):
        say(f"directions  {_directions(told['directions'])}")
    print()
    if told.get("trajectory"):
        print_table(_course(told["trajectory"]))
        print()
    for heading, results in _sections(found.results).items():
        if heading:
            say(heading)
        print_table(_table(results))
        print()
    if found.results:
        print(textwrap.fill(found.results[0].LEGEND, 110))
    for remark in _remarks(found):
        say(remark)
    if output:
        say(f"in {output}")


def print_wrote(found: Run, path: str) -> None:
    """Print that a file was written; beside tables for a page or a paper as a comment."""
    _, comment, _ = LAYOUTS.get(_asked(found), (None, "{}", None))
    say(comment.format(f"wrote {path}"))


def _asked(found: Run) -> str:
    """The layout that a run was asked for."""
    return str(found.provenance.get("options", {}).get("format", "text"))


def _remarks(found: Run) -> list[str]:
    """What the results are to be read with, and what is missing of them."""
    remarks: dict[str, dict[str, None]] = {}
    for result in found.results:
        for remark in result.remarks():
            remarks.setdefault(remark, {})[result.budget] = None
    budgets = {result.budget for result in found.results}
    said = [
        remark if set(where) == budgets else f"at eps {','.join(where)}: {remark}"
        for remark, where in remarks.items()
    ]
    if not found.complete and found.kind not in THEIR_REMARKS_TELL:
        count, done, of = len(found.results), len(budgets), len(found.provenance["budgets"])
        within = count > done or done == of  # of one that was not finished
        many = f"after {count} result{'s' * (count > 1)}, within budget" if within else "after"
        said.append(f"INCOMPLETE: the run ended {many} {done} of its {of} budgets")
    return said


def _print_for_paper(found: Run, layout: str, output: str | None) -> None:
    """The tables alone as LaTeX or Markdown, what is to be said of them as comments or below them."""
    told, (write, comment, above) = found.provenance, LAYOUTS[layout]
    data = told["data"]
    if checkpoint := told.get("checkpoint"):
        each = ", ".join(one["path"] for one in told.get("checkpoints", [checkpoint]))
        model = f"checkpoints: {each}; model {checkpoint['model']}"
    else:
        model = f"model: {told['model']}"
    about = [
        model,
        f"data: {data['name']}, {data['split']}, {_examples(data)}",
        f"setting: {_setting(found)}",
        *(f"note: {note}" for note in told.get("notes", [])),
    ]
    for line in about:
        say(comment.format(line))
    for heading, results in _sections(found.results).items():
        print(f"\n{above.format(heading)}\n" if heading else "")
        print(write(_table(results)))
    print()
    below = [found.results[0].LEGEND] if found.results else []
    for line in [*below, *_remarks(found), *([f"in {output}"] if output else [])]:
        say(comment.format(line) if layout == "latex" else line)
        if layout != "latex":
            print()


def _setting(found: Run) -> str:
    """How a checkpoint was measured, or a question asked."""
    told, norm = found.provenance, found.results[0].norm if found.results else ""
    if "setting" in told:
        return str(told["setting"])
    loss = f"{told['loss']}, " if told.get("loss", "cross_entropy") != "cross_entropy" else ""
    return f"{norm}, {loss}{told['attack']}, {told['dtype']}, seed {told['seed']}, {told['device']}"


def _examples(data: dict[str, Any]) -> str:
    """How many there are, and how the model does on them, which tells whether it is the right model."""
    told = f"{data['examples']:,} of {data['of']:,} examples"
    if "clean_accuracy" not in data:
        return told
    return f"{told}, clean accuracy {percent(data['clean_accuracy'], data['clean_accuracy_stderr'])}"


def print_info(found: dict[str, Any]) -> None:
    """What a checkpoint holds, a line for each thing to know."""
    say(f"{'path':14}{found['path']}")
    say(f"{'format':14}{found['format']}")
    say(f"{'sha256':14}{found['sha256']}")
    largest = max((m["numbers"] for m in found["mappings"]), default=0)
    shown = [m for m in found["mappings"] if 100 * m["numbers"] >= largest]
    for mapping in shown[:MAPPINGS]:
        place = repr(mapping["place"]) if mapping["place"] else "the top"
        average = ", an average" if mapping["place"] in found["averaged"] else ""
        count = f"{mapping['tensors']:,} tensors, {mapping['numbers']:,} numbers"
        say(f"{'weights at':14}{place}: {count}{average}")
    more = len(shown) - MAPPINGS
    lines: dict[str, Any] = {
        "weights": "none" if not found["mappings"] else f"and {more} more" if more > 0 else "",
        "average at": ", ".join(found["averaged"]),
        "prefix": found["prefix"],
        "looks like": found["architecture"] if "model" not in found else "",
        "normalisation": found["normalizer"] and _normalizer(found["normalizer"]),
        "not run": ", ".join(found["ignored"][:8]) + (" …" if len(found["ignored"]) > 8 else ""),
        "model": found.get("model"),
        "parameters": f"{found['parameters']:,}" if found["parameters"] else "",
        "fits": f"yes, {found['fits']}" if "fits" in found else "",
    }
    if data := found.get("data"):
        lines["data"] = f"{data['name']}, {data['split']}, {_examples(data)}"
        lines["clean loss"] = plus_minus(data["loss"], data["loss_stderr"])
    for name, value in lines.items():
        if value:
            say(f"{name:14}{value}")
    print_metadata({k: v for k, v in found["metadata"].items() if k not in ("model", "parameters")}, 14)
    for note in found["notes"]:
        say(f"{'note':14}{note}")


def _normalizer(told: dict[str, Any]) -> str:
    mean, std = (",".join(f"{n:.4g}" for n in told[part]) for part in ("mean", "std"))
    return f"{mean}/{std} at {told['place']!r}: --normalize ckpt"


def _directions(told: dict[str, Any]) -> str:
    """The axes of a surface: what they are, how long, and how far from orthogonal."""
    parts = []
    for name, length in (("x", "‖u‖"), ("y", "‖v‖")):
        if axis := told[name]:
            share = f", {axis['explained']:.1%} of the variance" if axis["explained"] is not None else ""
            parts.append(
                f"{name} {axis['name']}, {length} = {axis['norm']:.4g} = {axis['relative']:.3g} ‖θ‖{share}"
            )
    return "; ".join(parts) + (f"; cosine {told['cosine']:.3f}" if told["cosine"] is not None else "")


def _course(told: dict[str, Any]) -> list[list[str]]:
    """A line for each checkpoint of a trajectory: where it is on the plane, how far off it, its own loss."""
    places = [name for name in ("x", "y") if told[name] is not None]
    losses = [key for key in told["losses"] if not key.endswith("frozen")]
    lines = [["checkpoint", *places, "off it", *(f"loss at eps {key.split('|')[0]}" for key in losses)]]
    for i, name in enumerate(told["names"]):
        at = [f"{told[place][i]:.3g}" for place in places]
        own = [f"{told['losses'][key][i]:.4g}" for key in losses]
        lines.append([name, *at, f"{told['relative_residual'][i]:.0%} of the way", *own])
    return lines


def _sections(results: list[Any]) -> dict[str, list[Any]]:
    """Results by the heading of the table that they stand in, such as a direction."""
    found: dict[str, list[Any]] = {}
    for result in results:
        found.setdefault(getattr(result, "heading", ""), []).append(result)
    return found


def _table(results: list[Any]) -> list[list[str]]:
    """A column for each budget; or a line for each result, where their class says what it begins with."""
    cells = [result.rows() for result in results]
    names = list(dict.fromkeys(name for column in cells for name in column))
    if label := getattr(results[0], "LINE", ""):
        each = zip(results, cells, strict=True)
        return [[label, *names], *([result.line, *(c.get(n, "") for n in names)] for result, c in each)]
    lines = [[name, *(c.get(name, "") for c in cells)] for name in names]
    heads = [getattr(result, "column", result.budget) for result in results]
    return [["eps", *heads], *[line for line in lines if any(line[1:])]]


def print_table(rows: list[list[str]]) -> None:
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        shown = Table(*rows[0], box=None, header_style="bold", pad_edge=False)
        for column in shown.columns[1:]:
            column.justify = "right"
        for row in rows[1:]:
            shown.add_row(*row)
        Console(width=10_000).print(shown)  # a narrow terminal breaks a line, but cuts no number
    else:
        from landscape.format import table

        print(table(rows))


def print_metadata(metadata: dict[str, Any], width: int = 12) -> None:
    for name, value in metadata.items():
        if name != "history":
            text = ", ".join(_entries(value)) if isinstance(value, dict) else _short(value)
            say(f"{name:{width - 2}}  {text or 'none yet'}")


def _entries(told: dict[str, Any]) -> list[str]:
    """Names and values; a standard error beside what it is of."""
    numbers = {name: value for name, value in told.items() if isinstance(value, int | float)}
    errors = {name for name in numbers if name.removesuffix("_stderr") in numbers.keys() - {name}}
    return [
        f"{name} {plus_minus(value, told[error])}"
        if (error := f"{name}_stderr") in errors
        else f"{name} {_short(value)}"
        for name, value in told.items()
        if name not in errors
    ]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
