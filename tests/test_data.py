"""Data: a fixed order, one loop, sums that know nothing of batches."""

import pytest
import torch

from landscape import Data
from landscape.data import CHUNK, total
from landscape.errors import DataError, InputError


def examples(n: int = 300, classes: int = 3) -> Data:
    rng = torch.Generator().manual_seed(0)
    return Data.of(torch.rand(n, 1, 2, 2, generator=rng), torch.arange(n) % classes, name="toy")


@pytest.mark.parametrize("batch_size", [1, 7, 32, 100, 127])
def test_small_batches_split_chunks_and_never_join_them(batch_size):
    rows = list(examples().chunks(batch_size))
    assert [r.start for r in rows][1:] == [r.stop for r in rows][:-1]
    assert all(r.stop - r.start <= batch_size for r in rows)
    assert {CHUNK, 2 * CHUNK, 300} <= {r.stop for r in rows}


@pytest.mark.parametrize("batch_size", [128, 200, 10**6])
def test_a_larger_batch_size_changes_nothing_at_all(batch_size):
    data = examples()
    assert list(data.chunks(batch_size)) == list(data.chunks())


def test_a_sum_over_the_data_is_made_in_float64_across_chunks():
    data = Data.of(torch.ones(3 * CHUNK, 1), torch.zeros(3 * CHUNK, dtype=torch.int64))
    tiny, huge = torch.tensor(1.0), torch.tensor(2.0**30)
    assert total(lambda rows: huge if rows.start == 0 else tiny, data).item() == 2.0**30 + 2


def test_bytes_and_floats_give_the_same_inputs():
    grey = torch.arange(256, dtype=torch.uint8).view(-1, 1)
    y = torch.zeros(256, dtype=torch.int64)
    like = torch.zeros(1, dtype=torch.float64)
    from_bytes = Data.of(grey, y).inputs(slice(None), like)[0]
    from_floats = Data.of(grey.double() / 255, y).inputs(slice(None), like)[0]
    assert torch.equal(from_bytes, from_floats)


@pytest.mark.parametrize("n", [1, 2, 7, 100, 299])
def test_a_subset_is_balanced_ordered_and_remembers_where_it_comes_from(n):
    data = examples()
    few = data.subset(n, seed=3)
    counts = torch.bincount(few.y, minlength=3)
    assert len(few) == n
    assert counts.max() - counts.min() <= 1
    assert torch.equal(few.index, few.index.sort().values)
    assert torch.equal(few.x, data.x[few.index])


def test_a_subset_depends_on_the_seed_and_on_nothing_else():
    data = examples()
    assert data.subset(50, seed=1).sha256 == data.subset(50, seed=1).sha256
    assert data.subset(50, seed=1).sha256 != data.subset(50, seed=2).sha256


@pytest.mark.parametrize("n", [0, -1, 301])
def test_a_subset_larger_than_the_data_is_refused(n):
    with pytest.raises(InputError, match="300"):
        examples().subset(n)


BAD = {
    "outside": (torch.tensor([[0.5], [1.5]]), [0, 1], "divide by 255"),
    "normalised": (torch.tensor([[-2.0], [2.0]]), [0, 1], "divide by 255"),
    "nan": (torch.tensor([[0.5], [torch.nan]]), [0, 1], "NaN"),
    "integers": (torch.tensor([[1], [2]]), [0, 1], "uint8"),
    "short": (torch.tensor([[0.5], [0.5]]), [0], "one label for each"),
    "negative label": (torch.tensor([[0.5], [0.5]]), [0, -1], "count from 0"),
    "float label": (torch.tensor([[0.5], [0.5]]), [0.5, 1.5], "whole numbers"),
    "empty": (torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64), "no example"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_data_is_refused_in_words(case):
    x, y, words = BAD[case]
    with pytest.raises(DataError, match=words):
        Data.of(x, torch.as_tensor(y))


def test_a_label_beyond_the_classes_is_refused():
    with pytest.raises(DataError, match="3 classes"):
        Data(torch.zeros(1, 1), torch.tensor([3]), torch.tensor([0]), classes=3)


def test_numbers_to_predict_are_no_classes_and_are_drawn_without_regard_to_them():
    y = torch.arange(300.0).view(-1, 1) // 100
    data = Data.of(torch.rand(300, 2), y, numbers=True)
    assert data.classes == 0
    few = data.subset(30, seed=4)
    assert torch.equal(few.index, few.index.sort().values)
    assert torch.equal(few.y, y[few.index])
    # The same lot for any targets: nothing is balanced.
    assert torch.equal(few.index, Data.of(data.x, y.flip(0), numbers=True).subset(30, seed=4).index)
    assert not torch.equal(few.index, data.subset(30, seed=5).index)
    assert [len(group) for group in data.groups(7)] == [43] * 6 + [42]


def test_whole_numbers_are_labels_even_where_numbers_are_taken():
    assert Data.of(torch.rand(4, 2), torch.arange(4), numbers=True).classes == 4


@pytest.mark.parametrize(
    ("y", "told", "words"),
    [
        (torch.tensor([0.5, torch.nan]), {}, "NaN or infinity"),
        (torch.rand(2, 0), {}, "one or more for each example"),
        (torch.rand(2, 1, 1), {}, r"numbers of shape \(2, k\)"),
        (torch.rand(3), {}, "holds 2 examples"),
        (torch.rand(2), {"classes": 3}, "has 3 classes"),
    ],
)
def test_what_is_no_number_to_predict_is_refused_in_words(y, told, words):
    with pytest.raises(DataError, match=words):
        Data.of(torch.rand(2, 2), y, numbers=True, **told)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_is_kept_in_full(kind):
    data = Data.of(torch.rand(3, 2).to(kind), torch.rand(3).to(kind), numbers=True)
    assert data.y.dtype == torch.float32
    assert len(data.sha256) == 64
