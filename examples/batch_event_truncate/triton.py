"""Running sums say where each user's data begins and goes; then one launch copies it for all users and features."""

import torch
import triton
import triton.language as tl

BLOCK = 256


@triton.jit
def copy_kept_kernel(
    inner_lengths_ptr, values_ptr, new_inner_lengths_ptr, new_values_ptr,
    event_from_ptr, event_to_ptr, event_count_ptr, value_from_ptr, value_to_ptr, value_count_ptr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    user = tl.program_id(0)
    lanes = tl.arange(0, BLOCK)

    count = tl.load(event_count_ptr + user)
    source = tl.load(event_from_ptr + user)
    target = tl.load(event_to_ptr + user)
    for start in range(0, count, BLOCK):
        offsets = start + lanes
        lengths = tl.load(inner_lengths_ptr + source + offsets, mask=offsets < count)
        tl.store(new_inner_lengths_ptr + target + offsets, lengths, mask=offsets < count)

    count = tl.load(value_count_ptr + user)
    source = tl.load(value_from_ptr + user)
    target = tl.load(value_to_ptr + user)
    for start in range(0, count, BLOCK):
        offsets = start + lanes
        values = tl.load(values_ptr + source + offsets, mask=offsets < count)
        tl.store(new_values_ptr + target + offsets, values, mask=offsets < count)


def kernel(outer_lengths, inner_lengths, values, max_events):
    inner_lengths, values = inner_lengths.contiguous(), values.contiguous()
    events = outer_lengths.flatten()  # one entry for each feature and user
    kept_events = events.clamp(max=max_events)
    event_from = events.cumsum(0) - events
    event_to = kept_events.cumsum(0) - kept_events

    # value_begin[i] is where event i begins in `values`; one entry more than events, so that the end is there too.
    value_begin = torch.zeros(inner_lengths.numel() + 1, dtype=torch.int64, device=values.device)
    value_begin[1:] = inner_lengths.cumsum(0)
    value_from = value_begin[event_from]
    kept_values = value_begin[event_from + kept_events] - value_from
    value_to = kept_values.cumsum(0) - kept_values

    # The launch comes before the sizes are read, so that the wait for them overlaps with the copy.
    new_inner_lengths, new_values = torch.empty_like(inner_lengths), torch.empty_like(values)
    copy_kept_kernel[(events.numel(),)](
        inner_lengths, values, new_inner_lengths, new_values,
        event_from, event_to, kept_events, value_from, value_to, kept_values,
        BLOCK=BLOCK, num_warps=4,
    )  # fmt: skip
    return new_inner_lengths[: int(kept_events.sum())], new_values[: int(kept_values.sum())]
