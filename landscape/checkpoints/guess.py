"""Which architecture a state dict is of, by the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import count, pairwise, takewhile
from typing import Any, NamedTuple

import torch

from landscape import registry
from landscape.checkpoints.find import COUNTER
from landscape.errors import InputError

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

OURS = 1000
"""The most tensors that one of our own models is built to be compared with; all have far fewer."""
SHARE = 0.4
"""Of all names, how many a module must have for it to be looked at alone: an attacker's copy has half."""


def guess(shapes: Shapes) -> str | None:
    """The likely architecture with its size and its classes, such as "lenet:width=4, 10 classes".

    A model of our own is as it is typed, and every name and shape was compared with it. None where the names
    are of no known family; `outline` has something to say of any.
    """
    for inner in _modules(shapes):
        if own := _own(inner):
            return own
        for family in FAMILIES:
            if family.marks <= inner.keys() and (text := _tried(family.describe, inner)):
                return text
    return None


def outline(shapes: Shapes) -> str:
    """How many layers of which kind there are, and what the last one gives."""
    weights = [shape for name, shape in shapes.items() if name.endswith("weight")]
    kinds: dict[str, list[Shape]] = {
        "convolution": [s for s in weights if len(s) in (3, 4, 5)],
        "linear layer": [s for s in weights if len(s) == 2],
    }
    told = [f"{len(found)} {kind}{'s' * (len(found) != 1)}" for kind, found in kinds.items()]
    last = kinds["linear layer"] or kinds["convolution"]
    return ", ".join(told + ([f"the last with {last[-1][0]} outputs"] if last else []))


def _modules(shapes: Shapes) -> Iterator[dict[str, Shape]]:
    """All tensors, and those of every module that has many of them, the outermost first; without counters."""
    names = [name for name in shapes if not name.endswith(COUNTER)]
    parts = (name.split(".")[:-1][:8] for name in names)
    held = Counter(
        "".join(f"{part}." for part in path[:deep]) for path in parts for deep in range(len(path) + 1)
    )
    for prefix in sorted(prefix for prefix, number in held.items() if number >= SHARE * len(names)):
        yield {name.removeprefix(prefix): tuple(shapes[name]) for name in names if name.startswith(prefix)}


def _tried(describe: Callable[[Shapes], Any], shapes: Shapes) -> Any:
    """What is described, None where a name or an axis that the description needs is not there."""
    try:
        return describe(shapes)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        return None


def _numbers(shapes: Shapes, pattern: str) -> list[int]:
    """The numbers that stand for # in the names of this pattern, sorted."""
    regex = re.compile(re.escape(pattern).replace(r"\#", r"(\d{1,6})"))
    return sorted({int(match[1]) for name in shapes if (match := regex.fullmatch(name))})


def _counts(shapes: Shapes, pattern: str, first: int = 1, step: int = 1) -> tuple[int, ...]:
    """How many blocks each stage has; "{}" stands for the stage in the pattern, # for the block.

    step: between one stage and the next
    """
    escaped = re.escape(pattern).replace(r"\{\}", r"(0|[1-9]\d{0,5})").replace(r"\#", r"(\d{1,6})")
    found = (match.groups() for name in shapes if (match := re.fullmatch(escaped, name)))
    blocks = Counter(int(stage) for stage, _ in {(stage, int(block)) for stage, block in found})
    return tuple(takewhile(bool, (blocks[stage] for stage in count(first, step))))


def _classes(shapes: Shapes, *heads: str) -> str:
    """The number of classes by the first head that there is."""
    head = next((shapes[head] for head in heads if head in shapes), None)
    return f"{head[0]} classes" if head else "without its last layer"


# Our own models: the options that their shapes tell; the model is then built and compared.


def _mlp(s: Shapes) -> dict[str, Any]:
    layers = [s[f"{place}.weight"] for place in _numbers(s, "#.weight")]
    return {
        "inputs": layers[0][1],
        "hidden": layers[0][0],
        "layers": len(layers) - 1,
        "classes": layers[-1][0],
    }


