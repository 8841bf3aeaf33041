"""Linear models of the inputs, logits Wᵀx, where the statements of the paper's Section 3.1 can be computed.

Liu et al. (2020) say of them: the versions of a model that are robust become fewer with eps (Proposition 1),
and from some eps on the constant classifier W = 0, of loss log K, minimises the adversarial loss (Theorem 1).
Arrays throughout: x (n, m) inputs, y (n,) labels, W (m, K) with a column for each class, float64.

    region.py     S_eps(x), and how far a direction reaches in it
    sets.py       V_eps and T_eps: is W in them?
    threshold.py  eps_bar, from which on T_eps is all of parameter space
    loss.py       the adversarial loss: exact for two and three classes, between two bounds for more
    minimiser.py  W*, by convex optimisation
    questions/    what `landscape theory` can be asked, one file each
"""
