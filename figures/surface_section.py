"""Loss of the LeNet trained at eps 0.1 along its top eigenvector, adversary following and frozen."""

from shipped import draw

if __name__ == "__main__":
    draw("surface_section", ("0.1",))
