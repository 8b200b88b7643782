"""A judge that only pretends but answers with real verdicts, a clock that is set by hand, and a PostgreSQL server."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.finding import STATUS_OF, Finding, Status
from kernelevolve.evaluation.judge.request import JudgeRequest
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.receipt import Receipt
from kernelevolve.evaluation.verdict import (
    CaseTiming,
    Diagnosis,
    Interval,
    PlatformVerdict,
    SpeedSummary,
    Verdict,
)
from kernelevolve.search.node import Node
from kernelevolve.search.options import OptimizeOptions
from kernelevolve.search.store import Store
from kernelevolve.search.store.records import read_search
from kernelevolve.search.store.sql_view import SqlView
from kernelevolve.search.view import Brief

ROW_SUMS = """\
void kernel(TensorView x, TensorView out) {
  const int64_t rows = x.size(0), cols = x.size(1);
  const float* xp = static_cast<const float*>(x.data_ptr());
  float* op = static_cast<float*>(out.data_ptr());
  for (int64_t r = 0; r < rows; ++r) {
    float sum = 0.0f;
    for (int64_t c = 0; c < cols; ++c) {
      sum += xp[r * cols + c];
    }
    op[r] = sum;
  }
}
"""


def verdict_of(
    candidate: Candidate,
    speedup: float = 1.0,
    finding: Finding | None = None,
    spread: float = 0.01,
    platform: str = "cpu",
    baselines: tuple[str, ...] = ("eager",),
    timed: bool = True,
    task_hash: str = "a" * 64,
    log: str = "",
) -> Verdict:
    """A verdict: correct and so much faster than eager (half of that than compile), or refused for a finding."""
    status = Status.CORRECT if finding is None else STATUS_OF[finding]
    timings: list[CaseTiming] = []
    if finding is None and timed:
        for case, weight in (("small", 1.0), ("large", 2.0)):
            for baseline in baselines:
                ratio = speedup if baseline == "eager" else speedup / 2
                interval = Interval(
                    speedup=ratio,
                    low=ratio * (1 - spread),
                    high=ratio * (1 + spread),
                    confidence=0.95,
                    rounds=20,
                )
                timings.append(
                    CaseTiming(
                        case=case, baseline=baseline, weight=weight, candidate_ms=8.0 / ratio, baseline_ms=8.0,
                        interval=interval, speed=interval.verdict(0.01), calls=50, floor_ms=0.25,
                    )
                )  # fmt: skip
    speeds = tuple(
        SpeedSummary.of([timing for timing in timings if timing.baseline == baseline], 0.01)
        for baseline in baselines
        if timings
    )
    diagnosis = None
    if finding is not None:
        diagnosis = Diagnosis(
            finding=finding, summary=f"Refused: {finding.value}.", advice="Do it right.",
            where={"case": "small", "trial": 2}, first_index=(0, 3), expected=1.5, got=float("nan"), mismatched=7,
            elements=64, max_error=0.25, max_error_ulps=4.0e6, error_ratio=900.0, log=log,
        )  # fmt: skip
    receipt = Receipt(
        made="2026-01-05T10:00:00+00:00", harness_version="0.1.0", harness_hash="b" * 64, task_hash=task_hash,
        source_hash=candidate.source_hash, verdict_hash="c" * 64,
        machine={"processor": "An Imagined Processor", "cores": 2}, devices={},
        libraries={"python": "3.11.7", "torch": "2.9.0"}, protection=("landlock",), seed_commitment="d" * 64,
        samples={platform: {"small": {"candidate": [1.5, 1.25, 1.75], "eager": [8.0, 8.25]}}}, previous="0" * 64,
    ).sealed()  # fmt: skip
    entry = PlatformVerdict(
        platform=platform, status=status, level=Level.EXECUTED, diagnosis=diagnosis, timings=tuple(timings),
        speeds=speeds, checks=24,
    )  # fmt: skip
    return Verdict(
        task="row_sums", candidate=candidate.name, language=candidate.language,
        source_hash=candidate.source_hash, status=status, platforms=(entry,), receipt=receipt,
    )  # fmt: skip


Opinion = Callable[[JudgeRequest], Verdict]


@dataclass
class FakeJudge:
    """Answers by a function, and remembers what it was asked."""

    opinion: Opinion
    requests: list[JudgeRequest] = field(default_factory=list)

    def judge(self, request: JudgeRequest, progress: Callable[[str, float], None] | None = None) -> Verdict:
        self.requests.append(request)
        if progress is not None:
            progress("check", 0.5)
        return self.opinion(request)


def rated(candidate: Candidate, gain: float, mark: str = "") -> Candidate:
    """A source that `trusting` finds so much faster than eager."""
    return other(candidate, f"gain {gain} {mark}".strip())


def wrong(candidate: Candidate, mark: object = "") -> Candidate:
    """A source that `trusting` refuses."""
    return other(candidate, f"wrong {mark}".strip())


def by_its_own_word(request: JudgeRequest) -> Verdict:
    """Believes what a source says of itself in its last comment."""
    found = re.findall(r"// (wrong|gain ([\d.]+))", request.candidate.source)
    if found and found[-1][0] == "wrong":
        return verdict_of(request.candidate, finding=Finding.WRONG_VALUES)
    gain = float(found[-1][1]) if found else 1.0
    return verdict_of(request.candidate, gain, baselines=request.baselines)


@dataclass
class Clock:
    """Seconds that pass only when a test says so."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def other(candidate: Candidate, mark: object) -> Candidate:
    """The same candidate but for a comment: another source."""
    return candidate.model_copy(update={"source": f"{candidate.source}// {mark}\n"})


