"""What a device reaches, measured on it: the ceilings that a roofline is drawn against beside the spec sheet's.

`python -m kernelevolve.profilers.ceilings DEVICE` measures and prints JSON; no candidate is in that process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import Field

from kernelevolve.evaluation.contract import Contract
from kernelevolve.evaluation.errors import PlatformError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge.device_lock import device_lock
from kernelevolve.evaluation.platform import Platform

_LIMIT_S = 180.0
_COPY_BYTES = {"cuda": 2 << 30, "cpu": 256 << 20}
_SIZE = {"cuda": 8192, "cpu": 2048}
_REPEATS = 15


class Ceilings(Contract):
    """What one device was seen to reach."""

    platform: str
    """Platform name."""
    device: str
    """Name of the device."""
    identity: str
    """What tells this device from others: its UUID, or `cpu`."""
    measured: str
    """ISO date and time, UTC."""
    bandwidth: float
    """Bytes per second of a large copy within device memory, reads and writes together; median."""
    rates: dict[str, float] = Field(default_factory=dict)
    """dtype → operations per second of a large matrix product on random data through the vendor's library; median."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Software that it was measured with."""


def calibrate(platform: Platform, state: Path) -> Ceilings:
    """Measure the ceilings of a platform's device and keep them in the state folder.

    Takes some seconds, in a process of its own, with the device locked.

    Raises:
        PlatformError: there is no such device here, or the measurement failed.
    """
    device, identity, name = _device(platform)
    with device_lock(identity, 600.0):
        done = subprocess.run(
            [sys.executable, "-P", "-m", "kernelevolve.profilers.ceilings", device],
            capture_output=True, text=True, timeout=_LIMIT_S, check=False,
        )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PlatformError(Finding.INTERNAL, f"The ceilings of {platform.name} could not be measured: {last[:300]}")
    found = Ceilings(
        platform=platform.name,
        device=name,
        identity=identity,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        **json.loads(done.stdout.splitlines()[-1]),
    )
    path = _path(state, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return found


def known_ceilings(platform: Platform, state: Path) -> Ceilings | None:
    """The ceilings that were measured for this platform's device, if any."""
    try:
        _device_name, identity, _name = _device(platform)
    except PlatformError:
        return None
    path = _path(state, identity)
    return Ceilings.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def _path(state: Path, identity: str) -> Path:
    return state / "ceilings" / f"{identity}.json"


def _device(platform: Platform) -> tuple[str, str, str]:
    """Torch device, identity and name."""
    if platform.device_kind == "cpu":
        return "cpu", "cpu", platform.spec_sheet().chip
    available = platform.availability()
    if available.device is None:
        raise PlatformError(
            Finding.LANGUAGE_ON_PLATFORM,
            f"There is no {platform.name} device here to measure.",
            " ".join(available.missing) or "Measure where the device is.",
        )
    devices: list[Any] = platform.devices()  # type: ignore[attr-defined]
    return f"cuda:{devices[0].index}", devices[0].uuid, devices[0].name


def measure(device: str) -> dict[str, Any]:
    """Copy and multiply; the values of `Ceilings` that depend on the device."""
    import torch

    kind = "cpu" if device == "cpu" else "cuda"
    if kind == "cuda":
        torch.cuda.set_device(device)
    source = torch.ones(_COPY_BYTES[kind] // 4, device=device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * source.element_size()
    bandwidth = copied / _seconds(partial(target.copy_, source), kind)
    rates = {}
    for name, allow_tf32 in _products(kind):
        dtype = torch.float32 if name == "tf32" else getattr(torch, name)
        torch.backends.cuda.matmul.allow_tf32 = allow_tf32
        size = _SIZE[kind] // (1 if dtype.itemsize < 4 else 2)
        left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        rates[name] = 2 * size**3 / _seconds(partial(torch.matmul, left, right), kind)
    return {"bandwidth": bandwidth, "rates": rates, "versions": {"torch": torch.__version__}}


def _products(kind: str) -> list[tuple[str, bool]]:
    """dtype and whether fp32 products may be rounded to TF32."""
    if kind == "cpu":
        return [("float32", False)]
    return [("float16", False), ("bfloat16", False), ("tf32", True), ("float32", False)]


def _seconds(call: Any, kind: str) -> float:
    """Median time of one call, after enough of them for the clocks to rise."""
    import torch

    began = time.perf_counter()
    while time.perf_counter() - began < 0.3:
        call()
        if kind == "cuda":
            torch.cuda.synchronize()
    times = []
    for _ in range(_REPEATS):
        if kind == "cuda":
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            call()
            after.record()
            torch.cuda.synchronize()
            times.append(before.elapsed_time(after) / 1e3)
        else:
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return median(times)


def main() -> None:
    """Measure the device named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("device", help="cpu or cuda:N")
    print(json.dumps(measure(parser.parse_args().device)))


if __name__ == "__main__":
    main()
