"""The page with surfaces to turn: what is in it, and that a browser draws it without a network."""

import http.server
import json
import queue
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from pictures import a_direction, a_run, made

from landscape.cli import run as command
from landscape.errors import InputError
from landscape.plot import interactive
from landscape.plot.interactive import save_interactive

G = np.linspace(-1, 1, 11)
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
)


def a_plane(eps: float = 0.0, **told):
    return made(
        G,
        np.linspace(-1, 1, 7),
        lambda x, y: 0.5 + eps + x + 1 + 20 * y**2,
        eps=eps,
        budget=f"{eps:g}",
        **told,
    )


TRAJECTORY = {
    "names": ["<b>", "e1"],
    "x": [0.5, 0.0],
    "y": [0.2, 0.0],
    "residual": [1.0, 0.0],
    "relative_residual": [0.7, 0.0],
    "losses": {"0|none": [2.0, 1.5]},
}


@pytest.fixture
def figures(monkeypatch):
    """The plotly figures that are written."""
    plotly = pytest.importorskip("plotly.graph_objects")
    kept = []
    write = plotly.Figure.to_html
    monkeypatch.setattr(
        plotly.Figure, "to_html", lambda self, **told: kept.append(self) or write(self, **told)
    )
    return kept


def test_surfaces_are_as_high_as_their_losses_over_their_coordinates_on_one_scale(figures, tmp_path):
    save_interactive([a_run(a_plane(), a_plane(0.1), trajectory=TRAJECTORY)], tmp_path / "a.html")
    (figure,) = figures
    first, second = [trace for trace in figure.data if trace.type == "surface"]
    expected = 1.5 + G[None] + 20 * np.linspace(-1, 1, 7)[:, None] ** 2
    assert np.allclose(first.x, np.broadcast_to(G, (7, 11)))
    assert np.allclose(10**first.z, np.maximum(expected, 0.5))
    assert np.allclose(first.customdata[..., 2], expected)
    assert (first.cmin, first.cmax) == (second.cmin, second.cmax)
    assert (first.visible, second.visible) == (True, False)
    labels = [button.label for button in figure.layout.updatemenus[0].buttons]
    assert labels == ["ε = 0", "ε = 0.1"]
    shown = [button.args[0]["visible"] for button in figure.layout.updatemenus[0].buttons]
    assert [sum(each) for each in shown] == [3, 2]  # the second has no losses of the trajectory
    assert figure.layout.scene.xaxis.title.text == "filter direction 1<br>(unit: ‖u‖ = 12.3)"


def test_losses_above_a_cap_are_drawn_at_it_and_told_as_they_are(figures, tmp_path):
    loss = a_plane().loss.copy()
    loss[0, 0] = np.inf
    save_interactive([a_run(made(G, np.linspace(-1, 1, 7), loss))], tmp_path / "a.html", cap=10.0)
    sheet = figures[0].data[0]
    assert np.nanmax(sheet.z) == pytest.approx(1.0)
    assert np.nanmax(sheet.customdata[..., 2]) == pytest.approx(np.max(loss[np.isfinite(loss)]))
    assert np.isnan(sheet.z[0, 0])
    text = (tmp_path / "a.html").read_text()
    assert "Cut at 10: " in text
    assert "Holes: the loss is not finite, 1 cells" in text


def test_oblique_directions_are_drawn_at_their_true_angle(figures, tmp_path):
    u, v = a_direction(norm=2.0), a_direction(norm=3.0)
    save_interactive([a_run(a_plane(), x=u, y=v, cosine=0.6)], tmp_path / "a.html")
    sheet = figures[0].data[0]
    along = np.array([sheet.x[0, 1] - sheet.x[0, 0], sheet.y[0, 1] - sheet.y[0, 0]]) / (G[1] - G[0])
    up = np.array([sheet.x[1, 0] - sheet.x[0, 0], sheet.y[1, 0] - sheet.y[0, 0]]) * 3
    assert np.hypot(*up) / np.hypot(*along) == pytest.approx(1.5)
    assert along @ up / np.hypot(*up) / np.hypot(*along) == pytest.approx(0.6)
    ratio = figures[0].layout.scene.aspectratio
    assert ratio.x / ratio.y == pytest.approx(np.ptp(sheet.x) / np.ptp(sheet.y))


