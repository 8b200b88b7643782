"""`kernelevolve export`."""

from __future__ import annotations

from pathlib import Path

from kernelevolve.server.commands.verify import progress_bar
from kernelevolve.server.settings import open_store
from kernelevolve.tools.export_kernel import export_kernel
from kernelevolve.tools.export_summary import ExportRequest, ExportSummary
from kernelevolve.tools.judges import JudgePool


def run_export(
    state: Path, request: ExportRequest, output: Path | None, overwrite: bool, quiet: bool
) -> tuple[ExportSummary, str]:
    """Export a search; see `export_kernel`.

    Args:
        state: the state folder.
        request: what to export.
        output: file to write; None for none.
        overwrite: replace an earlier export.
        quiet: show no progress.

    Returns:
        The summary, and the module's text.
    """
    # Who uses the command line may write where they may write.
    pool = JudgePool(state, output.resolve().parent if output is not None else None)
    try:
        with progress_bar(quiet) as report, open_store(state) as store:
            return export_kernel(pool, store, request, str(output.resolve()) if output else None, overwrite, report)
    finally:
        pool.close()
