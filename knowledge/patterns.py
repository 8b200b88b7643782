"""Patterns: techniques learned from searches, each with the receipts that prove it, failures kept too.

What identifies a pattern is what it is about (operator, platform, language, technique, parameters), never how its text
sounds: true paraphrases and different techniques overlap in every embedding distance that was measured.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from packaging.version import InvalidVersion, Version

from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.platforms.nvml import nvml_devices
from kernelevolve.evaluation.receipt import Receipt, canonical_hash
from kernelevolve.evaluation.verdict import Verdict
from kernelevolve.knowledge.base import KnowledgeBase
from kernelevolve.knowledge.document import Document, Source
from kernelevolve.knowledge.errors import KnowledgeError
from kernelevolve.knowledge.pattern import (
    Evidence,
    Outcome,
    Pattern,
    PatternStatus,
    PatternText,
    Proof,
    StoredPattern,
)
from kernelevolve.knowledge.platform_names import resolve_or_own, slug
from kernelevolve.knowledge.versions import installed_versions
from kernelevolve.knowledge.vocabulary import BOTTLENECKS, LANGUAGES, TOPICS, Kind, checked_words, nearest

PATTERNS = "patterns"
EVIDENCE = "evidence"
_PRIOR = 2.0
"""Weight, in observations, of the belief that a pattern gains nothing: one lucky run must not rank it first."""
_CONFIRMED_BY = 2
"""Different tasks or runs in which it must have helped."""


class PatternShelf:
    """The patterns of a knowledge base."""

    def __init__(self, base: KnowledgeBase) -> None:
        self._base = base

    def store(self, text: PatternText, proofs: Sequence[Proof], duplicate_of: str | None = None) -> StoredPattern:
        """Keep a pattern, or add evidence to the one that it is.

        Args:
            text: what the author says.
            proofs: judged nodes, at least one, with receipts that hold.
            duplicate_of: a pattern that this one is in other words.

        Raises:
            KnowledgeError: no proof, a receipt that does not fit, an unknown word.
        """
        text = _checked(text)
        if not proofs:
            raise KnowledgeError(
                "A pattern needs proof: name at least one judged node (search id and step) that shows it, "
                "whether it helped or not."
            )
        self._base.open()
        with self._base.store.writing():
            known = self._known()
            identifier = duplicate_of or pattern_key(text)
            if duplicate_of is not None and duplicate_of not in known:
                raise KnowledgeError(f"There is no pattern {duplicate_of!r}.{nearest(duplicate_of, known)}")
            before = known.get(identifier)
            kept = {entry.evidence_id: entry for entry in self.evidence(identifier)}
            added = []
            for proof in proofs:
                entry = _evidence(identifier, text.platform, proof)
                if entry.evidence_id not in kept:
                    kept[entry.evidence_id] = entry
                    added.append(entry)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            pattern = _summed_up(
                identifier,
                before.text if before is not None else text,
                list(kept.values()),
                before.made if before is not None else now,
                now,
            )
            store = self._base.store
            store.put_records(EVIDENCE, {entry.evidence_id: entry.model_dump_json() for entry in added})
            store.put_records(PATTERNS, {identifier: pattern.model_dump_json()})
            store.put([pattern_document(pattern, list(kept.values()))])
        neighbours = [] if before is not None else self._sounding_alike(pattern)
        return StoredPattern(pattern=pattern, new=before is None, evidence=tuple(added), neighbours=tuple(neighbours))

    def all(self) -> list[Pattern]:
        """All patterns, confirmed ones and large gains first."""
        order = [PatternStatus.CONFIRMED, PatternStatus.CANDIDATE, PatternStatus.REFUTED]
        return sorted(self._known().values(), key=lambda pattern: (order.index(pattern.status), -pattern.gain))

    def get(self, pattern_id: str) -> Pattern:
        """One pattern.

        Raises:
            KnowledgeError: there is none of that id; a beginning that fits one is enough.
        """
        known = self._known()
        fitting = [name for name in known if name.startswith(pattern_id)]
        if len(fitting) != 1:
            hint = nearest(pattern_id, known) if not fitting else f" Several begin so: {', '.join(fitting[:5])}."
            raise KnowledgeError(f"There is no pattern {pattern_id!r}.{hint}")
        return known[fitting[0]]

    def evidence(self, pattern_id: str) -> list[Evidence]:
        """Every try of a pattern, oldest first."""
        self._base.open()
        entries = map(Evidence.model_validate_json, self._base.store.records(EVIDENCE).values())
        return sorted((entry for entry in entries if entry.pattern_id == pattern_id), key=lambda entry: entry.made)

    def remove(self, pattern_id: str) -> Pattern:
        """Forget a pattern and its evidence."""
        pattern = self.get(pattern_id)
        store = self._base.store
        with store.writing():
            store.remove([document_id(pattern)])
            store.remove_records(EVIDENCE, [entry.evidence_id for entry in self.evidence(pattern.pattern_id)])
            store.remove_records(PATTERNS, [pattern.pattern_id])
        return pattern

    def _known(self) -> dict[str, Pattern]:
        self._base.open()
        store = self._base.store
        now = environment_now()
        newest: dict[str, Evidence] = {}
        for text in store.records(EVIDENCE).values():
            entry = Evidence.model_validate_json(text)
            if entry.pattern_id not in newest or entry.made >= newest[entry.pattern_id].made:
                newest[entry.pattern_id] = entry
        found = {}
        for text in store.records(PATTERNS).values():
            pattern = Pattern.model_validate_json(text)
            entry_ = newest.get(pattern.pattern_id)
            stale = stale_because(entry_.environment, now) if entry_ is not None else ""
            found[pattern.pattern_id] = pattern.model_copy(update={"stale": stale})
        return found

    def _sounding_alike(self, pattern: Pattern) -> list[str]:
        answer = self._base.ask(
            f"{pattern.text.name}. {pattern.text.mechanism}"[:1_000], kinds=[Kind.PATTERN.value], limit=4
        )
        own = document_id(pattern)
        names = [passage.uri.removeprefix("knowledge://").partition("#")[0] for passage in answer.passages]
        return [name.rsplit("_", 1)[-1] for name in dict.fromkeys(names) if name != own][:3]


def pattern_key(text: PatternText) -> str:
    """What a pattern is: operator, platform, language, technique and parameters, without case and punctuation."""
    parts = [
        text.operator,
        resolve_or_own(text.platform),
        text.language,
        slug(text.name).replace("_", " "),
        json.dumps({key.lower(): str(value).lower() for key, value in sorted(text.parameters.items())}),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def document_id(pattern: Pattern) -> str:
    """Its document: `patterns/<name>_<id>`."""
    return f"patterns/{slug(pattern.text.name)[:50]}_{pattern.pattern_id}"


def pattern_document(pattern: Pattern, evidence: Sequence[Evidence]) -> Document:
    """A pattern as a document, so that searches find it."""
    text = pattern.text
    tries = "\n".join(f"- {_line(entry)}" for entry in sorted(evidence, key=lambda entry: entry.made)[-10:])
    parameters = ", ".join(f"{key} = {value}" for key, value in sorted(text.parameters.items()))
    parts = [
        f"{pattern.status.value.capitalize()}: helped in {pattern.successes} of {pattern.successes + pattern.failures} "
        f"tries, {pattern.gain:.2f}x on average (drawn towards 1). {text.mechanism}",
        f"## When: {text.name}\n\n{text.conditions}" + (f"\n\nParameters: {parameters}." if parameters else ""),
        f"## How: {text.name}\n\n{text.method}",
    ]
    if text.structure.strip():
        fence = "```"
        while fence in text.structure:
            fence += "`"
        parts.append(f"## Structure: {text.name}\n\n{fence}\n{text.structure.strip()}\n{fence}")
    parts.append(f"## Evidence: {text.name}\n\n{tries}")
    return Document(
        id=document_id(pattern),
        title=f"Pattern: {text.name}"[:120],
        kind=Kind.PATTERN,
        platforms=(resolve_or_own(text.platform),),
        topics=(text.operator,),
        bottlenecks=text.bottlenecks,
        languages=(text.language,),
        sources=tuple(Source(title=f"receipt {entry.receipt_hash[:16]}", grade="measured") for entry in evidence),
        confidence="learned",
        checked=pattern.changed[:10],
        body="\n\n".join(parts),
        origin="learned",
    )


def environment_now() -> dict[str, str]:
    """Versions of the compilers here, and of the GPU driver if there is one."""
    found = installed_versions()
    try:
        devices = nvml_devices()
    except PlatformError:
        return found  # no driver here: it can't have changed
    return {**found, "driver": devices[0].driver} if devices else found


def stale_because(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed between two environments so much that a measurement must be made again.

    A new minor version of the compiler or of torch may generate other code; a patch is taken to be the same.
    """
    changes = []
    for name in ("triton", "torch", "driver"):
        if name in then and name in now and _minor(then[name]) != _minor(now[name]):
            changes.append(f"{name} {then[name]} → {now[name]}")
    return ", ".join(changes)