def test_the_same_results_give_the_same_page_and_names_are_no_markup(figures, tmp_path):
    run = a_run(a_plane(), trajectory=TRAJECTORY, path="<script>alert(1)</script>.pt")
    for name in ("a.html", "b.html"):
        save_interactive([run, run], tmp_path / name)
    content = (tmp_path / "a.html").read_bytes()
    assert content == (tmp_path / "b.html").read_bytes()
    assert b"<script>alert" not in content
    assert len(content) < 7_000_000


def test_what_has_no_view_is_refused_in_words(tmp_path, monkeypatch):
    pytest.importorskip("plotly")
    for runs, words in [
        ([a_run(made(G, None, lambda x: 1 + x**2))], "an .html view is of planes"),
        ([], "there is no result to draw"),
    ]:
        with pytest.raises(InputError, match=words):
            save_interactive(runs, tmp_path / "a.html")
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(InputError, match=r"pip install 'landscape\[interactive\]'"):
        save_interactive([a_run(a_plane())], tmp_path / "a.html")
    assert not list(tmp_path.iterdir())


def test_the_command_draws_figures_and_pages_and_says_what_it_cannot(tmp_path, monkeypatch, capsys):
    pytest.importorskip("plotly")
    monkeypatch.setattr("landscape.results.load", lambda path: a_run(a_plane(), path=str(path)))

    def plot(*arguments) -> tuple[int, str]:
        code = command(["plot", *map(str, arguments)])
        told = capsys.readouterr()
        return code, told.out + told.err

    pdf, page = tmp_path / "a.pdf", tmp_path / "a.html"
    told = plot("run.h5", "-o", pdf, "--style", "heat", "--error", "--cap", "10")
    assert told == (0, f"wrote {pdf}\n")
    assert plot("run.h5", "-o", page, "--cap", "10") == (0, f"wrote {page}\n")
    assert page.read_text().startswith("<!DOCTYPE html>")
    for arguments, words in [
        (["-o", page, "--style", "heat"], "an .html view takes no --style"),
        (["-o", tmp_path / "a.jpg"], "a figure is written as .pdf, .png, .svg"),
        (["-o", pdf, "--style", "pie"], "'pie' is not one of"),
        (["-o", pdf, "--cap", "-1"], "no loss to cut at"),
    ]:
        code, said = plot("run.h5", *arguments)
        assert (code, words in said, said.count("\n")) == (2, True, 1)


def test_theta_is_no_mark_beside_a_plane_that_does_not_hold_it(figures, tmp_path):
    for low in (0.25, 0.0):
        x = np.linspace(low, 1, 3)
        save_interactive([a_run(made(x, G, lambda x, y: 1 + x**2 + y**2))], tmp_path / "a.html")
    assert [[trace.type for trace in figure.data] for figure in figures] == [
        ["surface"],
        ["surface", "scatter3d"],
    ]


def test_a_page_drawn_by_the_run_is_the_one_drawn_of_its_file(run, place):
    pytest.importorskip("plotly")
    words = "surface {place}/a.pt --eps 0,0.05 --size 3 --workers 1 --quiet -o {place}/s.h5"
    code, out, err = run(f"{words} --figure {{place}}/a.HTML")
    assert (code, err, out.splitlines()[-1]) == (0, "", f"wrote {place}/a.HTML")
    assert command(["plot", f"{place}/s.h5", "-o", f"{place}/b.html"]) == 0
    assert (place / "a.HTML").read_bytes() == (place / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("line {place}/a.pt {place}/b.pt", "an .html view is of planes, and a line is none"),
        ("surface {place}/a.pt --1d", "an .html view is of planes, and a line is none"),
        ("sharpness {place}/a.pt", "a figure is written as .pdf, .png, .svg"),
    ],
)
def test_a_page_of_what_is_no_plane_is_refused_before_any_work(words, why, run, place):
    before = sorted(place.iterdir())
    code, out, err = run(f"{words} -o {{place}}/s.h5 --figure {{place}}/a.html")
    assert (code, out, err.count("\n"), why in err) == (2, "", 1, True)
    assert sorted(place.iterdir()) == before


