"""The pages on the paper's claims: complete, linked, and one command for each study and figure."""

import re
import runpy

import h5py
import numpy as np
import pytest
from matplotlib.image import imread
from test_readme import ROOT, blocks

from landscape.plot import save

INDEX = ROOT / "docs/reproduction.md"
PAGES = sorted((ROOT / "docs/reproduction").glob("*.md"))
STUDIES = [page.stem for page in PAGES]


def test_every_study_has_its_page_its_figure_and_its_place_in_the_index_and_in_make():
    linked = re.findall(r"\]\(reproduction/(\w+)\.md\)", INDEX.read_text())
    assert sorted(linked) == STUDIES
    (line,) = re.findall(r"^STUDIES := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert sorted(line.replace("\\", "").split()) == STUDIES
    for study in STUDIES:
        assert (ROOT / f"analyses/{study}.py").exists()
        assert all((ROOT / f"figures/{study}.{ending}").exists() for ending in ("py", "pdf", "png"))


@pytest.mark.parametrize("page", [INDEX, *PAGES], ids=lambda page: page.stem)
def test_what_a_page_links_to_is_there_and_nothing_is_left_to_fill_in(page):
    assert not re.search(r"@@|\b(TABLES?|VERDICT|MINUTES|TODO)\b", page.read_text())
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert links
    for link in links:
        assert "://" not in link
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_asks_answers_and_says_what_differs_from_the_paper(page):
    text = page.read_text()
    title = text.splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith("?")
    (_, commands), *_ = blocks(text)
    assert f"python analyses/{page.stem}.py" in commands
    assert f"python figures/{page.stem}.py" in commands
    assert f"../../figures/{page.stem}.png)" in text
    assert "**What differs from the paper" in text
    assert re.search(r"[Ss]hows|[Dd]oes not show|annot be told", text)


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_figure_in_the_repository_is_what_its_results_draw(study, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "figures")
    canvas = runpy.run_path(str(ROOT / f"figures/{study}.py"))["draw"]()
    for ending in ("pdf", "png"):  # in this order, for each moves the layout a little
        save(canvas, tmp_path / f"drawn.{ending}")
    drawn, kept = imread(tmp_path / "drawn.png"), imread(ROOT / f"figures/{study}.png")
    assert drawn.shape == kept.shape
    assert np.abs(drawn - kept).mean() < 1e-3  # fonts may be drawn otherwise elsewhere


def test_no_result_in_the_repository_tells_of_a_machine():
    for path in (ROOT / "data/results").rglob("*.h5"):
        told: list[str] = []

        def take(name, thing, told=told):
            told.extend(map(str, thing.attrs.values()))
            if isinstance(thing, h5py.Dataset) and thing.dtype.kind in "OSU":
                told.append(str(thing[()]))

        with h5py.File(path) as file:
            take("", file)
            file.visititems(take)
            assert file.attrs.get("host", "") == ""
        assert told
        assert not [text for text in told if re.search(r"(?<![\w.*)])/\w[\w.-]*/", text)], path
