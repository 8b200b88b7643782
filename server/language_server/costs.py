"""What a kernel costs on a target, in the words that an editor shows. No imports of ours: the server reads these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Origin(StrEnum):
    """Who says with which arguments a kernel was compiled."""

    TASK = "task"
    """The candidate's entry point launched it with the task's inputs."""
    ANNOTATION = "annotation"
    """A comment above the kernel says all types."""
    GUESS = "guess"
    """At least one type is guessed from the text."""
    SOURCE = "source"
    """The source says everything, as C++ does."""


@dataclass(frozen=True)
class Argument:
    """One argument that a kernel was compiled with."""

    name: str
    """Parameter."""
    type: str
    """`*fp16`, `i32`, or the value of a constant."""
    guessed: bool
    """Whether nobody says so."""


@dataclass(frozen=True)
class Refusal:
    """Why a kernel did not compile."""

    message: str
    """What was wrong, in a sentence."""
    log: str = ""
    """What the compiler said."""
    line: int | None = None
    """Line in the file, from 0."""
    column: int | None = None
    """Column in code points, from 0."""


@dataclass(frozen=True)
class Cost:
    """One kernel on one target: its resources, or why there are none."""

    kernel: str
    """Kernel name."""
    target: str
    """Platform name, e.g. `cuda:sm_90`."""
    text_hash: str
    """`Kernel.text_hash` of the text that was compiled."""
    origin: Origin
    """Who says with which arguments."""
    chip: str = ""
    """Short name of the architecture's usual chip, e.g. `H100`."""
    registers: int | None = None
    """Registers per thread or lane."""
    spills: int | None = None
    """Spilled registers per thread."""
    shared_bytes: int | None = None
    """Shared memory per block, bytes."""
    shared_limit: int | None = None
    """What one block may have of it, bytes."""
    code_bytes: int | None = None
    """Size of the machine code, bytes."""
    threads: int | None = None
    """Threads per block."""
    occupancy: float | None = None
    """0 to 1."""
    limiter: str | None = None
    """What bounds the occupancy."""
    matrix: str = ""
    """Matrix instructions in the code, e.g. `wgmma`; empty where there are none."""
    arguments: tuple[Argument, ...] = ()
    """What it was compiled with."""
    launch: Mapping[str, Any] = field(default_factory=dict)
    """Launch options and constants."""
    notes: tuple[str, ...] = ()
    """What a reader should know."""
    refusal: Refusal | None = None
    """Why it did not compile."""

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Cost:
        """From JSON values."""
        fields = dict(value)
        fields["origin"] = Origin(fields["origin"])
        fields["arguments"] = tuple(Argument(**entry) for entry in fields.get("arguments", ()))
        fields["notes"] = tuple(fields.get("notes", ()))
        if fields.get("refusal") is not None:
            fields["refusal"] = Refusal(**fields["refusal"])
        return cls(**fields)

    @property
    def guessed(self) -> tuple[Argument, ...]:
        """The arguments that nobody says."""
        return tuple(argument for argument in self.arguments if argument.guessed)


_GUESSES_SHOWN = 3


def label(cost: Cost, current_hash: str) -> str:
    """One line: what an inlay hint says. A hint that belongs to an older text says so."""
    where = f"{cost.chip} ({cost.target.partition(':')[2]})" if cost.chip else cost.target
    stale = "" if cost.text_hash == current_hash else " (before the edit)"
    if cost.refusal is not None:
        why = "does not compile" if cost.origin is not Origin.GUESS else "no figures: say the types of its arguments"
        return f"{where}: {why}{stale}"
    parts = []
    if cost.registers is not None:
        parts.append(f"{cost.registers} regs")
    if cost.spills is not None:
        parts.append(f"{cost.spills} spills")
    if cost.shared_bytes is not None:
        parts.append(f"{_size(cost.shared_bytes)} smem")
    if cost.occupancy is not None:
        parts.append(f"occ {cost.occupancy:.0%}".replace("%", " %") + (f" ({cost.limiter})" if cost.limiter else ""))
    if cost.matrix:
        parts.append(cost.matrix)
    return f"{where}: {' · '.join(parts)}{_guesses(cost)}{stale}"


def _guesses(cost: Cost) -> str:
    guessed = cost.guessed
    if not guessed:
        return ""
    shown = ", ".join(f"{argument.name}: {argument.type}" for argument in guessed[:_GUESSES_SHOWN])
    more = f", +{len(guessed) - _GUESSES_SHOWN}" if len(guessed) > _GUESSES_SHOWN else ""
    return f" ({shown}{more} guessed)"


def _size(count: int) -> str:
    return f"{count / 1024:.4g} KiB" if count >= 1024 else f"{count} B"


def markdown(costs: Iterable[Cost], current_hash: str) -> str:
    """Everything known of one kernel, for a hover or a panel."""
    known = list(costs)
    if not known:
        return "Nothing is known of this kernel yet: save the file, and it is compiled for every target."
    lines: list[str] = []
    good = [cost for cost in known if cost.refusal is None]
    if good:
        lines += ["| target | registers | spills | shared memory | occupancy | matrix units | code |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        lines += [_row(cost) for cost in good]
    for cost in known:
        if cost.refusal is not None:
            lines += ["", f"**{cost.target}**: {cost.refusal.message}"]
            if cost.refusal.log:
                lines += ["", "```", *cost.refusal.log.rstrip().splitlines()[:12], "```"]
    lines += ["", _compiled_with(known[0])]
    if any(cost.text_hash != current_hash for cost in known):
        lines += ["", "*The text has changed since: save the file for new figures.*"]
    notes = dict.fromkeys(note for cost in known for note in cost.notes)
    lines += [f"\n*{note}*" for note in notes]
    return "\n".join(lines).strip()


def _row(cost: Cost) -> str:
    occupancy = "" if cost.occupancy is None else f"{cost.occupancy:.0%} ({cost.limiter})"
    name = f"{cost.chip} `{cost.target}`" if cost.chip else f"`{cost.target}`"
    shared = "" if cost.shared_bytes is None else _size(cost.shared_bytes)
    code = "" if cost.code_bytes is None else _size(cost.code_bytes)
    values = [name, _number(cost.registers), _number(cost.spills), shared, occupancy, cost.matrix or "–", code]
    return f"| {' | '.join(values)} |"


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _compiled_with(cost: Cost) -> str:
    said = {
        Origin.TASK: "Compiled with the launch that the task's inputs lead to",
        Origin.ANNOTATION: "Compiled with the types of the annotation comment",
        Origin.GUESS: "Compiled with types that are partly guessed",
        Origin.SOURCE: "Compiled as the source says",
    }[cost.origin]
    arguments = _listed(cost.arguments)
    options = ", ".join(f"{name}={value}" for name, value in cost.launch.items())
    text = said + (f": {arguments}" if arguments else "") + (f"; {options}" if options else "") + "."
    if cost.guessed:
        text += (
            " To say a type, write a comment above the kernel, e.g. "
            f"`# kernelevolve: {cost.guessed[0].name}={cost.guessed[0].type}`."
        )
    return text


def _listed(arguments: Sequence[Argument]) -> str:
    return ", ".join(
        f"`{argument.name}: {argument.type}`{' (guessed)' if argument.guessed else ''}" for argument in arguments
    )
