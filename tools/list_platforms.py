"""`list_platforms`: what can be judged here, at which level, and what is missing."""

from __future__ import annotations

from kernelevolve.evaluation.platform import Availability, get_platform, known_platforms


def available_platforms() -> list[Availability]:
    """Look at this machine, for every known platform."""
    return [get_platform(name).availability() for name in known_platforms()]


def platforms_text(entries: list[Availability]) -> str:
    """The same as text for a model: one line a platform."""
    lines = []
    for entry in entries:
        levels = "; ".join(
            f"{language}: {', '.join(level.value for level in found) or 'nothing'}"
            for language, found in entry.levels.items()
        )
        line = f"{entry.platform} ({entry.device or 'no device here'}) — {levels}"
        if entry.missing:
            line += f" — missing: {' '.join(entry.missing)}"
        lines.append(line)
    return "\n".join(lines)
