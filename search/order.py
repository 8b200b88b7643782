"""An order: the right to write one candidate, for a while."""

from __future__ import annotations

from enum import StrEnum

from kernelevolve.evaluation.contract import Contract


class Phase(StrEnum):
    """What an order is for."""

    START = "start"
    """Judge a starting point; its source is there already."""
    DRAFT = "draft"
    """Write a first candidate of one's own, without a memory of what others tried."""
    EXPAND = "expand"
    """Build on what was found."""


class MemoryMode(StrEnum):
    """What an author is told of the search so far."""

    CLEAN_SLATE = "clean_slate"
    """The task and where to start; nothing that was tried. Forced when the search stagnates."""
    PARENT = "parent"
    """The parent, what the judge said of it, and the line it descends from."""
    SIBLINGS = "siblings"
    """The parent and what else was tried from it."""
    BOTH = "both"
    """All of these."""


class OrderState(StrEnum):
    """What became of an order."""

    WAITING = "waiting"
    """Nobody has it: a starting point that is not judged yet, or an order that was given back."""
    OPEN = "open"
    """Given to an author whose lease runs."""
    DONE = "done"
    """Its candidate is a node."""
    DUPLICATE = "duplicate"
    """Its candidate was in the search already."""
    FAILED = "failed"
    """Its author gave up, or answered with nothing that could be judged."""
    EXPIRED = "expired"
    """Its lease ran out. A late submission is still taken while the search runs."""


class Order(Contract):
    """A lease to produce one candidate."""

    order_id: str
    """Its handle: the search's, a dot, `o` and its number."""
    search_id: str
    """The search it belongs to."""
    number: int
    """Position among the orders of the search, from 0."""
    phase: Phase
    """What it is for."""
    state: OrderState
    """What became of it."""
    parents: tuple[str, ...] = ()
    """Nodes to build on, the main one first; a second one is to be combined with it. None for a starting point."""
    memory: MemoryMode = MemoryMode.PARENT
    """What the author is told."""
    island: int = 0
    """Sub-population its node will belong to; 0 where the policy has none."""
    note: str = ""
    """Why the policy chose these parents, in a few words."""
    holder: str = ""
    """Who has it."""
    issued: str = ""
    """UTC time it was given out, ISO 8601."""
    expires: float = 0.0
    """When the lease ends, seconds since the epoch."""
    node_id: str | None = None
    """The node it led to; for a duplicate, the node that was there before."""
    reason: str = ""
    """Why it failed."""