def test_a_run_whose_page_needs_plotly_is_refused_before_any_work(run, place, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    code, out, err = run("surface {place}/a.pt -o {place}/s.h5 --figure {place}/a.html")
    assert (code, out, "pip install 'landscape[interactive]'" in err) == (2, "", True)
    assert not (place / "s.h5").exists()


WATCH = """
<script>
window.addEventListener("load", async () => {
  const told = {errors: window.failed};
  const view = document.getElementById("landscape");
  const picture = new Image();
  picture.src = await Plotly.toImage(view, {format: "png", width: 300, height: 300});
  await picture.decode();
  const sheet = Object.assign(document.createElement("canvas"), {width: 300, height: 300});
  const pen = sheet.getContext("2d");
  pen.drawImage(picture, 0, 0);
  const pixels = pen.getImageData(60, 60, 150, 180).data;
  const seen = new Set();
  for (let i = 0; i < pixels.length; i += 4) seen.add(pixels.slice(i, i + 3).join());
  told.colours = seen.size;
  told.fetched = performance.getEntriesByType("resource").map(each => each.name);
  told.buttons = [...document.querySelectorAll(".modebar-btn")].map(each => each.dataset.title);
  told.drawn = document.querySelectorAll(".gl-container canvas").length;
  await fetch("/told", {method: "POST", body: JSON.stringify(told)});
});
</script>
"""
FAILED = "<script>window.failed = []; window.onerror = text => { window.failed.push(text); };</script>"


@pytest.fixture
def server():
    """Serves one page, and keeps what it posts and which other paths were asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            self._answer(self.server.page.encode() if self.path == "/" else b"")

        def do_POST(self):
            self.server.told.put(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(b"")

        def _answer(self, content):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *told):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.told = [], queue.Queue()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.skipif(BROWSER is None, reason="no browser here")
def test_a_browser_draws_the_page_without_a_network(server, tmp_path):
    pytest.importorskip("plotly")
    save_interactive([a_run(a_plane(), a_plane(0.1), trajectory=TRAJECTORY)], tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    # What the page may fetch is as it was, but for telling what it saw.
    page = page.replace(interactive.POLICY, f"{interactive.POLICY}; connect-src 'self'")
    page = page.replace("<head>", f"<head>{FAILED}", 1).replace("</body>", f"{WATCH}</body>", 1)
    server.page = page
    command_line = [
        BROWSER, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-gl=angle",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--remote-debugging-port=0",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}/profile", f"http://127.0.0.1:{server.server_address[1]}/",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command_line, stdout=subprocess.DEVNULL, stderr=log)
        try:
            told = json.loads(server.told.get(timeout=100))
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert told["errors"] == []
    assert told["drawn"] >= 1
    assert told["colours"] > 200  # a surface in the colours of its losses
    assert [name for name in told["fetched"] if not name.startswith(("data:", "blob:"))] == []
    assert set(server.asked) <= {"/", "/favicon.ico"}
    assert not any("cloud" in title.lower() or "share" in title.lower() for title in told["buttons"])
    logged = (tmp_path / "log").read_text().splitlines()
    assert not [line for line in logged if "CONSOLE" in line and "Canvas2D" not in line]


def test_the_page_forbids_every_request():
    assert interactive.POLICY.startswith("default-src 'none'")
    assert "http" not in interactive.POLICY
