"""The arena on the CPU: memory that two processes share, and that neither can take from the other."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernelevolve.evaluation.judge.arena import Arena, aligned

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""No test fails because the machine is busy."""


@pytest.fixture
def arena() -> Iterator[Arena]:
    block = Arena.create(8192, "cpu")
    yield block
    block.close()


def attached(arena: Arena) -> Arena:
    """The worker's side, as in a process that was sent the descriptor."""
    description, descriptors = arena.description()
    return Arena.attach(description, [os.dup(descriptor) for descriptor in descriptors])


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@settings(PATIENT)
@given(st.integers(0, 1 << 40))
def test_sizes_are_rounded_up_to_the_alignment(nbytes: int) -> None:
    assert aligned(nbytes) % 512 == 0
    assert nbytes <= aligned(nbytes) < nbytes + 512


@pytest.mark.parametrize("nbytes", [0, 1, 512, 513, 100_000])
def test_there_is_at_least_as_much_room_as_asked_for(nbytes: int) -> None:
    arena = Arena.create(nbytes, "cpu")

    assert arena.block().numel() == arena.nbytes >= max(nbytes, 1)
    assert not arena.block().any()
    arena.close()


def test_both_sides_see_what_either_writes(arena: Arena) -> None:
    other = attached(arena)

    arena.tensor(512, (3, 4), (4, 1), torch.float32).fill_(1.5)
    other.tensor(0, (10,), (1,), torch.int64).fill_(7)

    assert other.tensor(512, (3, 4), (4, 1), torch.float32).eq(1.5).all()
    assert arena.tensor(0, (10,), (1,), torch.int64).eq(7).all()
    other.close()


def test_another_process_sees_it_too(arena: Arena) -> None:
    description, descriptors = arena.description()
    child = os.fork()
    if child == 0:
        status = 1
        with contextlib.suppress(BaseException):
            memory = mmap.mmap(descriptors[0], description["nbytes"])
            memory[4:8] = b"abcd"
            status = 0
        os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert bytes(arena.block()[4:8].tolist()) == b"abcd"


def test_a_view_keeps_its_strides(arena: Arena) -> None:
    view = arena.tensor(4, (2, 3), (6, 1), torch.int32)
    view.copy_(torch.arange(6).reshape(2, 3))

    assert view.stride() == (6, 1)
    assert arena.tensor(4, (9,), (1,), torch.int32).tolist() == [0, 1, 2, 0, 0, 0, 3, 4, 5]


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (2049,), (1,)),
        (8192, (1,), (1,)),
        (8188, (2,), (1,)),
        (0, (2, 2), (2047, 2)),
        (0, (1 << 40,), (1,)),
        (1 << 40, (1,), (1,)),
    ],
)
def test_a_view_never_leaves_the_block(
    arena: Arena, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    with pytest.raises(RuntimeError, match="fit"):
        arena.tensor(offset, shape, stride, torch.float32)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 5, 2)])
def test_empty_tensors_fit_anywhere(arena: Arena, shape: tuple[int, ...]) -> None:
    assert arena.tensor(8192, shape, [1] * len(shape), torch.float32).shape == shape


def test_the_last_element_can_be_used(arena: Arena) -> None:
    arena.tensor(8184, (1,), (1,), torch.float64).fill_(3.0)

    assert arena.tensor(0, (1024,), (1,), torch.float64)[-1] == 3.0


def test_a_closed_arena_gives_nothing(arena: Arena) -> None:
    other = attached(arena)
    other.close()
    other.close()

    with pytest.raises(RuntimeError, match="closed"):
        other.block()


def test_the_other_side_can_neither_cut_nor_grow_it(arena: Arena) -> None:
    """A candidate that cut it to nothing would kill the judge with SIGBUS at the next access."""
    descriptor = arena.description()[1][0]

    for size in (0, 4096, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    assert os.fstat(descriptor).st_size == 8192
    arena.block().fill_(1)


def test_arenas_leave_no_descriptors_or_mappings_behind() -> None:
    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count("kernelevolve-arena")

    def once() -> None:
        arena = Arena.create(1 << 16, "cpu")
        other = attached(arena)
        view = other.tensor(0, (4,), (1,), torch.float32)
        view.fill_(1)
        del view
        other.close()
        arena.close()

    once()
    gc.collect()
    before = (open_descriptors(), mappings())
    for _ in range(50):
        once()
    gc.collect()
    assert (open_descriptors(), mappings()) == before


def test_the_descriptor_is_not_inherited_by_programs(arena: Arena) -> None:
    assert not os.get_inheritable(arena.description()[1][0])
