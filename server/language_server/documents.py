"""What the server knows of each open file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kernelevolve.server.language_server.costs import Cost, Refusal
from kernelevolve.server.language_server.kernels import CPP_SUFFIXES, Kernel, Scan, scan
from kernelevolve.server.language_server.task_files import TaskOfFile

if TYPE_CHECKING:
    from kernelevolve.server.language_server.vocabulary import Remark

LANGUAGES = {".cpp": "cpp", ".cc": "cpp", ".cxx": "cpp", ".cu": "cuda", ".hip": "hip"}


@dataclass
class VerdictOnFile:
    """The last verdict on a file."""

    text_hash: str
    """Hash of the text that was judged."""
    status: str
    """The judge's word."""
    message: str
    """What it found, in a sentence or two."""
    speedup: float | None = None
    """Against the baseline, where it was timed."""
    receipt: str | None = None
    """Names the receipt."""
    line: int | None = None
    """Line of the text that it is about, from 0."""

    @property
    def good(self) -> bool:
        """Whether the candidate was found correct."""
        return self.status == "correct"


@dataclass(frozen=True)
class Best:
    """The best kernel that searches of the file's task know."""

    search: str
    """The search."""
    speedup: float
    """Against its baseline."""
    language: str
    """Of the kernel."""


@dataclass
class OpenFile:
    """One open file: its text as it was last seen, and everything found out about it."""

    uri: str
    """Its address."""
    path: Path | None
    """Where it lies; None for one that was never saved."""
    suffix: str
    """Decides the language."""
    text: str = ""
    """Its text."""
    scanned: Scan = field(default_factory=lambda: scan(""))
    """What is in the text."""
    task: TaskOfFile = field(default_factory=lambda: TaskOfFile(None))
    """The task it belongs to."""
    lints: list[Remark] = field(default_factory=list)
    """Mistakes in the text."""
    costs: dict[tuple[str, str], Cost] = field(default_factory=dict)
    """Kernel and target → what it costs."""
    refusal: Refusal | None = None
    """Why the file as a whole could not be compiled."""
    verdict: VerdictOnFile | None = None
    """The last verdict."""
    best: Best | None = None
    """The best kernel known for its task."""

    @property
    def language(self) -> str:
        """Of candidates in this file."""
        return LANGUAGES.get(self.suffix, "triton")

    @property
    def is_native(self) -> bool:
        """Whether a C++ compiler builds it."""
        return self.suffix in CPP_SUFFIXES

    @property
    def text_hash(self) -> str:
        """Hash of the text."""
        return hash_of(self.text)

    @property
    def is_candidate(self) -> bool:
        """Whether it can be judged as it is."""
        return self.scanned.entry is not None

    def update(self, text: str) -> None:
        """Take a new text."""
        if text != self.text or not text:
            self.text = text
            self.scanned = scan(text, self.suffix)

    def costs_of(self, kernel: Kernel, targets: tuple[str, ...]) -> list[Cost]:
        """What is known of a kernel, in the order of the targets."""
        return [cost for target in targets if (cost := self.costs.get((kernel.name, target))) is not None]


def hash_of(text: str) -> str:
    """Names a text."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
