"""A candidate: one language and one source text."""

from __future__ import annotations

import hashlib
from pathlib import Path

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import CandidateError
from kernelevolve.evaluation.finding import Finding

SUFFIXES = {".py": "triton", ".cpp": "cpp", ".cc": "cpp", ".cxx": "cpp", ".cu": "cuda", ".hip": "hip"}
"""File suffix → language, for candidates given as files."""


class Candidate(Contract):
    """What an author hands in. The entry point is `ModelNew` or `kernel` (DESIGN 4.2)."""

    language: str
    """Name of a language plug-in: `triton`, `cpp`, `cuda`, `hip`, …"""
    source: str = Field(max_length=2_000_000)
    """The whole source text."""
    name: str = "candidate"
    """How messages call it; usually the file name."""

    @property
    def source_hash(self) -> str:
        """SHA-256 of language and source, in hexadecimal: the identity of a candidate."""
        return hashlib.sha256(f"{self.language}\n{self.source}".encode()).hexdigest()

    @classmethod
    def from_file(cls, path: Path, language: str | None = None) -> Candidate:
        """Read a candidate; the language follows from the suffix unless it is given.

        Raises:
            CandidateError: the file is missing, is not UTF-8, or its suffix names no language.
        """
        language = language or SUFFIXES.get(path.suffix)
        if language is None:
            raise CandidateError(
                Finding.UNKNOWN_LANGUAGE,
                f"{path.name} has no suffix that names a language.",
                f"Use one of {', '.join(SUFFIXES)}, or say the language with --language.",
            )
        try:
            source = path.read_text(encoding="utf-8")
        except OSError as error:
            raise CandidateError(
                Finding.MISSING_ENTRY_POINT, f"Cannot read {path}: {error.strerror}.", "Check the path."
            ) from error
        except UnicodeDecodeError as error:
            raise CandidateError(Finding.SYNTAX_ERROR, f"{path} is not UTF-8 text.", "Save it as UTF-8.") from error
        return cls(language=language, source=source, name=path.name)
