"""What fits on a multiprocessor and how evenly it is used: spills, occupancy, waves."""

from __future__ import annotations

import math
from collections.abc import Iterator

from kernelevolve.profilers.report import Bottleneck
from kernelevolve.profilers.report import BottleneckKind as Kind
from kernelevolve.profilers.rules.view import KernelView, Rule, found, line_of, seen


def _spills(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    spills = code.resources.spills if code and code.resources else None
    where = code.spill_lines[0] if code and code.spill_lines else None
    local = view.number("local_loads") + view.number("local_stores")
    if not spills and not local:
        return
    if view.counted:
        requests = local + view.number("global_loads") + view.number("global_stores")
        share = local / requests if requests else 0.0
        source, pressure = "counters", max(view.number("memory_share"), view.number("l1_share"), 0.5)
    else:
        assert code is not None
        mix = code.mix
        memory = mix.local_memory + mix.global_memory + mix.shared_memory
        share = mix.local_memory / memory if memory else 0.5
        source, pressure = "static", 0.95
    if share > 0.05:
        yield found(
            view, Kind.REGISTER_SPILLS, share * pressure,
            f"{view.name} spills {spills or 'some'} registers a thread; {share:.0%} of its memory accesses go to local "
            f"memory{line_of(where)}.",
            "Use smaller tiles or more warps, so that each thread holds less; shorten the life of large values; fewer "
            "stages.",
            seen("spills", float(spills or 0), 0, "static", where=where),
            seen("local_access_share", share, 0.05, source, where=where),
        )  # fmt: skip


def _occupancy(view: KernelView) -> Iterator[Bottleneck]:
    code = view.code
    resources = code.resources if code else None
    limiter = resources.occupancy_limiter if resources else None
    advice = (
        f"It is limited by {limiter or 'its resources'}: use less of it for each block (smaller tiles, fewer stages), "
        "or more warps in a block."
    )
    achieved = view.metric("occupancy")
    if achieved is not None:
        waits = view.number("stall.long_scoreboard") + view.number("stall.short_scoreboard")
        limit = view.metric("occupancy_limit") or 1.0
        if achieved < 0.3 and limit < 0.45 and waits > 0.25 and view.number("matrix_unit_share") < 0.3:
            yield found(
                view, Kind.LOW_OCCUPANCY, view.idle_share * (1.0 - achieved / 0.5) * min(1.0, 1.6 * waits),
                f"{achieved:.0%} of the warps that a multiprocessor holds are there ({limiter or 'resources'} limit "
                f"them), and they wait for memory {waits:.0%} of the time.",
                advice,
                seen("occupancy", achieved, 0.3, "counters", "<"),
                seen("memory_wait_share", waits, 0.25, "counters"),
            )  # fmt: skip
        return
    occupancy = resources.occupancy if resources else None
    hidden = code is not None and any((loop.stages or 1) > 1 for loop in code.loops)
    if occupancy is not None and occupancy < 0.2 and not hidden and code is not None and not code.mix.matrix:
        yield found(
            view, Kind.LOW_OCCUPANCY, 0.8 * (1.0 - occupancy / 0.3),
            f"At most {occupancy:.0%} of the warps that a multiprocessor holds fit ({limiter} limits them), and "
            "nothing else hides the latency of memory.",
            advice,
            seen("occupancy", occupancy, 0.2, "static", "<"),
        )  # fmt: skip


def _balance(view: KernelView) -> Iterator[Bottleneck]:
    blocks = math.prod(
        view.measured.grid if view.measured and view.measured.grid else (view.code.grid if view.code else ())
    )
    if not (view.measured and view.measured.grid) and not (view.code and view.code.grid):
        return
    waves = view.metric("waves") or _waves(view, blocks)
    if waves is None:
        return
    sms = view.sm_count()
    last = math.ceil(waves - 1e-6)
    idle = 1.0 - waves / last
    source = "static"
    average, elapsed = view.metric("sm_cycles.avg"), view.metric("sm_cycles.elapsed")
    if average is not None and elapsed:
        idle, source = max(0.0, 1.0 - average / elapsed), "counters"
    if sms and blocks < 0.75 * sms:
        yield found(
            view, Kind.LOW_PARALLELISM, 1.0 - blocks / sms,
            f"{view.name} has {blocks} blocks for {sms:.0f} multiprocessors.",
            "Make more, smaller blocks: smaller tiles, or split the reduction dimension (split-K).",
            seen("blocks", blocks, 0.75 * sms, source, "<"),
        )  # fmt: skip
    elif idle > 0.12 and 1.0 < waves < 8.0 and last / waves > 1.1:
        yield found(
            view, Kind.TAIL_EFFECT, idle,
            f"{blocks} blocks fill the chip {waves:.2f} times, so {idle:.0%} of the multiprocessors' time passes idle "
            "while the last blocks run.",
            "Choose tiles so that the blocks fill whole waves; or launch one persistent block for each multiprocessor "
            "that takes tiles in turn; or split the last tiles.",
            seen("idle_share", idle, 0.12, source),
            seen("waves", waves, 1.0, source),
        )  # fmt: skip
    elif idle > 0.2 and source == "counters" and waves > 1.0:
        yield found(
            view, Kind.LOAD_IMBALANCE, idle,
            f"Multiprocessors idle for {idle:.0%} of the time of {view.name}: some blocks take longer than others.",
            "Give long rows to several blocks, sort work by length, or let persistent blocks take work in turn.",
            seen("idle_share", idle, 0.2, source),
        )  # fmt: skip


def _waves(view: KernelView, blocks: float) -> float | None:
    """Blocks over those that run at once, from the code's occupancy."""
    sms, resources = view.sm_count(), view.code.resources if view.code else None
    fact = view.sheet.facts.get("warps_per_sm")
    if not sms or resources is None or resources.occupancy is None or not resources.threads_per_block or fact is None:
        return None
    at_once = max(1, round(resources.occupancy * fact.value / math.ceil(resources.threads_per_block / 32)))
    return blocks / (sms * at_once)


RULES: tuple[Rule, ...] = (_spills, _occupancy, _balance)
"""Rules about residency and balance."""
