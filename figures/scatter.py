"""Gradient scatter of LeNets trained at eps 0, 0.05, 0.1, 0.2, at these budgets, along three directions."""

from shipped import draw

if __name__ == "__main__":
    draw("scatter")
