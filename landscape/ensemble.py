"""Several networks that predict by the mean of their probabilities, as one network."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from landscape.errors import InputError
from landscape.network import Network, logits


class Mean(nn.Module):
    """log of the mean over the members of softmax(z), as logits (B, C).

    They are log-probabilities: cross-entropy on them is −log of the mean probability, and finite wherever a
    member's own is. Those of a single member are its own logits.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        each = [logits(member(x)) for member in self.members]
        if len(each) == 1:
            return each[0]
        return torch.stack([z.log_softmax(dim=1) for z in each]).logsumexp(dim=0) - math.log(len(each))


def ensemble(networks: Sequence[Network], name: str = "ensemble") -> Network:
    """Networks of as many outputs as one, whose θ is all of theirs, one after another."""
    if not networks:
        raise InputError("an ensemble has at least 1 member, and none came")
    members = []
    for network in networks:
        member = copy.deepcopy(network.module)
        parameters = dict(member.named_parameters())
        for own in network.names:
            parameters[own].requires_grad_()
        members.append(member)
    theta = networks[0].theta
    return Network(Mean(members), dtype=theta.dtype, device=theta.device, name=name)
