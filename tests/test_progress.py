"""What a user reads about the time left."""

import pytest

from landscape import progress
from landscape.progress import Bar, Lines


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_the_time_left_is_told_from_the_whole_of_a_stage_whatever_is_said_after_the_comma(clock, capsys):
    lines = Lines()
    for done in range(1, 5):
        clock[0] = 20.0 * (done - 1)
        lines(f"training, last loss {1 / done:.2f}", done - 1, 10)
    assert capsys.readouterr().err.splitlines() == [
        "training, last loss 0.50 1/10, about 3 min 0 s left",
        "training, last loss 0.33 2/10, about 2 min 40 s left",
        "training, last loss 0.25 3/10, about 2 min 20 s left",
    ]
    clock[0] = 100.0
    lines("attack", 5, 10)  # another stage has its own beginning
    assert capsys.readouterr().err == "attack 5/10, about 0 s left\n"


def test_a_bar_goes_on_with_its_stage():
    bar = Bar()
    bar("training", 1, 4)
    first = bar._task
    bar("training, last loss 0.5", 2, 4)
    assert bar._task == first
    assert bar._progress.tasks[0].description == "training, last loss 0.5"
    assert bar._progress.tasks[0].completed == 2
    bar("attack", 1, 4)
    assert bar._task != first
