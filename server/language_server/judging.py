"""Verify and profile the text of an open file, in the clerk's process."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.evaluation.verdict import PlatformVerdict, Verdict
from kernelevolve.server.language_server.lines import Call
from kernelevolve.tools.compile_and_verify import compile_and_verify
from kernelevolve.tools.judges import Cancellation, JudgePool
from kernelevolve.tools.profile_kernel import profile_folder, profile_id, profile_kernel

_PLACE = re.compile(r"(?:^|\s)(?:line (?P<line>\d+) of |kernel\.\w+[:(](?P<native>\d+))", re.MULTILINE)
_LIMIT_S = 120.0
_TIMED_CALLS = 100
_BOTTLENECKS = 5


def platforms_for(language: str, targets: Sequence[str]) -> list[str]:
    """Where a candidate is judged: on the targets, and where none of them has its device, on the processor too.

    A Triton kernel is interpreted there, so that its results are checked and not only compiled.
    """
    if language == "cpp":
        return ["cpu"]
    families = {"cuda": ("cuda",), "hip": ("hip",)}.get(language, ("cuda", "hip"))
    fitting = [target for target in targets if target.partition(":")[0] in families]
    if language == "triton" and not any(_has_device(target) for target in fitting):
        return ["cpu", *fitting]
    return fitting


def _has_device(target: str) -> bool:
    try:
        return get_platform(target).availability().device is not None
    except PlatformError:
        return False  # The judge says that there is no such platform.


def verify(pool: JudgePool, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """Judge a text.

    Returns:
        The fields of `VerdictOnFile`, with `platforms`: one line for each.
    """
    cancellation = Cancellation()
    call.on_cancel(cancellation.cancel)
    platforms = platforms_for(given["language"], given["targets"])
    timed_calls = _TIMED_CALLS if given["timed_calls"] is None else given["timed_calls"]
    result = compile_and_verify(
        pool, given["task"], given["text"], given["language"], platforms, ["eager"], timed_calls, _LIMIT_S,
        lambda text, share: call.event(text=text, share=share), cancellation,
    )  # fmt: skip
    return _on_file(result.status, result.platforms, result.receipt_hash, given["text"])


def verdict_on_file(verdict: Verdict, text: str) -> dict[str, Any]:
    """A verdict from the store, as one on an open file."""
    known = _on_file(verdict.status, verdict.platforms, verdict.receipt.receipt_hash, text)
    return {name: value for name, value in known.items() if name != "platforms"}


def _on_file(status: Status, platforms: Sequence[PlatformVerdict], receipt: str, text: str) -> dict[str, Any]:
    refused = next((entry for entry in platforms if entry.status is status and entry.diagnosis is not None), None)
    line = None
    if refused is not None and refused.diagnosis is not None:
        diagnosis = refused.diagnosis
        message = f"{diagnosis.summary} {diagnosis.advice}".strip()
        if diagnosis.where:
            message += f" ({', '.join(f'{key} {value}' for key, value in diagnosis.where.items())})"
        line = _line_of(diagnosis.log)
    else:
        message = "; ".join(_words(entry) for entry in platforms)
    speedup = next((found for entry in platforms if (found := entry.speedup("eager")) is not None), None)
    return {
        "text_hash": hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16],
        "status": status.value,
        "message": message,
        "speedup": speedup,
        "receipt": receipt,
        "line": line,
        "platforms": [_words(entry) for entry in platforms],
    }


def _line_of(log: str) -> int | None:
    """The last line of the candidate's own file that a log names, from 0."""
    found = [int(match["line"] or match["native"]) - 1 for match in _PLACE.finditer(log)]
    frames = re.findall(r'File "[^"]*candidate_\w+\.py", line (\d+)', log)
    return int(frames[-1]) - 1 if frames else found[0] if found else None


def _words(entry: PlatformVerdict) -> str:
    level = f" ({entry.level.value})" if entry.level is not None else ""
    speed = entry.speedup("eager")
    return f"{entry.platform}: {entry.status.value.replace('_', ' ')}{level}" + (f", {speed:.2f}x" if speed else "")


def profile(pool: JudgePool, call: Call, given: Mapping[str, Any]) -> dict[str, Any]:
    """Profile a text, on the first platform that has its device, else from its code for the first target."""
    cancellation = Cancellation()
    call.on_cancel(cancellation.cancel)
    platforms = platforms_for(given["language"], given["targets"])
    wanted = [platform for platform in platforms if platform != "cpu"] or platforms
    platform = next((name for name in wanted if name != "cpu" and _has_device(name)), wanted[0])
    report = profile_kernel(
        pool, given["task"], given["text"], given["language"], platform, [], None, False, _LIMIT_S, None,
        lambda text, share: call.event(text=text, share=share), cancellation,
    )  # fmt: skip
    path = profile_folder(pool.state, profile_id(report)) / "report.json"
    found = [
        {"kind": entry.kind.value, "share": entry.share, "summary": entry.summary, "advice": entry.advice}
        for entry in report.bottlenecks[:_BOTTLENECKS]
    ]
    head = f"{report.platform} ({report.level.value})"
    if report.candidate_ms is not None:
        head += f", case {report.case}: {report.candidate_ms:.4g} ms"
    first = found[0]["summary"] if found else "nothing stands out"
    parts = [f"{part.name}: {part.state.value}" + (f", {part.why}" if part.why else "") for part in report.parts]
    return {"summary": f"{head}. {first}", "bottlenecks": found, "report": str(path), "parts": parts}
