"""How long `kernelevolve serve` takes from spawn to its first answer, against a bare server of the same SDK.

Both are started in turns, fresh processes each, and asked the first thing a client asks: `server/discover` (2026-07-28)
or `initialize` (2025-11-25). The ratio is that of the medians; its interval is a bootstrap over rounds.

    python benchmarks/server_startup.py --rounds 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLIENT = {"name": "benchmark", "version": "0"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": CLIENT,
}
FIRST = {
    "2026-07-28": {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": META}},
    "2025-11-25": {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": CLIENT},
    },
}
BUDGET = 1.2


def first_answer_s(command: list[str], request: dict[str, object]) -> tuple[float, float]:
    """Seconds from spawn to the first answer: by the wall, and of the process's own CPU time."""
    began = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        seconds = time.monotonic() - began
        ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        assert "result" in answer, answer
        process.stdin.close()
        process.wait(60)
    return seconds, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def ratio_of(pairs: list[tuple[tuple[float, float], tuple[float, float]]], which: int = 0) -> float:
    ours, bare = (statistics.median(pair[side][which] for pair in pairs) for side in (0, 1))
    return ours / bare


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "server_startup.json")
    arguments = parser.parse_args()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        ours = [str(Path(sys.executable).with_name("kernelevolve")), "serve", "--state", folder]
        bare = [sys.executable, str(HERE / "bare_server.py")]
        for era, request in FIRST.items():
            for command in (ours, bare):
                first_answer_s(command, request)  # Files are in memory afterwards.
            pairs = [
                (first_answer_s(ours, request), first_answer_s(bare, request)) for _round in range(arguments.rounds)
            ]
            chance = random.Random(0)
            resampled = sorted(ratio_of(chance.choices(pairs, k=len(pairs))) for _ in range(2000))
            found[era] = {
                "ratio": round(ratio_of(pairs), 3),
                "interval": [round(resampled[50], 3), round(resampled[-51], 3)],
                "cpu_ratio": round(ratio_of(pairs, 1), 3),
                "rounds": len(pairs),
            }
            print(
                f"{era}: x{ratio_of(pairs):.2f} of a bare server "
                f"[{resampled[50]:.2f}, {resampled[-51]:.2f}], CPU x{ratio_of(pairs, 1):.2f}, budget x{BUDGET}"
            )
    found["load_average"] = round(os.getloadavg()[0], 1)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
