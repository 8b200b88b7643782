from __future__ import annotations

import pytest
import torch

from kernelevolve.evaluation.languages.stand_in_device import stand_in, stand_in_device


@pytest.mark.parametrize("backing", ["meta", "cpu"])
def test_tensors_say_that_they_are_on_a_gpu(backing):
    with stand_in_device("sm_90", backing):
        x = torch.empty(4, 8, device="cuda")
        answers = (x.device, x.is_cuda, x[1:].cuda().device, x.to("cuda:0").is_meta, torch.zeros(2).is_cpu)

    assert answers == (torch.device("cuda", 0), True, torch.device("cuda", 0), False, False)
    assert x.device.type == backing


def test_torch_and_triton_describe_the_architecture():
    import triton

    with stand_in_device("sm_100", "meta"):
        capability = torch.cuda.get_device_capability()
        target = triton.runtime.driver.active.get_current_target()

    assert capability == (10, 0)
    assert (target.backend, target.arch) == ("cuda", 100)


def test_nothing_stays_behind():
    before = torch.cuda.is_available, torch.cuda.current_device
    with pytest.raises(RuntimeError, match="from inside"), stand_in_device("gfx942", "meta"):
        raise RuntimeError("from inside")

    assert (torch.cuda.is_available, torch.cuda.current_device) == before
    assert torch.empty(1).device.type == "cpu"


def test_real_tensors_that_come_in_become_shapes():
    weight = torch.nn.Parameter(torch.ones(8, 4))
    with stand_in_device("sm_90", "meta"):
        product = torch.empty(2, 8, device="cuda") @ weight

    assert (product.device.type, product.shape) == ("meta", (2, 4))


def test_layout_survives():
    x = torch.arange(24.0).reshape(4, 6)[1:].t()

    [shape], [values] = stand_in(([x], [x.to("meta")]), "meta")

    assert (shape.shape, shape.stride(), shape.storage_offset()) == (x.shape, x.stride(), x.storage_offset())
    assert values.device.type == "meta"
    assert torch.equal(stand_in(x.to("meta"), "cpu"), torch.ones(6, 3))


def test_values_are_not_made_up_for_large_tensors():
    with pytest.raises(ValueError, match="too large"):
        stand_in(torch.empty(1 << 30, device="meta"), "cpu")
