"""Top-20 eigenvalues and trace of the shipped LeNets, trained and measured budgets crossed.

Answers to the paper's Figure 3, on Fashion-MNIST: does the curvature at the end of training grow with the
budget? Carries on where it stopped; about ten minutes on one core. figures/sharpness.py draws it.

    python analyses/sharpness.py [--eps 0,0.05,0.1,0.2] [--k 20] [--examples N]
"""

from shipped import study

if __name__ == "__main__":
    study("sharpness", __doc__, k=20)
