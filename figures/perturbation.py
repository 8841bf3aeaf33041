"""Similarity of adversaries near the weights of LeNets trained at eps 0, 0.05, 0.1, 0.2."""

from shipped import draw

if __name__ == "__main__":
    draw("perturbation")
