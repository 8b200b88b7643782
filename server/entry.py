"""Entry point `kernelevolve`: the language server starts at once, every other command through the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name."""
    if sys.argv[1:2] == ["lsp"]:
        # An editor waits for this one at every start, and it needs nothing of what the other commands import.
        from kernelevolve.server.language_server.command import run

        raise SystemExit(run(sys.argv[2:]))
    from kernelevolve.server.command_line import main as run_command_line

    run_command_line()
