"""Keep the first N events of every user, for many features at once, in doubly jagged data.

Every feature has, for every user, a list of events, and every event has a list of values:

    outer_lengths   int64, (features, users): how many events a user has in a feature
    inner_lengths   int64, (all events,): how many values each event has
    values          float, (all values,)

Events lie in the order feature, user, time; values in the order of their events. Of each user's events in a feature
the first `max_events` are kept, whole and in order (all of them where there are fewer), the others are dropped.

    outer_lengths = [[3, 1]]
    inner_lengths = [2, 1, 1, 3]
    values        = [.1, .2,  .3,  .4,  .5, .6, .7],  max_events = 2
    →  new_inner_lengths = [2, 1, 3],  new_values = [.1, .2,  .3,  .5, .6, .7]

The result is (new_inner_lengths, new_values). The new outer lengths are `outer_lengths.clamp(max=max_events)`, so they
are not part of it. How long the results are depends on the data. Nothing is computed: lengths must be exact, and so
must values. The work is finding where everything goes; the copy itself is bound by memory.
"""

import torch

CASES = {
    "small": {"features": 3, "users": 8, "events": 6, "values": 3, "max_events": 4},
    "main": {"features": 9, "users": 256, "events": 200, "values": 4, "max_events": 100, "weight": 4.0},
    "many_features": {"features": 32, "users": 64, "events": 100, "values": 4, "max_events": 20},
    "odd": {"features": 5, "users": 33, "events": 17, "values": 40, "max_events": 1, "hidden": True},
}


def make_inputs(case):
    """0 to `events` events for each user, 0 to 2 · `values` values for each event, cut out of one dense table.

    Users are the table's rows, so that a smaller copy of a case is one with fewer users.
    """
    table = torch.randn(case.users, case.features, case.events, 2 * case.values).transpose(0, 1)
    outer_lengths = torch.randint_like(table[:, :, 0, 0], case.events + 1, dtype=torch.int64)
    event_is_used = torch.arange(case.events) < outer_lengths[:, :, None]
    events = table[event_is_used]
    inner_lengths = torch.randint_like(events[:, 0], 2 * case.values + 1, dtype=torch.int64)
    values = events[torch.arange(2 * case.values) < inner_lengths[:, None]]
    return (outer_lengths.contiguous(), inner_lengths, values, case.max_events)


def reference(outer_lengths, inner_lengths, values, max_events):
    events = outer_lengths.flatten()
    first_event = (events.cumsum(0) - events).repeat_interleave(events)
    position = torch.arange(inner_lengths.numel(), device=inner_lengths.device) - first_event
    keep = position < max_events
    return inner_lengths[keep], values[keep.repeat_interleave(inner_lengths)]


def bytes(case):
    """All lengths are read; kept lengths and values are written, kept values are read. Expected sizes."""
    users = case.features * case.users
    events = users * case.events / 2
    kept = users * sum(min(count, case.max_events) for count in range(case.events + 1)) / (case.events + 1)
    return int(8 * (users + events + kept) + 4 * 2 * kept * case.values)
