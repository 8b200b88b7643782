import dataclasses

import pytest
import torch

from kernelevolve.evaluation.tasks.program import Inputs, seeded, shorten_traceback


def test_tensors_come_in_order_from_every_depth():
    a, b, c, d = (torch.full((1,), float(value)) for value in range(4))
    inputs = Inputs((a, [b, 3, {"x": c}]), {"y": (d, None)})
    assert [tensor.item() for tensor in inputs.tensors()] == [0, 1, 2, 3]


def test_mapping_keeps_everything_else():
    inputs = Inputs((torch.ones(2), ["x", (torch.ones(1), 2)]), {"k": torch.ones(3), "flag": True}, shrunk=True)
    doubled = inputs.map_tensors(lambda tensor: tensor * 2)
    assert [tensor.tolist() for tensor in doubled.tensors()] == [[2, 2], [2], [2, 2, 2]]
    assert doubled.args[1][0] == "x"
    assert doubled.args[1][1][1] == 2
    assert doubled.kwargs["flag"] is True
    assert doubled.shrunk
    assert inputs.args[0].tolist() == [1, 1]


def test_inputs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Inputs(()).shrunk = True


def test_seeding_puts_the_states_back_even_after_an_error():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with pytest.raises(ZeroDivisionError), seeded(2):
        _ = torch.rand(1) / (1 // 0)
    assert torch.rand(1) == expected


def test_a_long_traceback_is_shortened():
    def dig(depth):
        if depth == 0:
            raise ValueError("bottom")
        dig(depth - 1)

    with pytest.raises(ValueError, match="bottom") as caught:
        dig(50)
    text = shorten_traceback(caught.value)
    assert text.endswith("ValueError: bottom")
    assert "frames left out" in text
    assert len(text.splitlines()) < 40


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_inputs_on_a_gpu_follow_the_seed_and_leave_its_generator_alone():
    torch.cuda.manual_seed(1)
    expected = torch.rand(3, device="cuda")
    torch.cuda.manual_seed(1)
    with seeded(7, "cuda"):
        first = torch.rand(3, device="cuda")
    with seeded(7, "cuda:0"):
        again = torch.rand(3, device="cuda")
    assert torch.equal(first, again)
    assert torch.equal(torch.rand(3, device="cuda"), expected)
