"""Print the table of hacks: attack, rows, status, what caught it, the status of the honest twin. `make hacks`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.finding import Status
from kernelevolve.evaluation.judge.client import Judge
from kernelevolve.evaluation.verdict import PlatformVerdict
from tests.hacks.zoo import ROOT, Hack, hacks


def judge_all(judge: Judge, zoo: Sequence[Hack]) -> list[dict[str, Any]]:
    """Judge every cheat, and every honest twin once; print a line for each as it comes."""
    twins: dict[tuple[Any, ...], PlatformVerdict] = {}
    lines = []
    width = max(len(hack.name) for hack in zoo)
    print(f"{'attack':{width}}  {'rows':10}  {'status':14}  {'finding':20}  {'caught by':36}  honest twin")
    for hack in zoo:
        cheat = judge.judge(hack.request(hack.cheat)).platforms[0]
        if hack.twin not in twins:
            twins[hack.twin] = judge.judge(hack.request(hack.honest)).platforms[0]
        line = _line(hack, cheat, twins[hack.twin])
        lines.append(line)
        rows = ",".join(map(str, hack.rows))
        flag = "" if line["refused"] and line["twin_accepted"] else "  <-- NOT AS IT MUST BE"
        print(
            f"{hack.name:{width}}  {rows:10}  {line['status']:14}  {line['finding'] or '-':20}  {hack.caught_by:36}  "
            f"{line['twin_status']}{flag}",
            flush=True,
        )
    return lines


def _line(hack: Hack, cheat: PlatformVerdict, twin: PlatformVerdict) -> dict[str, Any]:
    finding = cheat.diagnosis.finding if cheat.diagnosis is not None else None
    return {
        "attack": hack.name,
        "rows": list(hack.rows),
        "tries": hack.hack,
        "language": hack.language,
        "status": cheat.status.value,
        "finding": finding.value if finding is not None else None,
        "caught_by": hack.caught_by,
        "refused": finding in hack.refused_as,
        "twin_status": twin.status.value,
        "twin_finding": twin.diagnosis.finding.value if twin.diagnosis is not None else None,
        "twin_accepted": twin.status is Status.CORRECT,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the zoo; 0 if every cheat is refused as it must be and every honest twin is accepted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the table there")
    parser.add_argument("--only", nargs="*", help="names of hacks")
    options = parser.parse_args(arguments)
    zoo = [hack for hack in hacks(ROOT) if hack.runs_on == "cpu" and (not options.only or hack.name in options.only)]
    if not zoo:
        parser.error("there are no such hacks")
    with tempfile.TemporaryDirectory() as state, Judge(Path(state), many_triton=True) as judge:
        lines = judge_all(judge, zoo)
    refused = sum(line["refused"] for line in lines)
    twins = {hack.twin: line["twin_accepted"] for hack, line in zip(zoo, lines, strict=True)}
    accepted = sum(twins.values())
    print(f"{refused} of {len(lines)} cheats refused ({refused / len(lines):.0%}), ", end="")
    print(f"{accepted} of {len(twins)} honest twins accepted ({accepted / len(twins):.0%})")
    if options.json is not None:
        summary = {"cheats": len(lines), "refused": refused, "twins": len(twins), "accepted": accepted}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**summary, "hacks": lines}, indent=1) + "\n")
    return 0 if refused == len(lines) and accepted == len(twins) else 1


if __name__ == "__main__":
    sys.exit(main())
