"""Size of the gradients of the shipped LeNets, trained and measured budgets crossed.

Answers to the end of the paper's Figure 2, on Fashion-MNIST: do gradients not vanish at the end of
adversarial training? Carries on where it stopped; about three minutes on one core. figures/gradient.py draws
it.

    python analyses/gradient.py [--eps 0,0.05,0.1,0.2] [--batches 128:200] [--examples N]
"""

from shipped import study

if __name__ == "__main__":
    study("gradient", __doc__, batches="128:200")
