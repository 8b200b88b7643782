"""Inputs on their way to a candidate: what is placed into an arena is what is rebuilt from it."""

from __future__ import annotations

import collections
import itertools
import json
import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves

from kernelevolve.evaluation.errors import TaskError
from kernelevolve.evaluation.judge.arena import Arena
from kernelevolve.evaluation.judge.data import (
    arena_bytes,
    describe_only,
    place,
    plant_special_values,
    rebuild,
    remake,
    strides_for,
)
from kernelevolve.evaluation.task import Layout, SpecialValue
from kernelevolve.evaluation.tasks.program import Inputs

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test fails because the machine is busy."""

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8,
    torch.bool, torch.complex64, torch.complex128, torch.float8_e4m3fn,
)  # fmt: skip
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """A tensor of any dtype and shape: dense, transposed, expanded, sliced, or with NaN and infinities."""
    shape, dtype = draw(shapes), draw(st.sampled_from(DTYPES))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    tensor = torch.randint(0, 3, shape, generator=generator).to(dtype)
    if tensor.dtype in FLOATS and tensor.numel() and draw(st.booleans()):
        tensor.view(-1)[0] = draw(st.sampled_from([math.nan, math.inf, -math.inf, -0.0]))
    change = draw(st.sampled_from(["none", "transpose", "expand", "slice"]))
    if change == "transpose" and tensor.dim() >= 2:
        tensor = tensor.transpose(0, -1)
    elif change == "expand":
        tensor = tensor.unsqueeze(0).expand(2, *tensor.shape)
    elif change == "slice" and tensor.dim() and tensor.shape[0] > 1:
        tensor = tensor[::2]
    return tensor


plain = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5)
leaves = tensors() | plain | st.sampled_from([torch.float32, torch.bfloat16])
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
arguments = st.tuples(
    st.lists(nested, max_size=4).map(tuple),
    st.dictionaries(st.text("abc", min_size=1, max_size=2), nested, max_size=2),
)


def same(left: Any, right: Any) -> bool:
    """Equal in kind and value; NaN equals NaN, and 0.0 does not equal -0.0."""
    if isinstance(left, torch.Tensor):
        if not isinstance(right, torch.Tensor) or left.dtype != right.dtype or left.shape != right.shape:
            return False
        return bits(left) == bits(right)
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left.hex() == right.hex() if isinstance(left, float) else bool(left == right)


def bits(tensor: torch.Tensor) -> list[int]:
    # A single element counts as contiguous whatever its stride; a copy has stride 1.
    return list(tensor.reshape(-1).clone(memory_format=torch.contiguous_format).view(torch.uint8).tolist())


def through_an_arena(inputs: Inputs, extra: list[torch.Tensor], layout: Layout) -> tuple[Any, Any, list[torch.Tensor]]:
    room = arena_bytes(inputs, layout) + sum(arena_bytes(Inputs((tensor,)), Layout.CONTIGUOUS) for tensor in extra)
    arena = Arena.create(room, "cpu")
    placed = place(inputs, extra, arena, layout)
    args, kwargs, rebuilt_extra = rebuild(json.loads(json.dumps(placed.description)), arena)
    return args, kwargs, rebuilt_extra


@settings(PATIENT, max_examples=150)
@given(arguments, st.lists(tensors(), max_size=2), st.sampled_from(Layout))
def test_what_is_placed_is_rebuilt(given_arguments: tuple[Any, Any], extra: list[torch.Tensor], layout: Layout) -> None:
    args, kwargs = given_arguments

    rebuilt_args, rebuilt_kwargs, rebuilt_extra = through_an_arena(Inputs(args, kwargs), extra, layout)

    assert same(list(args), rebuilt_args)
    assert same(kwargs, rebuilt_kwargs)
    assert same(extra, rebuilt_extra)


@settings(PATIENT, max_examples=100)
@given(st.lists(tensors(), min_size=1, max_size=4), st.sampled_from(Layout))
def test_no_tensor_overlaps_another(given_tensors: list[torch.Tensor], layout: Layout) -> None:
    arena = Arena.create(arena_bytes(Inputs(tuple(given_tensors)), layout), "cpu")

    placed = place(Inputs(tuple(given_tensors)), [], arena, layout)

    spans = sorted(
        (view.data_ptr(), view.data_ptr() + (1 + last_offset(view)) * view.element_size())
        for view in placed.tensors
        if view.numel()
    )
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize("layout", Layout)
def test_tensors_that_fill_the_alignment_exactly_do_not_overlap(layout: Layout) -> None:
    args, _kwargs, _extra = through_an_arena(Inputs((torch.zeros(128), torch.ones(128))), [], layout)

    args[1].fill_(2)
    assert torch.equal(args[0], torch.zeros(128))


def last_offset(view: torch.Tensor) -> int:
    return sum((size - 1) * step for size, step in zip(view.shape, view.stride(), strict=True))


@settings(PATIENT)
@given(tensors().filter(lambda tensor: tensor.dim() > 0 and tensor.numel() > 0))
def test_strided_inputs_have_a_padded_last_dimension(tensor: torch.Tensor) -> None:
    view = through_an_arena(Inputs((tensor,)), [], Layout.STRIDED)[0][0]

    assert view.stride(-1) == 1
    if tensor.dim() > 1 and tensor.shape[-2] > 1:
        assert view.stride(-2) == tensor.shape[-1] + 3
        assert not view.is_contiguous()


@settings(PATIENT)
@given(tensors().filter(lambda tensor: tensor.numel() > 0))
def test_offset_inputs_are_dense_and_unaligned(tensor: torch.Tensor) -> None:
    view = through_an_arena(Inputs((tensor,)), [], Layout.OFFSET)[0][0]

    assert view.data_ptr() % 512 == tensor.element_size()
    assert last_offset(view) == tensor.numel() - 1


def test_contiguous_inputs_are_aligned_and_keep_their_memory_format() -> None:
    image = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)

    first, second = through_an_arena(Inputs((torch.ones(3), image)), [], Layout.CONTIGUOUS)[0]

    assert first.data_ptr() % 512 == second.data_ptr() % 512 == 0
    assert second.is_contiguous(memory_format=torch.channels_last)


def test_the_layout_is_for_the_inputs_and_not_for_a_module_s_weights() -> None:
    weight = torch.randn(4, 4)

    _args, _kwargs, extra = through_an_arena(Inputs((torch.randn(4, 4),)), [weight], Layout.STRIDED)

    assert extra[0].is_contiguous()
    assert torch.equal(extra[0], weight)


def test_one_tensor_given_twice_becomes_two() -> None:
    x = torch.ones(4)

    first, second = through_an_arena(Inputs((x, x)), [], Layout.CONTIGUOUS)[0]

    first.fill_(5)
    assert torch.equal(second, torch.ones(4))


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -0.0, 5e-324, 1.7976931348623157e308, 0.1])
def test_floats_keep_every_bit(value: float) -> None:
    again = through_an_arena(Inputs((torch.ones(1), value)), [], Layout.CONTIGUOUS)[0][1]

    assert again.hex() == value.hex()


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@pytest.mark.parametrize(
    "value",
    [
        object(), {1, 2}, b"bytes", 1j, torch.device("cpu"), collections.deque([torch.ones(1)] * 2),
        Pair(torch.ones(1), torch.ones(1)), {(1, 2): torch.ones(1)},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_cannot_be_sent_is_the_task_s_fault(value: Any) -> None:
    with pytest.raises(TaskError, match="cannot be sent"):
        through_an_arena(Inputs((torch.ones(1), value)), [], Layout.CONTIGUOUS)


def test_remake_changes_tensors_and_nothing_else() -> None:
    args, kwargs = remake(([torch.ones(2), 3, [torch.zeros(1), None]], {"k": torch.ones(1), "s": "x"}), torch.neg)

    assert args[0].tolist() == [-1, -1]
    assert args[1] == 3
    assert args[2][1] is None
    assert kwargs["k"].tolist() == [-1]
    assert kwargs["s"] == "x"


def test_describe_only_describes_what_place_would() -> None:
    inputs = Inputs((torch.randn(3, 4), {"x": [torch.ones(5, dtype=torch.int8), 2.5]}), {"flag": True})
    extra = [torch.randn(7)]
    arena = Arena.create(arena_bytes(inputs, Layout.CONTIGUOUS) + 4096, "cpu")

    described = describe_only(inputs.map_tensors(lambda tensor: tensor.to("meta")), [extra[0].to("meta")])

    assert described == place(inputs, extra, arena, Layout.CONTIGUOUS).description


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_special_value_is_planted(dtype: torch.dtype) -> None:
    inputs = Inputs((torch.rand(64, 64).to(dtype) + 1,))

    planted = plant_special_values(inputs, tuple(SpecialValue), seed=1).tensors()[0]

    tiny = torch.finfo(dtype).smallest_normal
    assert (planted == math.inf).any()
    assert (planted == -math.inf).any()
    assert planted.isnan().any()
    zeros = planted[planted == 0]
    assert torch.signbit(zeros).any()
    assert (~torch.signbit(zeros)).any()
    assert ((planted.abs() > 0) & (planted.abs() < tiny)).any()
    assert int((planted != inputs.tensors()[0]).sum()) <= 2 * len(SpecialValue)


@pytest.mark.parametrize("value", list(SpecialValue))
def test_only_what_was_asked_for_is_planted(value: SpecialValue) -> None:
    x = torch.rand(1000) + 1

    planted = plant_special_values(Inputs((x,)), (value,), seed=3).tensors()[0]

    changed = planted[planted != x].tolist()
    assert 1 <= len(changed) <= 2
    kinds = {
        SpecialValue.ZERO: all(number == 0 for number in changed),
        SpecialValue.NEGATIVE_ZERO: all(math.copysign(1, number) == -1 and number == 0 for number in changed),
        SpecialValue.SUBNORMAL: all(0 < abs(number) < 1.2e-38 for number in changed),
        SpecialValue.INFINITY: all(math.isinf(number) for number in changed),
        SpecialValue.NAN: all(math.isnan(number) for number in changed),
    }
    assert kinds[value]


def test_planting_leaves_the_inputs_alone() -> None:
    x, small, index = torch.rand(100), torch.rand(63), torch.arange(100)
    before = x.clone()

    planted = plant_special_values(Inputs((x, small, index)), tuple(SpecialValue), seed=1).tensors()

    assert torch.equal(x, before)
    assert not torch.equal(planted[0].nan_to_num(), x)
    assert torch.equal(planted[1], small)  # too small to have room
    assert torch.equal(planted[2], index)


def test_the_seed_decides_the_places() -> None:
    inputs = Inputs((torch.zeros(100_000),))

    def places(seed: int) -> list[int]:
        planted = plant_special_values(inputs, (SpecialValue.NAN,), seed).tensors()[0]
        return [int(place) for place in planted.isnan().nonzero()]

    assert places(1) == places(1)
    assert places(1) != places(2)


def test_strides_for_a_scalar_are_empty_in_every_layout() -> None:
    for layout in Layout:
        assert strides_for(torch.tensor(1.0), layout)[0] == ()


def test_tree_leaves_agree_with_the_description() -> None:
    """`place` walks by pytree and `rebuild` by the described nesting: both must see the same leaves."""
    value: tuple[Any, ...] = ({"b": [1, (torch.ones(1),)], "a": None}, [], (), {})
    inputs = Inputs(value)
    arena = Arena.create(4096, "cpu")

    description = place(inputs, [], arena, Layout.CONTIGUOUS).description

    assert len(description["leaves"]) == len(tree_leaves((inputs.args, inputs.kwargs))) == 3
