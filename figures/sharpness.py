"""Top-20 Hessian eigenvalues of LeNets trained at eps 0, 0.05, 0.1, 0.2, each measured at these budgets."""

from shipped import draw

if __name__ == "__main__":
    draw("sharpness")
