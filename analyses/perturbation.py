"""Similarity of the shipped LeNets' adversaries near their weights, trained and measured budgets crossed.

Answers to the paper's Figure 4, on Fashion-MNIST: do the adversaries change faster with the weights at larger
budgets, and faster along the top eigenvector than along random directions? Carries on where it stopped; about
twenty minutes on one core. figures/perturbation.py draws it.

    python analyses/perturbation.py [--eps 0.05,0.1,0.2] [--directions LIST] [--radii 1e-4:1:9] [--examples N]
"""

from shipped import TRAINED, study

if __name__ == "__main__":
    study("perturbation", __doc__, TRAINED[1:], radii="1e-4:1:9", directions="random,eigenvector:1")
