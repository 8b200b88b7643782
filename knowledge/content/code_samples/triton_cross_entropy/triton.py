"""Cross entropy as log-sum-exp minus one logit: the logits are read once, the probabilities exist nowhere."""

import torch
import triton
import triton.language as tl

BLOCK = 1024


@triton.jit
def cross_entropy_kernel(logits_ptr, targets_ptr, losses_ptr, classes, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)  # rows * classes of a language model pass 2^31
    logits_ptr += row * classes
    lanes = tl.arange(0, BLOCK)
    # The target's logit is one gathered number. Asked for before the loop, it is there long before it is needed.
    target = tl.load(targets_ptr + row)
    wanted = tl.load(logits_ptr + target).to(tl.float32)

    # Online log-sum-exp, a maximum and a sum for each lane; see the sample on online softmax.
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, classes, BLOCK):
        offsets = start + lanes
        x = tl.load(logits_ptr + offsets, mask=offsets < classes, other=float("-inf")).to(tl.float32)
        new = tl.maximum(largest, x)
        shift = tl.where(new == float("-inf"), 0.0, new)
        total = total * tl.exp(largest - shift) + tl.exp(x - shift)
        largest = new
    maximum = tl.max(largest, axis=0)
    total = tl.sum(total * tl.exp(largest - maximum), axis=0)

    # (maximum - wanted) + log(total), in this order: both terms are small where the prediction is good, while
    # maximum + log(total) - wanted takes two nearly equal numbers from each other.
    tl.store(losses_ptr + row, (maximum - wanted) + tl.log(total))


def kernel(logits, targets):
    logits, targets = logits.contiguous(), targets.contiguous()
    rows, classes = logits.shape
    losses = torch.empty((rows,), dtype=logits.dtype, device=logits.device)
    cross_entropy_kernel[(rows,)](logits, targets, losses, classes, BLOCK=BLOCK, num_warps=4)
    return losses
