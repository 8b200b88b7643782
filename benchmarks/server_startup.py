"""How long `kernelevolve serve` takes from spawn to its first answer, against a bare server of the same SDK.

Both are started in turns, fresh processes each, and asked the first thing a client asks: `server/discover` (2026-07-28)
or `initialize` (2025-11-25), then for its tools, which the product makes at that moment. The ratio is that of the
medians; its interval is a bootstrap over rounds. CPU time of the process is steadier than the wall clock where others
work too.

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


LIST = {
    "2026-07-28": [{"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {"_meta": META}}],
    "2025-11-25": [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ],
}
Seconds = tuple[float, float]
"""By the wall, and of the process's own CPU time."""


def start_s(command: list[str], era: str) -> tuple[Seconds, Seconds]:
    """Seconds from spawn to the first answer, and to the list of tools."""
    began = time.monotonic()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        found = []
        for requests in ([FIRST[era]], LIST[era]):
            process.stdin.write("".join(json.dumps(request) + "\n" for request in requests))
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            seconds = time.monotonic() - began
            ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            assert "result" in answer, answer
            found.append((seconds, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")))
        process.stdin.close()
        process.wait(300)  # It ends what it was getting ready; that is not measured.
    return found[0], found[1]


def ratio_of(pairs: list[tuple[Seconds, Seconds]], which: int = 0) -> float:
    """Of the medians, ours to the bare server's; `which` is 0 for the wall clock, 1 for CPU time."""
    ours, bare = (statistics.median(pair[side][which] for pair in pairs) for side in (0, 1))
    return ours / bare


def figures(pairs: list[tuple[Seconds, Seconds]]) -> dict[str, object]:
    """Both ratios with their intervals."""
    chance = random.Random(0)
    found: dict[str, object] = {}
    for which, name in enumerate(("", "cpu_")):
        resampled = sorted(ratio_of(chance.choices(pairs, k=len(pairs)), which) for _ in range(2000))
        found[f"{name}ratio"] = round(ratio_of(pairs, which), 3)
        found[f"{name}interval"] = [round(resampled[50], 3), round(resampled[-51], 3)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "server_startup.json")
    arguments = parser.parse_args()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        ours = [str(Path(sys.executable).with_name("kernelevolve")), "serve", "--state", folder]
        bare = [sys.executable, str(HERE / "bare_server.py")]
        for era in FIRST:
            for command in (ours, bare):
                start_s(command, era)  # Files are in memory afterwards.
            rounds = [(start_s(ours, era), start_s(bare, era)) for _round in range(arguments.rounds)]
            first = figures([(one[0], other[0]) for one, other in rounds])
            listed = figures([(one[1], other[1]) for one, other in rounds])
            found[era] = {**first, "rounds": len(rounds), "until_tools_are_listed": listed}
            for what, shown in ((f"first answer (budget x{BUDGET})", first), ("list of tools", listed)):
                print(
                    f"{era}, {what}: x{shown['ratio']} {shown['interval']} of a bare server, "
                    f"CPU x{shown['cpu_ratio']} {shown['cpu_interval']}"
                )
    found["load_average"] = round(os.getloadavg()[0], 1)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
