"""Gradient norms and noise scale of LeNets trained at eps 0, 0.05, 0.1, 0.2, each at these budgets."""

from shipped import draw

if __name__ == "__main__":
    draw("gradient")
