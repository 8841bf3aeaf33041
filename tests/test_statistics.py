"""BatchNorm's statistics, estimated anew."""

import copy

import nets
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from landscape.errors import InputError
from landscape.network import Network
from landscape.statistics import recomputed


def net():
    """BatchNorm behind BatchNorm, and dropout between."""
    return nets.trained(
        nn.Sequential(
            nn.Conv2d(2, 3, 3),
            nn.BatchNorm2d(3),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Conv2d(3, 2, 3),
            nn.BatchNorm2d(2, affine=False),
            nn.Flatten(),
            nn.Linear(8, nets.CLASSES),
        )
    )


def batches(*sizes):
    return list(torch.rand(sum(sizes), 2, 6, 6, dtype=torch.float64).split(sizes))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_equal_batches_give_the_statistics_of_update_bn():
    network, data = Network(net(), dtype=torch.float64), batches(5, 5, 5)
    found = recomputed(network, network.parts(network.theta), data)
    other = net().double()
    other[3] = nn.Identity()  # update_bn would leave dropout on
    update_bn(data, other)
    expected = {name: b for name, b in other.named_buffers() if "running" in name}
    assert found.keys() == expected.keys()
    for name, buffer in expected.items():
        assert torch.allclose(found[name], buffer, rtol=1e-13), name


def test_batches_count_by_their_size():
    network, data = Network(net(), dtype=torch.float64), batches(7, 2, 4)
    found = recomputed(network, network.parts(network.theta), data)
    with torch.no_grad():
        outputs = [network.module[0](x) for x in data]
    mean = sum(len(o) * o.mean(dim=(0, 2, 3)) for o in outputs) / 13
    variance = sum(len(o) * o.var(dim=(0, 2, 3)) for o in outputs) / 13
    assert torch.allclose(found["1.running_mean"], mean, rtol=1e-13)
    assert torch.allclose(found["1.running_var"], variance, rtol=1e-13)


def test_they_are_those_of_the_weights_that_are_given():
    network, (x,) = Network(net(), dtype=torch.float64), batches(6)
    theta = network.theta + 0.1 * torch.rand_like(network.theta)
    moved = net().double()
    torch.nn.utils.vector_to_parameters(theta, moved.parameters())
    found = recomputed(network, network.parts(theta), [x])
    assert torch.allclose(found["1.running_mean"], moved[0](x).mean(dim=(0, 2, 3)), rtol=1e-13)


def test_a_network_with_its_statistics_normalises_one_batch_as_in_training():
    network, (x,) = Network(net(), dtype=torch.float64), batches(400)
    parts = network.parts(network.theta)
    found = recomputed(network, parts, [x])
    other = copy.deepcopy(network.module)
    for m in (other[1], other[5]):
        m.train()
    # A running variance is unbiased, the one that normalises a batch in training is not.
    assert torch.allclose(network(parts, x, found), other(x), rtol=1e-2, atol=1e-3)
    assert not torch.allclose(network(parts, x), other(x), rtol=1e-1, atol=1e-2)


def test_nothing_of_the_network_changes():
    network, data = Network(net()), [x.float() for x in batches(5, 4)]
    parts = network.parts(network.theta)
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    logits, state = network(parts, data[0]), torch.random.get_rng_state()
    network(parts, data[0], recomputed(network, parts, data))
    for name, tensor in network.module.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not any(m.training or m._forward_pre_hooks for m in network.module.modules())
    assert torch.equal(network(parts, data[0]), logits)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_buffers_of_the_network_itself_change_no_bit():
    network, (x,) = Network(net()), [x.float() for x in batches(5)]
    parts = network.parts(network.theta)
    assert torch.equal(network(parts, x), network(parts, x, dict(network.module.named_buffers())))


def test_a_layer_that_is_used_twice_counts_both_uses():
    norm = nn.BatchNorm1d(4)
    twice = nets.Net(lambda m, x: m.c(m.norm(3 * m.norm(x) + 1)), norm=norm, c=nn.Linear(4, nets.CLASSES))
    network = Network(nets.trained(twice), dtype=torch.float64)
    x = torch.rand(6, 4, dtype=torch.float64)
    weight, bias = network.parts(network.theta)[:2]
    inner = 3 * (((x - x.mean(0)) / (x.var(0, correction=0) + norm.eps).sqrt()) * weight + bias) + 1
    found = recomputed(network, network.parts(network.theta), [x])
    assert torch.allclose(found["norm.running_mean"], (x.mean(0) + inner.mean(0)) / 2, rtol=1e-12)
    shared = nets.Net(lambda m, x: m.c(m.b(m.a(x))), a=norm, b=norm, c=nn.Linear(4, nets.CLASSES))
    network = Network(nets.trained(shared), dtype=torch.float64)
    parts = network.parts(network.theta)
    found = recomputed(network, parts, [x])
    assert found.keys() == {"a.running_mean", "a.running_var"}
    network.module.load_state_dict(found, strict=False)
    assert torch.equal(network(parts, x), network(parts, x, found))


def test_instance_norm_that_keeps_statistics_has_them_estimated():
    layer = nn.InstanceNorm2d(2, track_running_stats=True)
    network = Network(nn.Sequential(layer, nn.Flatten(), nn.Linear(72, 3)), dtype=torch.float64)
    data = batches(4, 2)
    found = recomputed(network, network.parts(network.theta), data)
    x = torch.cat(data)
    assert torch.allclose(found["0.running_mean"], x.mean(dim=(0, 2, 3)), rtol=1e-12)
    assert torch.allclose(found["0.running_var"], x.var(dim=(2, 3)).mean(dim=0), rtol=1e-12)


def test_a_network_without_such_layers_costs_no_pass():
    network = Network(nets.mlp())

    def never():
        raise AssertionError
        yield

    assert recomputed(network, network.parts(network.theta), never()) == {}


def test_statistics_that_are_not_finite_are_left_behind():
    broken = net()
    broken[1].running_mean.fill_(torch.nan)
    network = Network(broken, dtype=torch.float64)
    found = recomputed(network, network.parts(network.theta), batches(4, 4))
    assert all(torch.isfinite(buffer).all() for buffer in found.values())


def test_a_batch_of_one_number_per_channel_is_told():
    network = Network(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)))
    with pytest.raises(InputError, match=r"no variance to estimate from a batch of 1 .* frozen"):
        recomputed(network, network.parts(network.theta), [torch.rand(1, 4)])
