"""Loss surfaces to turn by hand: one HTML page that needs no network, by plotly."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import InputError
from landscape.files import atomic
from landscape.format import plus_minus
from landscape.plot.captions import caption
from landscape.plot.levels import Scale
from landscape.plot.plane import Plane, holds_theta, plane, short, stem, ticks
from landscape.plot.solid import heights
from landscape.plot.surface import shared_scale
from landscape.results import Run

if TYPE_CHECKING:
    from landscape.surfaces.surface import Surface

ENDING = ".html"
# All others are left out: one of them sends the figure to a server.
BUTTONS = ["toImage", "zoom3d", "pan3d", "orbitRotation", "tableRotation", "resetCameraDefault3d"]
LINES = 3  # to the decade
# Nothing may be fetched, whatever is clicked.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:"
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
html, body {{ height: 100%; margin: 0; font-family: sans-serif; }}
body {{ display: flex; flex-direction: column; }}
#landscape {{ flex: 1; min-height: 20em; }}
p {{ margin: 0.5em 1em; color: #444; font-size: 0.85em; }}
</style>
</head>
<body>
{figure}
<p>{said}</p>
</body>
</html>
"""


def is_view(path: str | os.PathLike[str]) -> bool:
    """Whether a figure's path asks for a page to turn."""
    return Path(path).suffix.lower() == ENDING


def check_interactive() -> None:
    """InputError where plotly is not installed."""
    try:
        import plotly  # noqa: F401
    except ImportError:
        raise InputError(
            "an .html view needs plotly, which is not installed; pip install 'landscape[interactive]'"
        ) from None


def save_interactive(runs: Sequence[Run], path: str | os.PathLike[str], *, cap: float | None = None) -> None:
    """Write surfaces as one HTML page: a button for each, on one scale; equal results give equal bytes.

    The trajectory hangs in space, each checkpoint at its own loss. Nothing is fetched when it is opened.

    cap: losses above it are drawn at it; hovering tells them
    """
    check_interactive()
    import plotly.graph_objects as go

    for run in runs:
        if run.kind not in ("surface", "line") or any(result.y is None for result in run.results):
            raise InputError(
                f"an .html view is of planes, and a {run.kind} has none; write .pdf, .png or .svg"
            )
    shown = [(result, run) for run in runs for result in run.results]
    if not shown:
        raise InputError("there is no result to draw; give a file that holds one")
    found, planes = (
        shared_scale([result for result, _ in shown], cap),
        [plane(run.provenance) for _, run in shown],
    )
    canvas = go.Figure()
    groups = []
    for i, ((result, _), lies) in enumerate(zip(shown, planes, strict=True)):
        traces = _traces(result, lies, found)
        groups.append(len(traces))
        for trace in traces:
            canvas.add_trace(trace.update(visible=i == 0))
    names = [_name(result, run if len(runs) > 1 else None) for result, run in shown]
    owner = np.repeat(np.arange(len(groups)), groups)
    buttons = [
        {
            "label": name,
            "method": "update",
            "args": [{"visible": (owner == i).tolist()}, {"scene": _scene(shown[i][0], planes[i], found)}],
        }
        for i, name in enumerate(names)
    ]
    canvas.update_layout(
        scene=_scene(shown[0][0], planes[0], found),
        margin={"l": 0, "r": 0, "t": 50, "b": 0},
        showlegend=False,
        updatemenus=[
            {
                "buttons": buttons,
                "type": "buttons",
                "direction": "right",
                "x": 0,
                "y": 1.08,
                "xanchor": "left",
            }
        ],
    )
    body = canvas.to_html(
        full_html=False,
        include_plotlyjs=True,
        include_mathjax=False,
        div_id="landscape",
        config={"displaylogo": False, "responsive": True, "modeBarButtons": [BUTTONS]},
    )
    told = caption(runs, [result for result, _ in shown], planes, found, names=names, lost="Holes")
    if any(lies.trajectory for lies in planes):
        told = ["Black: checkpoints projected onto the plane, each at its own loss", *told]
    if found.logarithmic:
        told = [f"Lines on the surface: {LINES} to a factor of ten", *told]
    said = "".join(f"{each}. " for each in told)
    title = _plain(f"loss around {stem(str(shown[0][1].provenance['checkpoint']['path']))}")
    page = PAGE.format(policy=POLICY, title=html.escape(title), figure=body, said=html.escape(_plain(said)))
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _traces(result: Surface, lies: Plane, found: Scale) -> list[Any]:
    """The surface with its levels, θ, and the checkpoints at their own losses."""
    import plotly.graph_objects as go

    assert result.y is not None
    sheared = lies.sheared(result.x, result.y)
    grid = np.meshgrid(result.x, result.y)
    x, y = lies.place(*grid, sheared=sheared)
    loss = np.where(result.done & np.isfinite(result.loss), result.loss, np.nan)
    height = heights(loss, found)
    low, high = (float(v) for v in heights(np.array([found.low, found.high]), found))
    step = 1 / LINES if found.logarithmic else found.levels[1] - found.levels[0]
    values = np.stack([*grid, loss, 100 * result.accuracy, result.loss_stderr], axis=-1)
    surface = go.Surface(
        x=x, y=y, z=height, customdata=values, colorscale="Viridis", cmin=low, cmax=high,
        hovertemplate="x %{customdata[0]:.3g}, y %{customdata[1]:.3g}<br>loss %{customdata[2]:.4g} ± "
        "%{customdata[4]:.2g}<br>accuracy %{customdata[3]:.1f} %<extra></extra>",
        colorbar={"title": {"text": "loss"}, **_axis(found)},
        contours={"z": {"show": True, "start": low, "end": high, "size": step, "color": "rgba(0,0,0,0.35)"}},
    )  # fmt: skip
    centre = float(heights(np.array([result.centre_loss]), found)[0])
    told = plus_minus(result.centre_loss, result.centre_loss_stderr)
    star = {"size": 5, "color": "white", "symbol": "diamond", "line": {"color": "black", "width": 2}}
    traces = [surface]
    if holds_theta(result.x, result.y):
        traces.append(
            go.Scatter3d(
                x=[0], y=[0], z=[centre], mode="markers", marker=star,
                hovertemplate=f"θ: loss {told}<extra></extra>",
            )
        )  # fmt: skip
    path = lies.trajectory
    losses = ((path or {}).get("losses") or {}).get(f"{result.budget}|{result.adversary}")
    if path and losses:
        at = lies.place(path["x"], path["y"], sheared=sheared)
        traces.append(
            go.Scatter3d(
                x=at[0], y=at[1], z=heights(np.asarray(losses, dtype=float), found), mode="lines+markers",
                marker={"size": 3, "color": "black"}, line={"color": "black", "width": 3},
                customdata=np.stack([losses, 100 * np.asarray(path["relative_residual"])], axis=-1),
                text=[html.escape(name) for name in path["names"]],
                hovertemplate="%{text}: loss %{customdata[0]:.4g}, %{customdata[1]:.0f} % off the plane"
                "<extra></extra>",
            )
        )  # fmt: skip
    return traces


