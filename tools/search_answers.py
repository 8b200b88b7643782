"""What the tools of a search take and return. Values only: a server that starts needs no more of them."""

from __future__ import annotations

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Status
from kernelevolve.search.events import StoredEvent
from kernelevolve.search.node import Node
from kernelevolve.search.order import Order
from kernelevolve.search.summary import SearchSummary


class Submission(Contract):
    """A candidate that was written for an order."""

    order_id: str
    """The order."""
    source: str
    """The whole source."""
    description: str = Field(default="", max_length=500)
    """What was changed against the parent, in a few words; others will read it."""
    language: str | None = None
    """Name of the language, where it is not the parent's."""


class Answer(Contract):
    """What became of a submission."""

    order_id: str
    """The order it was for."""
    accepted: bool
    """Whether it became a node; what was judged and refused as wrong is a node too."""
    node_id: str | None = None
    """The node; for a duplicate the one that was there before."""
    status: Status | None = None
    """The judge's word."""
    speedup: float | None = None
    """Speed-up against the baseline; None unless correct."""
    leads: bool = False
    """Whether it is the best so far."""
    text: str
    """The verdict in words, or why it was not taken."""


class GivenOrder(Contract):
    """An order, with where to read all of it."""

    order: Order
    """The order."""
    prompt_uri: str
    """Resource with the whole prompt."""


class SearchStep(Contract):
    """What `start_search` and `run_search_step` return."""

    summary: SearchSummary
    """The search as it stands."""
    answers: tuple[Answer, ...] = ()
    """One for each submission."""
    orders: tuple[GivenOrder, ...] = ()
    """Candidates that are wanted from the caller now."""
    waiting: str = ""
    """Why there is no order for the caller, though the search goes on."""


class TreeNode(Contract):
    """A node in a picture of the tree."""

    step: int
    """Position in the search."""
    parents: tuple[int, ...]
    """Steps of the nodes it was derived from."""
    status: Status
    """The judge's word."""
    speedup: float
    """0 unless viable."""
    mutation: str
    """How it was derived."""


class SearchReport(Contract):
    """What `get_search` returns."""

    summary: SearchSummary
    """The search as it stands."""
    nodes: tuple[TreeNode, ...] = ()
    """For `tree`: the best, at most 500, and the lines they descend from."""
    node: Node | None = None
    """For `node` and `best`."""
    source: str = ""
    """For `node` and `best`."""
    order: Order | None = None
    """For `order`."""
    events: tuple[StoredEvent, ...] = ()
    """For `events`: those after the number that was asked for."""
