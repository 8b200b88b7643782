"""How a search stands, or how it went: the short form that everybody sees."""

from __future__ import annotations

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.verdict import SpeedSummary
from kernelevolve.search.node import Node, StopReason
from kernelevolve.search.synthesizers import Cost


class SearchSummary(Contract):
    """How a search went."""

    search_id: str
    """The search."""
    task: str
    """Path of the task, or `aten::<operator>`."""
    platform: str
    """Platform name."""
    policy: str
    """Name of the selection policy."""
    synthesizer: str
    """Name of the synthesizer."""
    baseline: str
    """What fitness was measured against."""
    reason: StopReason | None
    """Why it ended; None while it goes on."""
    evaluations: int
    """Candidates judged, confirmations not counted."""
    elapsed_s: float
    """Seconds since it began or was resumed."""
    cost: Cost
    """What authors took."""
    start: Node | None
    """The first starting point, once judged."""
    winner: Node | None
    """The best node; None if none is correct, or all were refuted."""
    confirmed: bool
    """Whether the winner was found correct and timed a second time, with full samples."""
    speeds: tuple[SpeedSummary, ...]
    """The winner's speed against each baseline, from its confirmation if there is one."""
