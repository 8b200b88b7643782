"""A receipt: everything that a verdict rests on, chained by hash to the receipt before it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field

from kernelevolve.evaluation.contract import Contract


class Receipt(Contract):
    """Evidence for one verdict. `receipt_hash` covers every other field, `previous` included."""

    made: str
    """UTC time, ISO 8601."""
    harness_version: str
    """Version of KernelEvolve."""
    harness_hash: str
    """SHA-256 over the judge's own source files."""
    task_hash: str
    """`Task.task_hash`."""
    source_hash: str
    """`Candidate.source_hash`."""
    verdict_hash: str
    """SHA-256 of the platform verdicts as canonical JSON."""
    machine: dict[str, Any]
    """Processor, cores, operating system, kernel."""
    devices: dict[str, Any] = Field(default_factory=dict)
    """Platform → device name, driver, clocks in MHz before and after, memory in bytes; as far as they can be read."""
    libraries: dict[str, str]
    """Versions of Python, torch, triton, compilers."""
    protection: tuple[str, ...]
    """Protections that were active around the candidate, e.g. `landlock`, `network namespace`."""
    seed_commitment: str
    """SHA-256 of the secret seed: the seed itself is stored beside the receipt in the judge's own log."""
    samples: dict[str, Any] = Field(default_factory=dict)
    """Every timed sample in milliseconds, by platform, case and side."""
    previous: str
    """`receipt_hash` of the receipt before this one; 64 zeros for the first."""
    receipt_hash: str = ""
    """SHA-256 of this receipt without this field."""

    def digest(self) -> str:
        """What `receipt_hash` must be."""
        return canonical_hash(self.model_dump(mode="json", exclude={"receipt_hash"}))

    def sealed(self) -> Receipt:
        """The same receipt with its hash filled in."""
        return self.model_copy(update={"receipt_hash": self.digest()})


def canonical_hash(value: Any) -> str:
    """SHA-256 of a JSON value: keys sorted, no spaces."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
