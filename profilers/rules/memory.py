"""How a kernel reads and writes: coalescing, width, bank conflicts, repetition, atomics."""

from __future__ import annotations

from collections.abc import Iterator

from kernelevolve.profilers.report import AccessKind, Bottleneck, GlobalAccess, KernelMeasurement, ProfileReport
from kernelevolve.profilers.report import BottleneckKind as Kind
from kernelevolve.profilers.rules.view import KernelView, Rule, found, line_of, seen


def _uncoalesced(view: KernelView) -> Iterator[Bottleneck]:
    worst = _worst_access(view)
    if view.counted:
        sectors = view.number("global_load_sectors") + view.number("global_store_sectors")
        moved = view.number("dram_read_bytes") + view.number("dram_write_bytes")
        if not sectors or sectors * 32 < 0.2 * moved:
            return
        used = (
            view.number("global_load_sectors") * (view.metric("load_sector_use") or 1.0)
            + view.number("global_store_sectors") * (view.metric("store_sector_use") or 1.0)
        ) / sectors
        pressure = max(view.number("memory_share"), view.number("l1_share"), view.number("l2_share"))
        pressure = max(pressure, view.number("stall.lg_throttle") + view.number("stall.long_scoreboard"))
        if used < 0.6:
            yield found(
                view, Kind.UNCOALESCED_ACCESS, (1.0 - used) * pressure,
                f"Only {used:.0%} of the bytes in the 32-byte sectors that {view.name} moves are used"
                f"{line_of(worst.where if worst else None)}.",
                "Let neighbouring lanes touch neighbouring addresses: make the fastest dimension of the tile the one "
                "with stride 1, or transpose through shared memory.",
                seen("sector_use", used, 0.6, "counters", "<", where=worst.where if worst else None),
                seen("memory_pressure", pressure, 0.0, "counters"),
            )  # fmt: skip
        return
    total = sum(weight for _access, weight in view.weights)
    known = [(access, weight) for access, weight in view.weights if access.sector_use is not None]
    if worst is None or not total:
        return
    wasted = sum(weight * (1.0 - (access.sector_use or 0.0)) for access, weight in known) / total
    apart = f"{worst.stride_bytes} bytes" if worst.stride_bytes else "a size known only at run time"
    if wasted > 0.4:
        yield found(
            view, Kind.UNCOALESCED_ACCESS, 0.95 * wasted,
            f"Neighbouring lanes of {view.name} are {apart} apart in memory, so {wasted:.0%} of what is moved is not "
            f"used{line_of(worst.where)}.",
            "Let neighbouring lanes touch neighbouring addresses: make the fastest dimension of the tile the one with "
            "stride 1, or transpose through shared memory.",
            seen("wasted_sector_share", wasted, 0.4, "static", where=worst.where),
        )  # fmt: skip


def _worst_access(view: KernelView) -> GlobalAccess | None:
    poor = [(access, weight) for access, weight in view.weights if access.sector_use is not None]
    poor = [(access, weight) for access, weight in poor if (access.sector_use or 0.0) < 0.6]
    return max(poor, key=lambda entry: entry[1] * (1.0 - (entry[0].sector_use or 0.0)), default=(None, 0.0))[0]


def _narrow(view: KernelView) -> Iterator[Bottleneck]:
    """Coalesced, but so few bytes an instruction that instructions, not bytes, are the limit."""
    if view.counted:
        requests = view.number("global_loads") + view.number("global_stores")
        sectors = view.number("global_load_sectors") + view.number("global_store_sectors")
        if not requests or (view.metric("load_sector_use") or 1.0) < 0.6:
            return
        lane_bytes = sectors / requests  # 32 bytes a sector, 32 lanes a request
        busy = view.number("stall.lg_throttle") + 0.5 * view.number("pipe_share.load_store")
        if lane_bytes <= 2.5 and view.number("dram_share") < 0.7:
            yield found(
                view, Kind.NARROW_ACCESS, (1.0 - lane_bytes / 16.0) * max(busy, view.idle_share) * 0.7,
                f"{view.name} moves {lane_bytes:.1f} bytes for each lane and instruction, and device memory is "
                f"{view.number('dram_share'):.0%} busy.",
                "Load 16 bytes a lane: more elements for each thread, contiguous, aligned to 16 bytes.",
                seen("bytes_per_lane", lane_bytes, 2.5, "counters", "<", "B"),
                seen("dram_share", view.number("dram_share"), 0.7, "counters", "<"),
            )  # fmt: skip
        return
    total = sum(weight for _access, weight in view.weights)
    narrow = [
        (access, weight)
        for access, weight in view.weights
        if access.vector_bytes is not None
        and access.vector_bytes < 4
        and (access.sector_use or 0.0) >= 0.6
        and not access.indirect
        and (access.bytes_per_block or 0) >= 64
    ]
    share = sum(weight for _access, weight in narrow) / total if total else 0.0
    if narrow and share > 0.5:
        first = narrow[0][0]
        yield found(
            view, Kind.NARROW_ACCESS, 0.6 * share * (1.0 - (first.vector_bytes or 0) / 4),
            f"Most accesses of {view.name} move {first.vector_bytes} bytes for each lane and instruction"
            f"{line_of(first.where)}.",
            "Load 16 bytes a lane: more elements for each thread, contiguous, aligned to 16 bytes.",
            seen("bytes_per_lane", float(first.vector_bytes or 0), 4, "static", "<", "B", first.where),
        )  # fmt: skip


