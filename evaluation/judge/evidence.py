"""The ledger of receipts: what every verdict rests on, each chained to the one before it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform as host_platform
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from kernelevolve.evaluation.platform import Platform
from kernelevolve.evaluation.platforms.cpu import cores, processor_name
from kernelevolve.evaluation.receipt import Receipt, canonical_hash
from kernelevolve.evaluation.verdict import PlatformVerdict
from kernelevolve.evaluation.version import VERSION

_FIRST = "0" * 64


@cache
def harness_hash() -> str:
    """SHA-256 over the source files of `evaluation/`: which judge gave a verdict."""
    folder = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@cache
def library_versions() -> dict[str, str]:
    """Versions of what a verdict depends on."""
    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    for name in ("triton", "numpy", "tvm_ffi"):
        module = sys.modules.get(name)
        if module is not None:
            versions[name] = str(module.__version__)
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    if torch.version.hip:
        versions["hip"] = torch.version.hip
    return versions


@cache
def machine_facts() -> dict[str, Any]:
    """Processor, cores and operating system."""
    return {"processor": processor_name(), "cores": cores(), "system": host_platform.platform()}


def device_facts(platform: Platform) -> dict[str, Any]:
    """Name, driver, memory and present clocks of a platform's device, as far as they can be read."""
    facts: dict[str, Any] = {"device": platform.availability().device}
    devices: list[Any] = (
        getattr(platform, "devices", list)() if platform.device_kind == "cuda" and facts["device"] else []
    )
    if devices:
        first = devices[0]
        facts.update(uuid=first.uuid, memory_bytes=first.memory_bytes, driver=first.driver)
        clocks = getattr(platform, "clocks", None)
        if clocks is not None:
            facts["clocks_mhz"] = clocks(first.index)
    return facts


class Ledger:
    """The receipts of one state folder, in a file that only grows.

    Args:
        state: the folder. `receipts.jsonl` holds the receipts; `seeds.jsonl`, readable by the owner alone, the secrets
            that their `seed_commitment` commits to.
    """

    def __init__(self, state: Path) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self._receipts = state / "receipts.jsonl"
        self._seeds = state / "seeds.jsonl"
        self._kept: set[str] = set()

    def write(
        self,
        task_hash: str,
        source_hash: str,
        results: list[PlatformVerdict],
        devices: dict[str, Any],
        samples: dict[str, Any],
        protection: tuple[str, ...],
        secret: bytes,
    ) -> Receipt:
        """Seal a receipt for these results and append it. Several processes may do so at once."""
        commitment = hashlib.sha256(secret).hexdigest()
        self._keep_seed(commitment, secret)
        with self._receipts.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            receipt = Receipt(
                made=datetime.now(UTC).isoformat(timespec="seconds"),
                harness_version=VERSION,
                harness_hash=harness_hash(),
                task_hash=task_hash,
                source_hash=source_hash,
                verdict_hash=canonical_hash([result.model_dump(mode="json") for result in results]),
                machine=machine_facts(),
                devices=devices,
                libraries=library_versions(),
                protection=protection,
                seed_commitment=commitment,
                samples=samples,
                previous=_last_hash(file),
            ).sealed()
            if file.seek(0, os.SEEK_END) > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    # A crash cut the last line short; this receipt must not become a part of it.
                    file.write(b"\n")
            file.write(receipt.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return receipt

    def _keep_seed(self, commitment: str, secret: bytes) -> None:
        if commitment in self._kept:
            return
        descriptor = os.open(self._seeds, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a") as file:
            file.write(json.dumps({"commitment": commitment, "secret": secret.hex()}) + "\n")
        self._kept.add(commitment)


def _last_hash(file: Any) -> str:
    """`receipt_hash` of the last line; a line that a crash cut short is skipped."""
    end = file.seek(0, os.SEEK_END)
    span = 1 << 16
    while True:
        start = max(0, end - span)
        file.seek(start)
        lines = file.read(end - start).split(b"\n")
        for line in reversed(lines if start == 0 else lines[1:]):
            try:
                return str(json.loads(line)["receipt_hash"])
            except (ValueError, KeyError, TypeError):
                continue
        if start == 0:
            return _FIRST
        span *= 4


def broken_links(lines: Iterable[str]) -> list[int]:
    """Check a ledger: numbers (from 1) of the lines that are no receipt, or whose hash or link to the one before is
    wrong."""
    broken, previous = [], _FIRST
    for number, line in enumerate(lines, 1):
        try:
            receipt = Receipt.model_validate_json(line)
        except ValueError:
            broken.append(number)
            continue
        if receipt.digest() != receipt.receipt_hash or receipt.previous != previous:
            broken.append(number)
        previous = receipt.receipt_hash
    return broken
