"""The models are the paper's, by parameter count and by parameter name."""

import pytest
import torch

from landscape import registry

# Measured on the authors' code.
COUNTS = {
    "lenet:width=1": 13_514,
    "lenet:width=2": 52_506,
    "lenet:width=4": 206_954,
    "lenet:width=8": 821_706,
    "lenet:width=16": 3_274_634,
    "lenet_cifar:width=1": 62_006,
    "lenet_cifar:width=8": 3_882_858,
    "vgg:width=1": 58_686,
    "vgg:width=8": 3_686_954,
    "vgg:width=16": 14_728_266,
    "resnet18:width=1": 44_622,
    "resnet18:width=8": 2_797_610,
    "resnet18:width=16": 11_173_962,
    "lenet5": 61_706,
    "linear:bias=false": 7_840,
}


@pytest.mark.parametrize("spec", COUNTS)
def test_parameter_counts_are_the_papers(spec):
    with torch.device("meta"):
        module = registry.make("model", spec)
    assert sum(p.numel() for p in module.parameters()) == COUNTS[spec]


def test_resnet_of_width_8_has_the_papers_buffers():
    buffers = registry.make("model", "resnet18:width=8").buffers()
    assert sum(b.numel() for b in buffers) == 4_820


NAMES = {
    "lenet": ("conv1.weight", "conv2.bias", "fc1.weight", "fc2.bias"),
    "lenet_cifar": ("conv1.weight", "conv2.bias", "fc1.weight", "fc2.bias", "fc3.weight"),
    # Convolution, BatchNorm, ReLU and pooling are numbered in one sequence.
    "vgg:width=1": ("feature_extractor.0.weight", "feature_extractor.1.running_var", "classifier.bias"),
    "resnet18:width=1": (
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv2.weight",
        "layer2.0.shortcut.0.weight",
        "layer4.0.shortcut.1.num_batches_tracked",
        "layer4.1.bn2.bias",
        "classifier.weight",
    ),
}


@pytest.mark.parametrize("spec", NAMES)
def test_parameters_have_the_authors_names(spec):
    assert set(NAMES[spec]) <= set(registry.make("model", spec).state_dict())


def test_vgg_numbers_its_13_convolutions_as_the_authors_do():
    state = registry.make("model", "vgg:width=1").state_dict()
    convolutions = [name for name, tensor in state.items() if tensor.ndim == 4]
    places = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)
    assert convolutions == [f"feature_extractor.{place}.weight" for place in places]


@pytest.mark.parametrize(("spec", "biases"), [("lenet:bias=false", 1), ("lenet_cifar:bias=false", 1)])
def test_only_the_last_layer_keeps_its_bias(spec, biases):
    assert sum("bias" in name for name in registry.make("model", spec).state_dict()) == biases


SHAPES = {
    "lenet": (1, 28),
    "lenet5": (1, 28),
    "lenet_cifar": (3, 32),
    "vgg:width=1": (3, 32),
    "resnet18:width=1": (3, 32),
    "resnet18:width=1,colours=1": (1, 28),
}


@pytest.mark.parametrize("spec", [*SHAPES, "linear", "mlp:hidden=5,activation=tanh", "mlp:layers=0"])
def test_a_model_gives_logits_for_its_images(spec):
    channels, size = SHAPES.get(spec, (1, 28))
    module = registry.make("model", f"{spec}{',' if ':' in spec else ':'}classes=7").eval()
    assert module(torch.rand(3, channels, size, size)).shape == (3, 7)