def begin(
    store: Store, *points: Candidate, policy: str = "greedy", synthesizer: str = "mutator", **options: Any
) -> str:
    """A search whose starting points wait to be judged."""
    given = OptimizeOptions.model_validate(options)
    return store.create_search("tasks/row_sums.py", "cpu", points, given, policy, synthesizer)


def keep(
    store: Store,
    search_id: str,
    candidate: Candidate,
    speedup: float = 1.0,
    parents: Sequence[Node] = (),
    mutation: str = "",
    finding: Finding | None = None,
    **more: Any,
) -> Node:
    """The node of a candidate that was judged so."""
    verdict = verdict_of(candidate, speedup, finding, more.pop("spread", 0.01))
    ids = tuple(parent.node_id for parent in parents)
    return store.add_node(search_id, candidate, verdict, ids, mutation, **more).node


@contextmanager
def view_of(store: Store, search_id: str) -> Iterator[SqlView]:
    """What a policy would see now."""
    with store._database.reading() as connection:
        yield SqlView(connection, read_search(connection, search_id))


def brief_of(store: Store, node_id: str) -> Brief:
    """What a policy would see of a node now."""
    with view_of(store, node_id.partition(".")[0]) as view:
        return view.node(node_id)


@pytest.fixture
def make_verdict() -> Callable[..., Verdict]:
    return verdict_of


@pytest.fixture
def make_judge() -> type[FakeJudge]:
    return FakeJudge


@pytest.fixture
def trusting() -> FakeJudge:
    return FakeJudge(by_its_own_word)


@pytest.fixture
def row_sums() -> Candidate:
    return Candidate(language="cpp", source=ROW_SUMS, name="kernel.cpp")


@pytest.fixture
def clock() -> Clock:
    return Clock()


OpenStore = Callable[[], Store]


@pytest.fixture
def open_store(tmp_path: Path, clock: Clock) -> OpenStore:
    """Opens the test's own store, as another process would."""
    return lambda: Store(tmp_path / "state" / "searches.sqlite", clock=clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def open_either(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> OpenStore:
    """The same, once over each database; a module that wants this overrides `open_store` with it."""
    if request.param == "sqlite":
        return lambda: Store(tmp_path / "state" / "searches.sqlite", clock=clock)
    url = request.getfixturevalue("postgresql").new_database()
    return lambda: Store(url, tmp_path / "state" / "objects", clock=clock)


@pytest.fixture
def store(open_store: OpenStore) -> Iterator[Store]:
    with open_store() as opened:
        yield opened


@dataclass
class PostgreSQL:
    """A server of this test run's own."""

    sockets: Path
    account: str
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://{self.account}@/{database}?host={self.sockets}"

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"test{next(self.numbers)}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)


def _programs() -> Path | None:
    """The folder of PostgreSQL's programs, the newest version's if they are not on the path."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return versions[-1].parent if versions else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server without a port: it listens on a socket in its own folder."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: neither on the path nor in /usr/lib/postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    prefix: list[str] = []
    account = "tester"
    if os.geteuid() == 0:
        # The server refuses to run as root.
        shutil.chown(folder, "nobody")
        prefix = ["runuser", "-u", "nobody", "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*prefix, str(programs / program), *arguments]
        log = folder / "log"
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + (log.read_text() if log.exists() else "")

    run("initdb", "-D", f"{folder}/data", "-U", account, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
    settings = f"-F -k {folder} -c listen_addresses='' -c shared_buffers=16MB"
    run("pg_ctl", "-D", f"{folder}/data", "-l", f"{folder}/log", "-o", settings, "-w", "start")
    try:
        yield PostgreSQL(folder, account)
    finally:
        run("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)
