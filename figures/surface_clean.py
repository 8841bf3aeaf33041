"""Clean loss of the LeNet trained at eps 0.1 over a plane, on a finer grid: analyses/surface.py."""

from shipped import draw

if __name__ == "__main__":
    draw("surface_clean", ("0.1",))
