"""Loss of the LeNet trained at eps 0.1 over a plane, at three budgets: analyses/surface.py."""

from shipped import draw

if __name__ == "__main__":
    draw("surface", ("0.1",))
