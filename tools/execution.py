"""Whether this server may run code of tasks and candidates, behind which walls, and who agreed to fewer of them."""

from __future__ import annotations

import threading
from pathlib import Path

from kernelevolve.evaluation.errors import KernelEvolveError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.protection import Protection, chosen

HOW_TO_ALLOW = "Start the server with --yes-unsandboxed to allow it, or --sandbox auto on a machine that offers walls."


class Execution:
    """The rules of one process. What a user agrees to is remembered here, and so ends with the process.

    Args:
        sandbox: which walls stand around candidates; by default what this process chose.
        off: nothing of a task or candidate is run: `--no-exec`.
        unsandboxed: running without walls was agreed to beforehand: `--yes-unsandboxed`.
    """

    def __init__(self, sandbox: Protection | None = None, off: bool = False, unsandboxed: bool = False) -> None:
        self.sandbox = sandbox or chosen()
        self.off = off
        self._unsandboxed = unsandboxed
        self._lock = threading.Lock()
        self._agreed: set[Path] = set()

    def open_to_candidates(self, workspace: Path) -> tuple[str, ...]:
        """What lies open to candidates and nobody agreed to yet; empty where a judge may start.

        Args:
            workspace: the folder that an agreement holds for.

        Raises:
            ProtectionError: what this machine can wall off could not be found out.
        """
        with self._lock:
            if self._unsandboxed or workspace in self._agreed:
                return ()
        from kernelevolve.evaluation.judge.survey import open_walls

        return open_walls(self.sandbox)

    def agree(self, workspace: Path) -> None:
        """The user agreed for a workspace, until this process ends."""
        with self._lock:
            self._agreed.add(workspace)

    def permit(self, workspace: Path) -> None:
        """Do nothing where code may be run for a workspace.

        Raises:
            KernelEvolveError: it may not, with how to allow it.
        """
        if self.off:
            raise KernelEvolveError(
                Finding.EXECUTION_OFF,
                "This server was started with --no-exec: it runs no code of tasks or candidates.",
                "Ask for documents, stored searches, verdicts and profiles, or use a server without --no-exec.",
            )
        opened = self.open_to_candidates(workspace)
        if opened:
            raise KernelEvolveError(
                Finding.EXECUTION_OFF,
                f"Candidates would reach {', '.join(opened)}: nobody agreed to that.",
                HOW_TO_ALLOW,
            )