OWN: dict[str, Callable[[Shapes], dict[str, Any]]] = {
    "lenet": lambda s: {
        "width": s["conv1.weight"][0] // 2,
        "classes": s["fc2.weight"][0],
        "bias": "conv1.bias" in s,
    },
    "lenet5": lambda s: {"classes": s["fc3.weight"][0]},
    "lenet_cifar": lambda s: {
        "width": s["conv1.weight"][0] // 6,
        "classes": s["fc3.weight"][0],
        "bias": "conv1.bias" in s,
    },
    "linear": lambda s: {"inputs": s["weight"][1], "classes": s["weight"][0], "bias": "bias" in s},
    "mlp": _mlp,
    "resnet18": lambda s: {"width": s["conv1.weight"][0] // 4, "classes": s["classifier.weight"][0]},
    "vgg": lambda s: {
        "width": s["feature_extractor.0.weight"][0] // 4,
        "classes": s["classifier.weight"][0],
        "bias": "feature_extractor.0.bias" in s,
    },
}


def _own(shapes: Shapes) -> str | None:
    if len(shapes) > OURS:
        return None
    bare = _bare(shapes)
    for name, options in OWN.items():
        told = _tried(options, bare)
        if told is None or _bare(_built(f"{name}:{_joined(told)}")) != bare:
            continue
        usual = registry.options("model", name)
        # The sizes are always told; of the rest, what is not as it usually is.
        typed = _joined({k: v for k, v in told.items() if k not in ("classes", "bias") or v != usual[k]})
        unseen = " (its activation is not in a file)" if "activation" in usual else ""
        return f"{name}{':' * bool(typed)}{typed}, {told['classes']} classes{unseen}"
    return None


def _joined(options: Mapping[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in options.items()).lower()


def _built(spec: str) -> dict[str, Shape]:
    """The names and shapes of one of our models; none where it cannot be made."""
    try:
        with torch.device("meta"):
            state = registry.make("model", spec).state_dict()
    except InputError:
        return {}
    return {name: tuple(tensor.shape) for name, tensor in state.items() if not name.endswith(COUNTER)}


def _bare(shapes: Shapes) -> dict[str, Shape]:
    """Without what all names have in common before a dot."""
    ends = zip(min(shapes, default=""), max(shapes, default=""), strict=False)
    common = "".join(one for one, other in takewhile(lambda pair: pair[0] == pair[1], ends))
    return {name[common.rfind(".") + 1 :]: shape for name, shape in shapes.items()}


# Other people's.

DEPTHS: dict[tuple[bool, Shape], str] = {
    (False, (2, 2, 2, 2)): "18",
    (False, (3, 4, 6, 3)): "34",
    (True, (3, 4, 6, 3)): "50",
    (True, (3, 4, 23, 3)): "101",
    (True, (3, 8, 36, 3)): "152",
}


def _resnet(s: Shapes) -> str | None:
    blocks = _counts(s, "layer{}.#.conv1.weight")
    bottleneck, stem, width = (
        "layer1.0.conv3.weight" in s,
        s["conv1.weight"][2],
        s["layer1.0.conv1.weight"][0],
    )
    depth = DEPTHS.get((bottleneck, blocks), f"{(3 if bottleneck else 2) * sum(blocks) + 2}")
    groups = s["layer1.0.conv2.weight"][0] // s["layer1.0.conv2.weight"][1]
    # BatchNorm before a convolution has the channels of its input, after it those of its output.
    before = s["layer2.0.bn1.weight"][0] == s["layer2.0.conv1.weight"][1] != s["layer2.0.conv1.weight"][0]
    kind = f"{'PreAct' * before}{'ResNeXt' if groups > 1 else 'ResNet'}-{depth}"
    classes = _classes(s, "fc.weight", "linear.weight", "classifier.weight")
    if stem == 7 and (width, groups) == (64, 1) and len(blocks) == 4 and not before and "fc.weight" in s:
        return f"{kind} (torchvision:resnet{depth} or timm:resnet{depth}), {classes}"
    source = " in the names of kuangliu/pytorch-cifar" if "linear.weight" in s and len(blocks) == 4 else ""
    return f"{kind}{source} with a {stem} × {stem} stem, width {width}, {classes}"


def _wide_resnet(s: Shapes) -> str:
    blocks, width = len(_numbers(s, "block1.layer.#.conv1.weight")), s["block1.layer.0.conv1.weight"][0]
    extra = ", with a sub_block1 that does nothing (TRADES)" if _starts(s, "sub_block1.") else ""
    return f"WideResNet-{6 * blocks + 4}-{width // 16}{extra}, {_classes(s, 'fc.weight')}"


def _wide_resnet_swish(s: Shapes) -> str:
    blocks, width = len(_numbers(s, "layer.0.block.#.conv_0.weight")), s["layer.0.block.0.conv_0.weight"][0]
    name = f"WideResNet-{6 * blocks + 4}-{width // 16}"
    return f"{name} in the names of DeepMind's and RobustBench's, {_classes(s, 'logits.weight')}"


def _vgg(s: Shapes) -> str | None:
    kernels = [s[f"features.{n}.weight"] for n in _numbers(s, "features.#.weight")]
    convolutions = [shape for shape in kernels if len(shape) == 4]
    heads = [f"classifier.{n}.weight" for n in reversed(_numbers(s, "classifier.#.weight"))]
    classes = _classes(s, *heads, "classifier.weight", "fc.weight", "linear.weight")
    if len(convolutions) == 5 and convolutions[0][2] == 11:
        return f"AlexNet (torchvision:alexnet), {classes}"
    if len(convolutions) not in (8, 10, 13, 16) or any(shape[2:] != (3, 3) for shape in convolutions):
        return None
    depth, norm = len(convolutions) + 3, "_bn" if _ends(s, "running_mean") else ""
    if len(heads) == 3:
        return f"VGG-{depth} (torchvision:vgg{depth}{norm}), {classes}"
    return f"VGG-{depth}{' with BatchNorm' if norm else ''} and one linear layer, {classes}"


def _densenet(s: Shapes, block: str, head: str) -> str:
    """block: the pattern of a block's second convolution"""
    blocks = _counts(s, block)
    growth = s[block.format(1).replace("#", f"{_numbers(s, block.format(1))[0]}")][0]
    depth = 2 * sum(blocks) + len(blocks) + 1
    hint = f" (torchvision:densenet{depth})" if block.startswith("features") and len(blocks) == 4 else ""
    return f"DenseNet-{depth}{hint}, growth {growth}, {_classes(s, head)}"


SIZES = {(192, 12): "Ti", (384, 12): "S", (768, 12): "B", (1024, 24): "L", (1280, 32): "H"}


def _vit(s: Shapes, patches: str, block: str, places: str, *heads: str) -> str:
    dim, _, patch, _ = s[patches]
    depth, tokens = len(_numbers(s, block)), s[places][1]
    size = f"-{SIZES[dim, depth]}/{patch}" if (dim, depth) in SIZES else ""
    side = patch * int(tokens**0.5)  # one or two of the tokens are no patches
    inputs = f"inputs of about {side} × {side} pixels"
    return f"ViT{size}: depth {depth}, dim {dim}, patch {patch}, {inputs}, {_classes(s, *heads)}"


def _convnext(s: Shapes, stem: str, block: str, *heads: str, first: int = 0, step: int = 1) -> str:
    depths, dim = _counts(s, block, first, step), s[stem][0]
    sizes = {(3, 9, 96): "tiny", (3, 27, 96): "small", (3, 27, 128): "base", (3, 27, 192): "large"}
    size = sizes.get((depths[0], depths[2], dim), "")
    return f"ConvNeXt{f'-{size}' if size else ''}: depths {depths}, dim {dim}, {_classes(s, *heads)}"


def _mobilenet(s: Shapes) -> str | None:
    stem = s["features.0.0.weight"]
    if stem[2:] != (3, 3) or "features.1.conv.0.0.weight" not in s:
        return None
    hint = " (torchvision:mobilenet_v2)" if stem[0] == 32 else f", width {stem[0] / 32:g}"
    return f"MobileNetV2{hint}, {_classes(s, 'classifier.1.weight')}"


def _chain(s: Shapes) -> str | None:
    """Linear layers alone, each of which takes what the one before it gives."""
    layers = [shape for shape in s.values() if len(shape) == 2]
    chained = all(before[0] == after[1] for before, after in pairwise(layers))
    if not layers or not chained or any(len(shape) > 2 for shape in s.values()):
        return None
    sizes = " - ".join(str(n) for n in (layers[0][1], *(out for out, _ in layers)))
    norm = " with BatchNorm" if _ends(s, "running_mean") else ""
    return f"fully connected, {sizes}{norm}, {layers[-1][0]} classes"


def _lenet(s: Shapes) -> str | None:
    convolutions, linear = _numbers(s, "conv#.weight"), _numbers(s, "fc#.weight")
    channels = " - ".join(
        str(n) for n in (s["conv1.weight"][1], *(s[f"conv{n}.weight"][0] for n in convolutions))
    )
    if len(_ends(s, ".weight")) > len(convolutions) + len(linear) + len(_ends(s, "running_mean")):
        return None
    return (
        f"like a LeNet: {len(convolutions)} convolutions ({channels} channels) and {len(linear)} linear "
        f"layers, {_classes(s, f'fc{linear[-1]}.weight')}"
    )


def _starts(s: Shapes, start: str) -> bool:
    return any(name.startswith(start) for name in s)


def _ends(s: Shapes, end: str) -> list[str]:
    return [name for name in s if name.endswith(end)]


class Family(NamedTuple):
    """Architectures of one way of naming. marks: names that all of them have."""

    marks: frozenset[str]
    describe: Callable[[Shapes], str | None]


def _family(marks: str, describe: Callable[[Shapes], str | None]) -> Family:
    return Family(frozenset(marks.split()), describe)


def _hugging_face(prefix: str) -> Family:
    """ViT in the names of transformers, with a classifier beside it or alone."""
    patches = f"{prefix}embeddings.patch_embeddings.projection.weight"
    block = f"{prefix}encoder.layer.#.attention.attention.query.weight"
    places = f"{prefix}embeddings.position_embeddings"
    return _family(f"{patches} {places}", lambda s: _vit(s, patches, block, places, "classifier.weight"))


# The first that fits is the one. A new family is a line.
FAMILIES = (
    _family("conv1.weight layer1.0.conv1.weight layer1.0.conv2.weight layer2.0.bn1.weight", _resnet),
    _family("conv1.weight block1.layer.0.conv1.weight", _wide_resnet),
    _family("init_conv.weight layer.0.block.0.conv_0.weight", _wide_resnet_swish),
    _family(
        "conv_2d.weight layer_0.0.conv_2d_1.weight",
        lambda s: (
            f"PreActResNet-{2 * sum(_counts(s, 'layer_{}.#.conv_2d_1.weight', 0)) + 2} in the names of "
            f"DeepMind's and RobustBench's, {_classes(s, 'logits.weight')}"
        ),
    ),
    _family("features.0.weight", _vgg),
    _family(
        "features.denseblock1.denselayer1.conv2.weight",
        lambda s: _densenet(s, "features.denseblock{}.denselayer#.conv2.weight", "classifier.weight"),
    ),
    _family("dense1.0.conv2.weight", lambda s: _densenet(s, "dense{}.#.conv2.weight", "linear.weight")),
    _family(
        "patch_embed.proj.weight blocks.0.attn.qkv.weight pos_embed",  # timm, DeiT, DINO, MAE
        lambda s: _vit(s, "patch_embed.proj.weight", "blocks.#.attn.qkv.weight", "pos_embed", "head.weight"),
    ),
    _family(
        "conv_proj.weight encoder.pos_embedding",  # torchvision
        lambda s: _vit(
            s,
            "conv_proj.weight",
            "encoder.layers.encoder_layer_#.self_attention.in_proj_weight",
            "encoder.pos_embedding",
            "heads.head.weight",
        ),
    ),
    *(_hugging_face(prefix) for prefix in ("vit.", "deit.", "dinov2.", "")),
    _family(
        "stem.0.weight stages.0.blocks.0.conv_dw.weight",  # timm
        lambda s: _convnext(s, "stem.0.weight", "stages.{}.blocks.#.conv_dw.weight", "head.fc.weight"),
    ),
    _family(
        "downsample_layers.0.0.weight stages.0.0.dwconv.weight",  # its authors
        lambda s: _convnext(s, "downsample_layers.0.0.weight", "stages.{}.#.dwconv.weight", "head.weight"),
    ),
    _family(
        "features.0.0.weight features.1.0.block.0.weight",  # torchvision: every other stage narrows the image
        lambda s: _convnext(
            s, "features.0.0.weight", "features.{}.#.block.0.weight", "classifier.2.weight", first=1, step=2
        ),
    ),
    _family("features.0.0.weight features.1.conv.0.0.weight", _mobilenet),
    _family(
        "conv_stem.weight blocks.0.0.conv_dw.weight",
        lambda s: f"of timm's family of EfficientNet and MobileNet, {_classes(s, 'classifier.weight')}",
    ),
    _family(
        "conv1.weight layers.0.conv1.weight layers.0.conv3.weight linear.weight",
        lambda s: f"MobileNetV2 in the names of kuangliu/pytorch-cifar, {_classes(s, 'linear.weight')}",
    ),
    _family(
        "feature_extractor.conv1.weight classifier.fc1.weight classifier.fc3.weight",
        lambda s: f"SmallCNN of TRADES, {_classes(s, 'classifier.fc3.weight')}",
    ),
    _family("conv1.weight fc1.weight", _lenet),
    _family("", _chain),
)
