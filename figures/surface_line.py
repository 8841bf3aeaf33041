"""Loss on the line between the LeNets trained at eps 0.1 and 0.05: analyses/surface.py."""

from shipped import draw

if __name__ == "__main__":
    draw("surface_line", ("0.1",))