def _scene(result: Surface, lies: Plane, found: Scale) -> dict[str, Any]:
    """Axes with the coordinates of the plane, in the metric of parameter space where that can be drawn."""
    assert result.y is not None
    x, y = result.x, result.y
    sheared = lies.sheared(x, y)
    along, up = ticks(x[0], x[-1]), ticks(y[0], y[-1])
    places = (
        lies.place(along, np.full(len(along), y[0]), sheared=sheared)[0],
        lies.place(0 * up, up, sheared=sheared)[1],
    )
    corners = lies.place(*np.meshgrid(x[[0, -1]], y[[0, -1]]), sheared=sheared)
    across, deep = (float(np.ptp(each)) for each in corners)
    deep *= 1 if sheared else lies.ratio
    longest = max(across, deep)
    base = (across / longest, deep / longest) if lies.to_scale(x, y) else (1.0, 1.0)
    labels = [_plain(label).replace("\n", "<br>") for label in lies.labels]
    return {
        "xaxis": {
            "title": {"text": labels[0]},
            "tickvals": places[0].tolist(),
            "ticktext": [*map(short, along)],
        },
        "yaxis": {
            "title": {"text": labels[1]},
            "tickvals": places[1].tolist(),
            "ticktext": [*map(short, up)],
        },
        "zaxis": {
            "title": {"text": "loss"},
            "range": heights(found.levels[[0, -1]], found).tolist(),
            **_axis(found),
        },
        "aspectmode": "manual",
        "aspectratio": {"x": base[0], "y": base[1], "z": 0.7},
        "camera": {"eye": {"x": -1.1, "y": -1.5, "z": 0.9}},
    }


def _axis(found: Scale) -> dict[str, Any]:
    """Numbers at the levels."""
    return {
        "tickvals": heights(found.levels, found).tolist(),
        "ticktext": [_plain(name) for name in found.names()],
    }


def _name(result: Surface, run: Run | None) -> str:
    name = f"{stem(str(run.provenance['checkpoint']['path']))}, " if run else ""
    norm = "ℓ₂, " if result.norm == "l2" else ""
    return html.escape(
        f"{name}{norm}ε = {result.budget}" + (", frozen" if result.adversary == "frozen" else "")
    )


def _plain(text: str) -> str:
    """What matplotlib would typeset, as plain text."""
    for formula, letters in {
        r"\$": "\0",
        r"$\geq$": "≥ ",
        r"\|": "‖",
        "$": "",
        r"\times": "×",
        "\0": "$",
    }.items():
        text = text.replace(formula, letters)
    return text
