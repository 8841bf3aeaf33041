"""Results and metadata as text for a terminal, or as one JSON object."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import Any

from landscape.results import Run


def print_run(found: Run, as_json: bool, output: str | None) -> None:
    if as_json:
        print(json.dumps({**found.plain(), "output": output}))
        return
    told = found.provenance
    checkpoint, data = told["checkpoint"], told["data"]
    print(f"checkpoint  {checkpoint['path']}  ({checkpoint['format']}, sha256 {checkpoint['sha256'][:12]})")
    print(f"model       {checkpoint['model']}, {checkpoint['parameters']:,} parameters")
    print(f"data        {data['name']}, {data['split']}, {data['examples']:,} of {data['of']:,} examples")
    norm = found.results[0].norm if found.results else ""
    print(f"setting     {norm}, {told['attack']}, {told['dtype']}, seed {told['seed']}, {told['device']}")
    for note in told["notes"]:
        print(f"note        {note}")
    print()
    print_table([["eps", *(r.budget for r in found.results)], *_merged([r.rows() for r in found.results])])
    print()
    if found.results:
        print(textwrap.fill(found.results[0].LEGEND, 110))
    remarks: dict[str, list[str]] = {}
    for result in found.results:
        for remark in result.remarks():
            remarks.setdefault(remark, []).append(result.budget)
    for remark, budgets in remarks.items():
        everywhere = len(budgets) == len(found.results)
        print(remark if everywhere else f"at eps {','.join(budgets)}: {remark}")
    if not found.complete:
        print(f"INCOMPLETE: the run ended after {len(found.results)} of its {len(told['budgets'])} budgets")
    if output:
        print(f"in {output}")


def _merged(columns: list[dict[str, str]]) -> list[list[str]]:
    names = dict.fromkeys(name for column in columns for name in column)
    return [[name, *(column.get(name, "") for column in columns)] for name in names]


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


def print_metadata(metadata: dict[str, Any]) -> None:
    for name, value in metadata.items():
        if name != "history":
            text = (
                ", ".join(f"{k} {_short(v)}" for k, v in value.items())
                if isinstance(value, dict)
                else _short(value)
            )
            print(f"{name:10}  {text or 'none yet'}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