def _checked(text: PatternText) -> PatternText:
    checked_words("operator", (text.operator,), TOPICS)
    checked_words("language", (text.language,), LANGUAGES)
    checked_words("bottleneck", text.bottlenecks, BOTTLENECKS)
    return text


def _evidence(pattern_id: str, platform: str, proof: Proof) -> Evidence:
    """What a node shows, after its receipts were checked."""
    verdict = proof.verdict
    _check_receipt(proof.node_id, verdict)
    if proof.parent is not None:
        _check_receipt(f"the parent of {proof.node_id}", proof.parent)
        if proof.parent.receipt.task_hash != verdict.receipt.task_hash:
            raise KnowledgeError(f"{proof.node_id} and its parent were judged for different tasks.")
    try:
        entry = verdict.of(platform)
    except StopIteration:
        judged = ", ".join(found.platform for found in verdict.platforms)
        raise KnowledgeError(f"{proof.node_id} was judged for {judged}, not for {platform}.") from None
    outcome, gain, low, high, against = Outcome.INCORRECT, None, None, None, "baseline"
    if entry.status is Status.CORRECT:
        if not entry.speeds:
            raise KnowledgeError(
                f"{proof.node_id} is correct but was not timed: a pattern is about speed. Judge it where it can run."
            )
        mine = entry.speeds[0]
        gain, low, high, against = mine.speedup, mine.low, mine.high, mine.baseline
        before = None if proof.parent is None else _timed(proof.parent, platform, mine.baseline)
        if before is not None:
            # Both against the same baseline: the quotient of the intervals' far ends bounds the gain.
            gain, low, high = mine.speedup / before.speedup, mine.low / before.high, mine.high / before.low
            against = "parent"
        outcome = Outcome.SUCCESS if low > 1 else Outcome.SLOWER if high < 1 else Outcome.NO_GAIN
    receipt = verdict.receipt
    parent_hash = proof.parent.receipt.receipt_hash if proof.parent is not None else ""
    return Evidence(
        evidence_id=canonical_hash([pattern_id, receipt.receipt_hash, parent_hash])[:24],
        pattern_id=pattern_id,
        outcome=outcome,
        node_id=proof.node_id,
        task=verdict.task,
        task_hash=receipt.task_hash,
        platform=platform,
        gain=gain,
        low=low,
        high=high,
        against=against,
        receipt_hash=receipt.receipt_hash,
        parent_receipt_hash=parent_hash,
        environment=_environment(receipt, platform),
        made=receipt.made,
    )


