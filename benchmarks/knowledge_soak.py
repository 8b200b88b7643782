"""Four writers and eight readers on one index for a minute, one writer killed: what broke, what was lost.

python benchmarks/knowledge_soak.py --seconds 60
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from kernelevolve.knowledge.document import Document
from kernelevolve.knowledge.embedding import load_embedder
from kernelevolve.knowledge.retrieval import Filters, Retriever
from kernelevolve.knowledge.store import KnowledgeStore

HERE = Path(__file__).resolve().parent


def document(writer: int, number: int) -> Document:
    """What a writer writes: its own documents, and now and then one that all of them write."""
    name = f"w{writer}_{number}" if number % 5 else "shared"
    return Document(
        id=f"user/{name}",
        title=f"Register file of unit {writer}",
        kind="hardware",
        platforms=("hopper",),
        body=f"Register zebra_{writer}_{number} of unit {writer} holds the value {number}.\n\n## Use\n\nRead it often.",
        origin="user:soak",
    )


def write(index: str, writer: int, seconds: float) -> None:
    """Write until the time is up; each line on stdout is a document that was acknowledged."""
    store = KnowledgeStore(index, load_embedder())
    ends = time.monotonic() + seconds
    number = 1
    while time.monotonic() < ends:
        made = document(writer, number)
        store.put([made])
        print(made.id, flush=True)
        number += 1


def read(index: str, reader: int, seconds: float) -> None:
    """Ask until the time is up; each line on stdout is an answer."""
    retriever = Retriever(KnowledgeStore(index, load_embedder()))
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        hits = retriever.search(f"register of unit {reader % 4} that holds a value", Filters(platforms=("hopper",)), 5)
        print(len(hits), flush=True)
        if not hits:
            raise SystemExit("nothing was found")


def main() -> int:
    """Run all of them; 1 if anything broke."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--output", type=Path, default=HERE / "results" / "knowledge_soak.json")
    parser.add_argument("--role", nargs=3, metavar=("write|read", "INDEX", "NUMBER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        work = {"write": write, "read": read}[given.role[0]]
        work(given.role[1], int(given.role[2]), given.seconds)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        store = KnowledgeStore(index, load_embedder())
        store.put([document(9, 1)])

        def start(role: str, number: int) -> subprocess.Popen[str]:
            command = [sys.executable, __file__, "--seconds", str(given.seconds), "--role", role, index, str(number)]
            return subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env={**os.environ, "LANCEDB_LOG": "error"},
            )  # fmt: skip

        writers = [start("write", number) for number in range(4)]
        readers = [start("read", number) for number in range(8)]
        time.sleep(given.seconds / 2)
        writers[0].send_signal(signal.SIGKILL)
        errors: list[str] = []
        acknowledged: set[str] = set()
        answers = written = 0
        for number, process in enumerate([*writers, *readers]):
            out, complaints = process.communicate(timeout=given.seconds + 120)
            lines = out.splitlines()
            if number < len(writers):
                acknowledged.update(lines)
                written += len(lines)
            else:
                answers += len(lines)
            expected = -signal.SIGKILL if number == 0 else 0
            if process.returncode != expected:
                errors.append(f"process {number} ended with {process.returncode}: {complaints[-400:]}")
        after = KnowledgeStore(index, load_embedder())
        rows = [entry.passage.id for entry in after.select("position >= 0")]
        lost = acknowledged - set(after.content_hashes())
        result: dict[str, Any] = {
            "seconds": given.seconds,
            "writers": 4,
            "readers": 8,
            "acknowledged_writes": written,
            "answers": answers,
            "errors": errors,
            "lost_documents": sorted(lost),
            "rows_there_twice": len(rows) - len(set(rows)),
            "documents": len(after.content_hashes()),
        }
        began = time.perf_counter()
        after.put([document(8, 1)])
        result["next_write_s"] = time.perf_counter() - began
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return bool(errors or lost or result["rows_there_twice"])


if __name__ == "__main__":
    sys.exit(main())
