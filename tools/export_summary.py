"""What `export_kernel` is asked and what it returns; light enough to be known when a server starts."""

from __future__ import annotations

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.verdict import PlatformVerdict


class ExportRequest(Contract):
    """What to export, and how."""

    search_id: str
    """The search."""
    steps: tuple[int, ...] = ()
    """Nodes of it by step; none for the best, and those that are clearly faster in some case."""
    also: tuple[str, ...] = ()
    """Further searches of the same task, for other platforms say, whose best nodes are added."""
    embed_reference: bool = True
    """Whether the module carries the reference, to fall back to."""
    allow_unexecuted: bool = False
    """Take kernels that no device executed; the module says so."""
    limit_s: float = 120.0
    """Seconds that one answer of the module may take while it is judged; the first compiles its kernels."""


class ExportedNode(Contract):
    """A node in an export."""

    node_id: str
    """The node."""
    language: str
    """Its language."""
    platform: str
    """What it is for."""
    level: Level | None
    """How well it was judged."""
    confirmed: bool
    """Whether a second, fuller verdict agreed."""
    receipt_hash: str
    """Its receipt."""


class ExportedCase(Contract):
    """What a module does in a measured case."""

    case: str
    """Case name."""
    platform: str
    """Platform."""
    node_id: str | None
    """Node whose kernel is used; None for the reference, which was faster."""
    speedup: float | None = None
    """Speed-up over the reference; None where it was not timed."""
    low: float | None = None
    """Lower end of its interval."""
    high: float | None = None
    """Upper end of its interval."""


class ExportSummary(Contract):
    """What `export_kernel` returns; the module itself is behind `resource`."""

    search_id: str
    """The search."""
    task: str
    """Task name."""
    entry: str
    """What to import: `kernel` or `ModelNew`."""
    nodes: tuple[ExportedNode, ...]
    """Kernels in the module."""
    cases: tuple[ExportedCase, ...]
    """What is used where."""
    judged: tuple[PlatformVerdict, ...]
    """What the judge said of the whole module, for each platform."""
    receipt_hashes: tuple[str, ...]
    """Receipts of those verdicts."""
    sha256: str
    """SHA-256 of the module's text."""
    characters: int
    """Its length."""
    resource: str
    """Address of the module, `search://…/export`."""
    files: tuple[str, ...] = ()
    """Files that were written: the module, and copies of C++ and CUDA sources for reading."""
