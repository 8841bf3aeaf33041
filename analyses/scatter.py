"""Gradient scatter of the shipped LeNets, trained and measured budgets crossed, along three directions.

Answers to the paper's Proposition 2, on Fashion-MNIST: does the gradient jump, does the jump grow with the
budget, and how much of it is the noise of the attack? Carries on where it stopped; about forty minutes on one
core. figures/scatter.py draws it.

    python analyses/scatter.py [--eps 0,0.05,0.1,0.2] [--directions LIST] [--radii 1e-4:1:9] [--examples N]
"""

from shipped import study

if __name__ == "__main__":
    study("scatter", __doc__, radii="1e-4:1:9", directions="random,gradient,eigenvector:1")