def _check_receipt(node_id: str, verdict: Verdict) -> None:
    receipt = verdict.receipt
    results = [result.model_dump(mode="json") for result in verdict.platforms]
    problems = []
    if receipt.digest() != receipt.receipt_hash:
        problems.append("its hash is not that of its content")
    if receipt.verdict_hash != canonical_hash(results):
        problems.append("it is of another verdict")
    if receipt.source_hash != verdict.source_hash:
        problems.append("it is of another source")
    if problems:
        raise KnowledgeError(f"The receipt of {node_id} does not hold: {', '.join(problems)}. Judge the node again.")


def _timed(verdict: Verdict, platform: str, baseline: str) -> Any:
    for entry in verdict.platforms:
        if entry.platform == platform and entry.status is Status.CORRECT:
            return next((speed for speed in entry.speeds if speed.baseline == baseline), None)
    return None


def _environment(receipt: Receipt, platform: str) -> dict[str, str]:
    device = receipt.devices.get(platform, {})
    found = dict(receipt.libraries)
    for name in ("device", "driver"):
        if device.get(name):
            found[name] = str(device[name])
    if "device" not in found:
        found["device"] = str(receipt.machine.get("processor", ""))
    return found


def _summed_up(identifier: str, text: PatternText, evidence: Sequence[Evidence], made: str, now: str) -> Pattern:
    successes = [entry for entry in evidence if entry.outcome is Outcome.SUCCESS]
    gains = [entry.gain for entry in evidence if entry.gain]
    logs = sum(math.log(gain) for gain in gains)
    failures = len(evidence) - len(successes)
    tasks = {(entry.task_hash, entry.environment.get("device")) for entry in successes}
    status = PatternStatus.CANDIDATE
    if failures > len(successes):
        status = PatternStatus.REFUTED
    elif len(tasks) >= _CONFIRMED_BY or len(successes) > _CONFIRMED_BY:
        status = PatternStatus.CONFIRMED
    return Pattern(
        pattern_id=identifier,
        text=text,
        status=status,
        successes=len(successes),
        failures=failures,
        gain=math.exp(logs / (len(gains) + _PRIOR)),
        made=made,
        changed=now,
    )


def _line(entry: Evidence) -> str:
    device = entry.environment.get("device", "")
    if entry.gain is None:
        return f"{entry.task} on {device}: {entry.outcome.value}, {entry.node_id}, receipt {entry.receipt_hash[:16]}"
    return (
        f"{entry.task} on {device}: {entry.gain:.3f}x [{entry.low:.3f}, {entry.high:.3f}] against the {entry.against}, "
        f"{entry.outcome.value}, {entry.node_id}, receipt {entry.receipt_hash[:16]}"
    )


def _minor(version: str) -> tuple[int, ...] | str:
    try:
        return Version(version).release[:2]
    except InvalidVersion:
        return version
