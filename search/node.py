"""A search and its nodes, as values that cannot change."""

from __future__ import annotations

from enum import StrEnum

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.finding import Status
from kernelevolve.search.fitness import Fitness
from kernelevolve.search.options import OptimizeOptions


class StopReason(StrEnum):
    """Why a search ended."""

    EVALUATIONS = "evaluations"
    """The budget of candidates is used up."""
    WALL_CLOCK = "wall_clock"
    """The time is up."""
    STALL = "stall"
    """Nothing better was found for too long."""
    TARGET = "target"
    """The wanted speed-up is reached."""
    NOTHING_LEFT = "nothing_left"
    """The synthesizer has nothing left to propose."""
    NO_CORRECT_START = "no_correct_start"
    """No starting point is correct."""
    NOT_TIMED = "not_timed"
    """A starting point is correct, but nothing could be timed for this platform here."""
    HARNESS_ERROR = "harness_error"
    """The judge itself failed several times in a row."""
    AUTHOR_FAILED = "author_failed"
    """The author failed several times in a row, or can't go on."""
    TOKENS = "tokens"
    """The budget of tokens is used up."""
    MONEY = "money"
    """The budget of money is used up."""
    ROOFLINE = "roofline"
    """The best is nearly as fast as the hardware allows."""
    STOPPED = "stopped"
    """Somebody stopped it."""


class SearchState(StrEnum):
    """Whether a search goes on."""

    RUNNING = "running"
    """Begun and not ended; also what an interrupted search is, until it is resumed."""
    FINISHED = "finished"


class SearchRecord(Contract):
    """One search."""

    search_id: str
    """Its handle; cannot be guessed."""
    task: str
    """Path of the task, or `aten::<operator>`."""
    task_hash: str | None
    """`Task.task_hash` at the first correct verdict: speed-ups of another task cannot be compared."""
    platform: str
    """Platform name."""
    options: OptimizeOptions
    """Budget, goal and rigour."""
    policy: str
    """Name of the selection policy."""
    synthesizer: str
    """Name of the synthesizer."""
    brief_object: str | None = None
    """Object that holds what an author must know of the task, as text; None where no author reads it."""
    state: SearchState
    """Whether it goes on."""
    reason: StopReason | None
    """Why it ended."""
    made: str
    """UTC time it began, ISO 8601."""
    finished: str | None
    """UTC time it ended, ISO 8601."""
    resumed_at: float
    """When it began or was resumed last, seconds since the epoch: what the wall-clock budget counts from."""
    step: int
    """Step of its newest node; -1 before the first."""
    issued: int
    """Orders made so far."""
    starts: int
    """Starting points it was given; their orders are the first."""
    leader_id: str | None
    """The leading node."""
    leader_score: float
    """Its speed-up; 0 where there is none."""
    start_score: float | None
    """Speed-up of the first correct node."""
    anchor_ms: float | None
    """The baseline's time beside the first correct node, milliseconds; see `fitness.steadied`."""
    stalled: int
    """Derived candidates since the lead last changed."""
    harness_errors: int
    """Failures of the judge since it last worked."""
    author_failures: int
    """Orders in a row that led to no candidate."""
    input_tokens: int
    """Tokens sent to models."""
    output_tokens: int
    """Tokens they answered with."""
    usd: float
    """Money spent on them, US dollars."""
    owner: str = ""
    """Caller that began it, the name of its token; empty where it was begun on the server's own machine."""
    shared: bool = False
    """Whether other callers may see it and work on it."""


class Node(Contract):
    """One judged candidate of a search."""

    node_id: str
    """Its handle: the search's and the step."""
    search_id: str
    """The search it belongs to."""
    step: int
    """Position in the search, from 0."""
    parents: tuple[str, ...]
    """Nodes it was derived from; none for a starting point."""
    mutation: str
    """How it was derived, in a few words; empty for a starting point."""
    language: str
    """Name of the language."""
    name: str
    """Name of the candidate."""
    source_hash: str
    """`Candidate.source_hash`."""
    source_object: str
    """Object that holds the source."""
    verdict_object: str
    """Object that holds the verdict."""
    status: Status
    """The judge's word for the search's platform."""
    fitness: Fitness
    """What it was first judged to be worth."""
    latency_ms: float | None
    """Mean time of one call over the cases, milliseconds; from the second verdict if that is correct."""
    confirmation_object: str | None = None
    """Object that holds the second, fuller verdict, once there is one."""
    confirmed: Fitness | None = None
    """What the second verdict says it is worth."""
    refuted: bool = False
    """Whether the second verdict found it not correct."""
    roofline_share: float | None = None
    """Time the hardware needs at least over the time it takes, mean over the cases; None where it is not known."""
    judged_s: float
    """Seconds the judge took."""
    order_id: str | None = None
    """The order it was written for."""
    author: str = ""
    """Who wrote it."""
    depth: int = 0
    """Edges between it and its starting point, along first parents."""
    children: int = 0
    """Nodes derived from it."""
    island: int = 0
    """Sub-population it belongs to; 0 where the policy has none."""
    exhausted: bool = False
    """Whether its synthesizer has nothing left to try from it."""
    made: str
    """UTC time, ISO 8601."""

    @property
    def score(self) -> Fitness:
        """What it is worth by all that is known: zeros when refuted, the confirmed fitness once there is one."""
        if self.refuted:
            return Fitness()
        return self.confirmed if self.confirmed is not None else self.fitness

    @property
    def viable(self) -> bool:
        """Whether it is correct and was timed."""
        return self.status is Status.CORRECT and self.score.speedup > 0