def _bank_conflicts(view: KernelView) -> Iterator[Bottleneck]:
    wavefronts, conflicts = view.number("shared_wavefronts"), view.number("bank_conflicts")
    if not wavefronts:
        return
    share = min(1.0, conflicts / wavefronts)
    pressure = max(view.number("l1_share"), view.number("stall.short_scoreboard") + view.number("stall.mio_throttle"))
    if share > 0.2:
        yield found(
            view, Kind.BANK_CONFLICTS, share * pressure,
            f"{share:.0%} of the shared-memory wavefronts of {view.name} exist only because lanes hit the same bank.",
            "Pad the rows of the shared tile by one element, or swizzle the column index with the row.",
            seen("bank_conflict_share", share, 0.2, "counters"),
            seen("shared_memory_pressure", pressure, 0.0, "counters"),
        )  # fmt: skip


def _redundant(view: KernelView) -> Iterator[Bottleneck]:
    """The same data read again where reading once would do; products re-read by nature, so they are left out."""
    if view.code is not None and (view.code.matrix_operations or view.code.mix.matrix):
        return
    repeated = _passes(view)
    needed = needed_bytes(view.report)
    if view.counted and needed and view.code is None:
        return
    if view.counted and needed:
        moved = sum(
            (_metric(entry, "dram_read_bytes") + _metric(entry, "dram_write_bytes")) * entry.calls
            for entry in view.report.kernels
        )
        through_l1 = (view.number("global_load_sectors") + view.number("global_store_sectors")) * 32
        if moved / needed > 1.4:
            yield found(
                view, Kind.REDUNDANT_PASS, (1.0 - needed / moved) * max(view.number("memory_share"), 0.5),
                f"The candidate moves {moved / 1e6:.0f} MB through device memory where {needed / 1e6:.0f} MB would do.",
                "Read each input once: keep the row in registers or shared memory between the passes, or fuse the "
                "kernels that read it.",
                seen("moved_over_needed_bytes", moved / needed, 1.4, "counters"),
            )  # fmt: skip
        elif repeated and through_l1 / needed > 1.4:
            # Later passes hit a cache, which still costs what the cache's bandwidth costs.
            share = 1.0 - needed / through_l1
            pressure = max(view.number("l1_share"), view.number("l2_share"), view.number("stall.long_scoreboard"))
            yield found(
                view, Kind.REDUNDANT_PASS, share * pressure,
                f"{view.name} loads {repeated[0]} in {repeated[1]} places: {through_l1 / needed:.1f} times the bytes "
                "that it needs.",
                "Read each input once: keep the row in registers between the passes.",
                seen("loaded_over_needed_bytes", through_l1 / needed, 1.4, "counters"),
                seen("loads_of_one_input", repeated[1], 1, "static"),
            )  # fmt: skip
        return
    if repeated:
        total = sum(weight for _access, weight in view.weights)
        again = repeated[2] / total if total else 0.0
        yield found(
            view, Kind.REDUNDANT_PASS, 0.8 * again,
            f"{view.name} loads {repeated[0]} in {repeated[1]} places.",
            "Read each input once: keep the row in registers or shared memory between the passes.",
            seen("loads_of_one_input", repeated[1], 1, "static"),
        )  # fmt: skip


def _passes(view: KernelView) -> tuple[str, int, float] | None:
    """The input that is loaded at the most lines, at how many, and the bytes of all loads but the largest."""
    by_pointer: dict[str, dict[int, float]] = {}
    for access, weight in view.weights:
        if access.kind is AccessKind.LOAD and access.pointer and access.where and not access.indirect:
            lines = by_pointer.setdefault(access.pointer, {})
            lines[access.where.line] = max(weight, lines.get(access.where.line, 0.0))
    best = max(by_pointer.items(), key=lambda entry: sum(entry[1].values()) - max(entry[1].values()), default=None)
    if best is None or len(best[1]) < 2:
        return None
    return best[0], len(best[1]), sum(best[1].values()) - max(best[1].values())


def needed_bytes(report: ProfileReport) -> float | None:
    """Bytes that one call must move, as far as the task or its inputs and outputs say."""
    point = next((entry for entry in report.roofline if entry.case == report.case and not entry.kernel), None)
    return point.bytes if point else None


def _metric(entry: KernelMeasurement, name: str) -> float:
    found = entry.metrics.get(name)
    return found.value if found else 0.0


def _atomics(view: KernelView) -> Iterator[Bottleneck]:
    atomics = [(access, weight) for access, weight in view.weights if access.kind is AccessKind.ATOMIC]
    where = atomics[0][0].where if atomics else None
    advice = (
        "Reduce within the block first (registers, then shared memory) and make one atomic for each block; or write "
        "partial results and sum them in a second pass."
    )
    if view.counted:
        share = view.atomic_share
        if share > 0.1:
            yield found(
                view, Kind.ATOMIC_CONTENTION, max(share, 0.5) * max(0.0, 1.0 - view.number("dram_share")),
                f"{share:.0%} of the accesses of {view.name} to device memory are atomics, and memory itself is "
                f"{view.number('dram_share'):.0%} busy{line_of(where)}.",
                advice,
                seen("atomic_share", share, 0.1, "counters", where=where),
                seen("dram_share", view.number("dram_share"), 1.0, "counters", "<"),
            )  # fmt: skip
        return
    total = sum(weight for _access, weight in view.weights)
    share = sum(weight for _access, weight in atomics) / total if total else 0.0
    if share > 0.05:
        yield found(
            view, Kind.ATOMIC_CONTENTION, min(0.9, 0.5 + share),
            f"{share:.0%} of the bytes that {view.name} touches are touched by atomics{line_of(where)}.",
            advice,
            seen("atomic_byte_share", share, 0.05, "static", where=where),
        )  # fmt: skip


RULES: tuple[Rule, ...] = (_uncoalesced, _narrow, _bank_conflicts, _redundant, _atomics)
"""Rules about memory accesses."""
