"""Diagnostics of a file: mistakes in the text, what compilers refused, what a kernel spills, the last verdict."""

from __future__ import annotations

from lsprotocol import types

from kernelevolve.server.language_server.costs import Cost, Origin
from kernelevolve.server.language_server.documents import OpenFile
from kernelevolve.server.language_server.features import hinted
from kernelevolve.server.language_server.kernels import Kernel
from kernelevolve.server.language_server.options import Options
from kernelevolve.server.language_server.positions import Positions

SOURCE = "kernelevolve"
_SEVERITY = {
    "error": types.DiagnosticSeverity.Error,
    "warning": types.DiagnosticSeverity.Warning,
    "information": types.DiagnosticSeverity.Information,
    "hint": types.DiagnosticSeverity.Hint,
}
_LOG_LINES = 6


def lint_diagnostics(file: OpenFile, options: Options, positions: Positions) -> list[types.Diagnostic]:
    """Mistakes that the text shows."""
    if not options.lints:
        return []
    return [
        types.Diagnostic(
            range=positions.range(lint.line, lint.column, lint.end_line, lint.end_column),
            message=lint.message,
            severity=_SEVERITY[lint.severity],
            code=lint.code,
            source=SOURCE,
            data={"name": lint.name, "documentation": lint.documentation},
        )
        for lint in file.lints
    ]


def finding_diagnostics(file: OpenFile, options: Options, positions: Positions) -> list[types.Diagnostic]:
    """What compilers and the judge found."""
    found = []
    if file.refusal is not None:
        found.append(_diagnostic(positions, file.refusal.line or 0, "does-not-compile", "error", file.refusal.message,
                                 file.refusal.log, file.refusal.column))  # fmt: skip
    for kernel in hinted(file):
        costs = [cost for cost in file.costs_of(kernel, options.targets) if cost.text_hash == kernel.text_hash]
        found += _refusals(positions, kernel, [cost for cost in costs if cost.refusal is not None])
        for cost in costs:
            found += _excesses(positions, kernel, cost)
    if file.verdict is not None and (not file.verdict.good or file.verdict.text_hash != file.text_hash):
        found.append(_verdict(file, positions))
    return found


def _refusals(positions: Positions, kernel: Kernel, refused: list[Cost]) -> list[types.Diagnostic]:
    """One for each thing that was said, naming the targets that it was said for."""
    groups: dict[tuple[str, str, int], list[Cost]] = {}
    for cost in refused:
        assert cost.refusal is not None
        line = cost.refusal.line if cost.refusal.line is not None else kernel.line
        groups.setdefault((cost.refusal.message, cost.refusal.log, line), []).append(cost)
    found = []
    for (message, log, line), costs in groups.items():
        targets = ", ".join(cost.target for cost in costs)
        if costs[0].origin is Origin.GUESS:
            # A kernel that is right must never be called wrong because of what we made up.
            guessed = ", ".join(f"{argument.name}: {argument.type}" for argument in costs[0].guessed)
            text = (
                f"No figures for {kernel.name} on {targets}: it does not compile with the types guessed for it "
                f"({guessed}). Say them in a comment above it: `# kernelevolve: {_example(costs[0])}`."
            )
            found.append(_diagnostic(positions, kernel.line, "guess-does-not-compile", "hint", text, ""))
        else:
            found.append(_diagnostic(positions, line, "does-not-compile", "error", f"{targets}: {message}", log))
    return found


def _example(cost: Cost) -> str:
    return ", ".join(f"{argument.name}={argument.type}" for argument in cost.guessed[:3])


def _excesses(positions: Positions, kernel: Kernel, cost: Cost) -> list[types.Diagnostic]:
    """Spills, and more shared memory than there is."""
    # A guess may be far from the real launch, so what follows from it is only worth a look.
    severity = "information" if cost.origin is Origin.GUESS else "warning"
    found = []
    if cost.spills:
        text = (
            f"{kernel.name} spills {cost.spills} registers per thread on {cost.target} ({cost.registers} in use): "
            "smaller tiles, more warps or fewer stages leave more of them."
        )
        found.append(_diagnostic(positions, kernel.line, "register-spills", severity, text, ""))
    if cost.shared_bytes is not None and cost.shared_limit and cost.shared_bytes > cost.shared_limit:
        text = (
            f"{kernel.name} asks for {cost.shared_bytes} B of shared memory on {cost.target}, where a block may have "
            f"{cost.shared_limit} B: it cannot be launched. Smaller tiles or fewer stages need less."
        )
        over = "error" if cost.origin is not Origin.GUESS else "information"
        found.append(_diagnostic(positions, kernel.line, "shared-memory-over-budget", over, text, ""))
    return found


def _verdict(file: OpenFile, positions: Positions) -> types.Diagnostic:
    verdict = file.verdict
    assert verdict is not None
    stale = verdict.text_hash != file.text_hash
    line = verdict.line if verdict.line is not None and not stale else None
    if line is None:
        entry = file.scanned.entry
        line = entry.line if entry is not None else 0
    text = f"{verdict.status.replace('_', ' ')}: {verdict.message}" if verdict.message else verdict.status
    if stale:
        text = f"Stale, the text has changed since this verdict: {text}"
    severity = "hint" if stale else "information" if verdict.status == "unsupported" else "error"
    code = "stale-verdict" if stale else "verdict"
    return _diagnostic(positions, line, code, severity, text, "")


def _diagnostic(
    positions: Positions, line: int, code: str, severity: str, message: str, log: str, column: int | None = None
) -> types.Diagnostic:
    said = "\n".join(log.strip().splitlines()[:_LOG_LINES])
    where = positions.whole_line(line)
    if column is not None:
        where = types.Range(start=positions.position(line, column), end=where.end)
    return types.Diagnostic(
        range=where,
        message=f"{message}\n{said}" if said and said not in message else message,
        severity=_SEVERITY[severity],
        code=code,
        source=SOURCE,
    )
