"""What happens in a search, told while it happens."""

from __future__ import annotations

from typing import Any

from kernelevolve.evaluation.audit import Audit
from kernelevolve.evaluation.contract import Contract
from kernelevolve.search.node import Node, StopReason
from kernelevolve.search.order import Order


class SearchStarted(Contract):
    """A search begins, or is resumed."""

    search_id: str
    """The search."""
    resumed: bool
    """Whether it had begun before."""


class JudgeProgress(Contract):
    """The judge is at work on one candidate."""

    search_id: str
    """The search."""
    candidate: str
    """Name of the candidate."""
    stage: str
    """What the judge is doing."""
    fraction: float
    """How far it is, 0 to 1."""


class NodeJudged(Contract):
    """A candidate was judged and stored."""

    search_id: str
    """The search."""
    node: Node
    """The new node."""
    best: Node | None
    """The leading node, this one included."""
    evaluations: int
    """Candidates judged so far."""


class BestImproved(Contract):
    """The lead changed."""

    search_id: str
    """The search."""
    node: Node
    """The new leading node."""
    previous: Node | None
    """The one before; None for the first."""


class NodeConfirmed(Contract):
    """The second, fuller verdict found a node correct."""

    search_id: str
    """The search."""
    node: Node
    """The node, with its confirmed fitness."""
    audit: Audit | None = None
    """What the audit that belongs to the confirmation says."""


class NodeRefuted(Contract):
    """The second, fuller verdict found a node not correct."""

    search_id: str
    """The search."""
    node: Node
    """The node."""
    summary: str
    """What was wrong."""


class OrderFailed(Contract):
    """An author could not serve an order."""

    search_id: str
    """The search."""
    order: Order
    """The order, with the reason."""


class Stopped(Contract):
    """The search ended."""

    search_id: str
    """The search."""
    reason: StopReason
    """Why."""
    winner: Node | None
    """The best node, if any starting point was correct."""


Event = SearchStarted | JudgeProgress | NodeJudged | BestImproved | NodeConfirmed | NodeRefuted | OrderFailed | Stopped


class StoredEvent(Contract):
    """One entry of a search's change log."""

    number: int
    """Position in the log of all searches; grows."""
    step: int
    """The last step when it happened; -1 before the first."""
    kind: str
    """`created`, `order`, `node`, `duplicate`, `failed`, `expired`, `exhausted`, `confirmed`, `refuted`, `finished` or
    `resumed`."""
    detail: dict[str, Any]
    """What changed."""
    made: str
    """UTC time, ISO 8601."""
