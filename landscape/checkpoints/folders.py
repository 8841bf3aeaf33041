"""Folders of Hugging Face: weights in one file or in several, and the index that says which are where."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from landscape.checkpoints.content import Content, listed
from landscape.checkpoints.formats import READERS
from landscape.checkpoints.inert import told
from landscape.checkpoints.safe import strict_json
from landscape.checkpoints.sniff import HEADER, INDEXES, SINGLES, entries, opened, sniff
from landscape.checkpoints.source import Malformed, Source
from landscape.errors import CheckpointError


def read(path: Path) -> Content:
    """What the files of a folder hold together.

    Every name is in the file where the index has it; what else a file holds is told in the notes.
    """
    chosen, others = _chosen(path)
    notes = [f"not read: {listed(others)}"] if others else []
    if chosen in SINGLES:
        single = _shard(path, chosen)
        return replace(single, notes=(*single.notes, *notes))
    metadata, places = _index(path, chosen)
    shards = {name: _shard(path, name) for name in sorted(set(places.values()))}
    trees = {name: _mapping(path, name, shard.tree) for name, shard in shards.items()}
    if absent := [name for name, shard in places.items() if name not in trees[shard]]:
        raise CheckpointError(
            f"{path}: {listed(absent)} is not in {listed([places[absent[0]]])}, where {chosen} has it; "
            "copy the folder again"
        )
    if extra := [name for shard, tree in trees.items() for name in tree if places.get(name) != shard]:
        notes.append(f"not in the index, so not used: {listed(extra)}")
    parts = shards.values()
    return Content(
        f"{' and '.join(sorted({part.format for part in parts}))} in {len(shards)} parts",
        {name: trees[shard][name] for name, shard in places.items()},
        ignored=tuple(sorted({name for part in parts for name in part.ignored})),
        metadata={key: value for part in parts for key, value in part.metadata.items()} | metadata,
        notes=(*dict.fromkeys(note for part in parts for note in part.notes), *notes),
    )


def files(path: Path) -> list[Path]:
    """The files that `read` reads: the index, and the parts by their names."""
    chosen, _ = _chosen(path)
    if chosen in SINGLES:
        return [inside(path, chosen)]
    _, places = _index(path, chosen)
    return [inside(path, name) for name in (chosen, *sorted(set(places.values())))]


def inside(folder: Path, name: str) -> Path:
    """A file of a folder by its plain name; CheckpointError where it is elsewhere, or nowhere.

    A link may lead to a file of the same folder, or as in a Hugging Face cache, from snapshots/REVISION to
    blobs.
    """
    if name in ("", ".", "..") or any(letter in name for letter in "/\\\0"):
        raise CheckpointError(
            f"{folder} is refused: it names {listed([name])!r}, no file of its own; copy it again"
        )
    root, target = (Path(os.path.realpath(place)) for place in (folder, folder / name))
    cache = root.parent.parent / "blobs" if root.parent.name == "snapshots" else root
    if target.parent not in (root, cache):
        raise CheckpointError(
            f"{folder} is refused: {listed([name])} is a link that leads out of it; copy the file itself"
        )
    if not target.is_file():
        raise CheckpointError(f"{folder} lacks {listed([name])}, a part of the checkpoint; copy it there too")
    return folder / name


def _chosen(path: Path) -> tuple[str, list[str]]:
    """The index or the single file of a folder, safetensors before pickles, and the others of its kind."""
    names = entries(path)
    for index, single in zip(INDEXES, SINGLES, strict=True):
        found = [name for name in names if name.endswith(index) or name == single]
        if len(found) > 1:
            raise CheckpointError(
                f"{path} has {listed(found)}, each a whole checkpoint; leave one of them there"
            )
        if found:
            others = [name for name in names if name.endswith(INDEXES) or name in SINGLES]
            return found[0], [name for name in others if name != found[0]]
    raise CheckpointError(
        f"{path} has no index, and no {' or '.join(SINGLES)}; name the checkpoint file in it"
    )


def _index(path: Path, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What an index tells about the whole, and the file of every name."""
    place = inside(path, name)
    with opened(place) as file, told(place):
        source = Source(file)
        if source.size > HEADER:
            raise Malformed(f"it has {source.size:,} bytes, too many for an index")
        index = strict_json(source.read(), "it")
        places, metadata = index.get("weight_map"), index.get("metadata")
        if not isinstance(places, dict) or not places or not all(isinstance(n, str) for n in places.values()):
            raise Malformed("it has no weight_map from names to files")
    plain = metadata.items() if isinstance(metadata, dict) else ()
    return {n: value for n, value in plain if isinstance(value, str | int | float | None)}, places


def _shard(path: Path, name: str) -> Content:
    place = inside(path, name)
    file = opened(place)
    kind = sniff(file, place)
    if kind not in READERS:
        raise CheckpointError(f"{place} is refused: it holds code ({kind}); save the state dict anew")
    return READERS[kind](file, place)


def _mapping(path: Path, name: str, tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise CheckpointError(
            f"{path}: {listed([name])} holds no mapping from names to tensors; copy it again"
        )
    return tree
