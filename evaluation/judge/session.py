"""The judge's process: takes requests from one client, asks the host for workers, answers with verdicts."""

from __future__ import annotations

import collections
import hashlib
import os
import secrets
import select
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from kernelevolve.evaluation.audit import Audit, AuditOutcome
from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError, PlatformError, TaskError
from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge import evidence, sandbox
from kernelevolve.evaluation.judge.auditing import Auditor
from kernelevolve.evaluation.judge.case_inputs import describe_cases
from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError
from kernelevolve.evaluation.judge.check import Desk
from kernelevolve.evaluation.judge.device_activity import own_kernels
from kernelevolve.evaluation.judge.device_lock import device_lock
from kernelevolve.evaluation.judge.executed import Execution, Outcome
from kernelevolve.evaluation.judge.handle import Spawner, WorkerHandle, claimed_failure
from kernelevolve.evaluation.judge.protection import Protection, choose, chosen
from kernelevolve.evaluation.judge.request import WAITING, JudgeRequest
from kernelevolve.evaluation.judge.self_test import TaskCheck, run_self_test
from kernelevolve.evaluation.judge.task_state import TaskState
from kernelevolve.evaluation.judge.without_device import (
    INTERPRETER_ELEMENTS,
    cross_compile,
    interpret,
    shapes_for_compile,
)
from kernelevolve.evaluation.judge.workers import Workers, available_memory
from kernelevolve.evaluation.language import Artifact, Language, get_language
from kernelevolve.evaluation.platform import Level, Platform, get_platform
from kernelevolve.evaluation.tasks.loading import load_task
from kernelevolve.evaluation.verdict import Diagnosis, PlatformVerdict, Verdict

_START_LIMIT_S = 60.0
_BUILD_LIMIT_S = 180.0


class ClientGoneError(Exception):
    """The client hung up; what was done for it is of no use any more."""


def serve(client: Channel, host: Channel) -> None:
    """Answer one client until it hangs up."""
    session: Session | None = None
    try:
        hello = client.receive().body
        choose(Protection(hello["sandbox"]))
        session = Session(client, host, Path(hello["state"]))
        session.run()
    except (ChannelClosedError, ClientGoneError):
        pass
    finally:
        if session is not None:
            session.close()


@dataclass
class _Prepared:
    """What can be done for a candidate before the device is ours: read, built, loaded, compiled."""

    request: JudgeRequest
    language: Language | None = None
    failure: KernelEvolveError | None = None
    platforms: list[Platform] = field(default_factory=list)
    executed: dict[str, tuple[Artifact, WorkerHandle]] = field(default_factory=dict)
    interpreter: WorkerHandle | None = None
    compiled: dict[str, Outcome] = field(default_factory=dict)
    compiling: Future[dict[str, Outcome]] | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Platforms that are settled already: unknown, unsupported, or refused by the compiler."""
    protection: tuple[str, ...] = ()
    phases_ms: dict[str, float] = field(default_factory=dict)
    began_ns: dict[str, int] = field(default_factory=dict)
    timeline: set[tuple[str, int, float]] = field(default_factory=set)
    """Phases with their beginning, nanoseconds since the epoch, and their milliseconds, for whoever traces."""

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Take the wall time of a part of the preparation."""
        self.began_ns[name] = time.time_ns()
        began = time.perf_counter()
        try:
            yield
        finally:
            self.phases_ms[name] = (time.perf_counter() - began) * 1e3

    def close(self) -> None:
        """Let every worker go."""
        if self.compiling is not None:
            self.compiling.result()
        for _artifact, worker in self.executed.values():
            worker.close()
        if self.interpreter is not None:
            self.interpreter.close()


class Session:
    """State of the judge's process.

    Args:
        client: where requests come from.
        host: where workers come from.
        state: folder for receipts, caches and scratch.
    """

    def __init__(self, client: Channel, host: Channel, state: Path) -> None:
        self._client = client
        self._state = state
        # What this process compiles for itself (baselines, comparison) is kept for the next one.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(state / "inductor"))
        os.environ.setdefault("TRITON_CACHE_DIR", str(state / "triton"))
        os.environ.setdefault("KERNELEVOLVE_CACHE_DIR", str(state / "native"))
        self._scratch = state / "scratch" / f"{os.getpid()}"
        self._spawner = Spawner(host, self._scratch)
        self._workers = Workers(self._spawner, state / "triton-template")
        self._secret = secrets.token_bytes(32)
        self._tasks: dict[tuple[str, str, str], TaskState] = {}
        self._tasks_lock = threading.Lock()
        self._desks: dict[str, Desk] = {}
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="prepare")
        self._queue: collections.deque[dict[str, Any]] = collections.deque()
        self._ahead: tuple[dict[str, Any], Future[_Prepared]] | None = None
        self._ledger = evidence.Ledger(state)
        _sweep(state / "scratch")

    def run(self) -> None:
        """Take requests one after another; prepare the next while the device works for this one."""
        while True:
            body = self._queue.popleft() if self._queue else self._client.receive().body
            handlers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
                "judge": self._judge,
                "check_task": self._check_task,
                "code": self._code,
                "describe_task": lambda body: {"task": self._task(body["task"], "cpu").task.model_dump(mode="json")},
                "describe_cases": lambda body: describe_cases(self._task(body["task"], "cpu")),
                "ping": lambda _body: {"pid": os.getpid()},
            }
            try:
                reply = handlers[body["do"]](body)
            except KernelEvolveError as error:
                reply = {
                    "failed": error.summary,
                    "advice": error.advice,
                    "finding": error.finding,
                    "log": error.log,
                }
            except (ClientGoneError, ChannelClosedError):
                raise
            except Exception as error:  # noqa: BLE001 - a fault of the judge must reach the client, not end the session
                reply = {
                    "failed": f"{type(error).__name__}: {error}",
                    "finding": Finding.INTERNAL,
                    "advice": "This is a fault of the judge: please report it with the log.",
                    "log": traceback.format_exc()[-4000:],
                }
            self._client.send({"id": body.get("id"), **reply})

    def close(self) -> None:
        """Let go of workers, devices and scratch."""
        if self._ahead is not None:
            self._ahead[1].cancel()
        self._workers.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for desk in self._desks.values():
            desk.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    # -- client ---------------------------------------------------------------------------------------------------

    def _still_wanted(self) -> None:
        """Read what the client has sent meanwhile: the next request, or that it is gone."""
        while select.select([self._client], [], [], 0)[0]:
            try:
                self._queue.append(self._client.receive(time.monotonic() + 1).body)
            except ChannelClosedError as error:
                raise ClientGoneError from error

    def _progress(self, request_id: Any) -> Callable[[str, float], None]:
        def tell(text: str, share: float) -> None:
            self._client.send({"id": request_id, "progress": text, "share": share})

        return tell

    # -- tasks ----------------------------------------------------------------------------------------------------

    def _task(self, reference: str, device: str) -> TaskState:
        key = (reference, device, _content(reference))
        with self._tasks_lock:
            if key not in self._tasks:
                for old in [entry for entry in self._tasks if entry[:2] == key[:2]]:
                    del self._tasks[old]  # The file changed.
                self._tasks[key] = TaskState(load_task(reference), device, self._secret, _cache_bytes(device))
            return self._tasks[key]

    def _self_test(self, state: TaskState, limit_numel: int | None) -> TaskCheck:
        if state.self_test is None:
            state.self_test = run_self_test(state, limit_numel)
        return state.self_test

    def _check_task(self, body: dict[str, Any]) -> dict[str, Any]:
        platform = get_platform(body["platform"])
        device, lock = self._device(platform)
        state = self._task(body["task"], device)
        with device_lock(lock, 600.0, self._still_wanted):
            # Without the device the reference runs on the processor, which a device's sizes would overwhelm.
            result = self._self_test(state, None if device.startswith(platform.device_kind) else INTERPRETER_ELEMENTS)
        return {"check": result.model_dump(mode="json"), "task": state.task.model_dump(mode="json")}

    # -- preparation: no device lock ------------------------------------------------------------------------------

    def _prepare(self, request: JudgeRequest) -> _Prepared:
        prepared = _Prepared(request)
        try:
            prepared.language = get_language(request.candidate.language)
            prepared.platforms = [get_platform(name) for name in request.platforms]
            prepared.language.read(request.candidate)
            self._start_workers(prepared)
        except KernelEvolveError as error:
            prepared.failure = error
        return prepared

    def _start_workers(self, prepared: _Prepared) -> None:
        language = prepared.language
        assert language is not None
        absent = []
        for platform in prepared.platforms:
            if not language.supports(platform):
                prepared.outcomes[platform.name] = _refused(
                    PlatformError(
                        Finding.LANGUAGE_ON_PLATFORM,
                        f"{language.name} candidates cannot be judged for {platform.name}.",
                        f"Languages there: {', '.join(platform.availability().levels) or 'none'}.",
                    )
                )
                continue
            levels = language.levels(prepared.request.candidate, platform)
            if Level.EXECUTED in levels:
                self._start_executed(prepared, platform)
            elif language.is_interpreted and (language.name == "triton" or Level.INTERPRETED in levels):
                absent.append(platform)
            else:
                self._build_only(prepared, platform)
        if absent:
            self._start_absent(prepared, absent)

    def _start_executed(self, prepared: _Prepared, platform: Platform) -> None:
        """Build, start a worker on the device, load the candidate, compile its kernels."""
        request, language = prepared.request, prepared.language
        assert language is not None
        device, _lock = self._device(platform)
        state = self._task(request.task, device)
        with prepared.phase("start process"):
            worker = self._workers.take(device)
        try:
            with prepared.phase("build"):
                artifact = language.build(request.candidate, platform, worker.scratch, _BUILD_LIMIT_S)
                artifact = _within_reach(artifact, worker.scratch)
            with prepared.phase("load"):
                self._load(worker, artifact, state, request.limit_s, interpret=False)
            if language.name == "triton":
                with prepared.phase("compile"):
                    shapes = shapes_for_compile(state)
                    prepared.compiled.update(cross_compile(worker, shapes, [platform.name], _compile_limit(request)))
        except KernelEvolveError as error:
            worker.close()
            prepared.outcomes[platform.name] = _refused(error)
            return
        prepared.protection = worker.protection
        prepared.executed[platform.name] = (artifact, worker)

    def _start_absent(self, prepared: _Prepared, platforms: list[Platform]) -> None:
        """For devices that are not here: one worker compiles for all of them, another interprets."""
        request, language = prepared.request, prepared.language
        assert language is not None
        state = self._task(request.task, "cpu")
        shapes = shapes_for_compile(state)
        memory = int(available_memory() * 0.8)

        def start(interpreted: bool) -> WorkerHandle:
            scratch = self._spawner.scratch_folder()
            artifact = language.build(request.candidate, platforms[0], scratch, _BUILD_LIMIT_S)
            worker = self._spawner.spawn("cpu", memory, scratch, _START_LIMIT_S)
            try:
                self._load(worker, artifact, state, request.limit_s, interpreted)
            except BaseException:
                worker.close()
                raise
            return worker

        def compile_all() -> dict[str, Outcome]:
            if not targets:
                return {}
            worker = start(interpreted=False)
            try:
                return cross_compile(worker, shapes, targets, _compile_limit(request))
            finally:
                worker.close()

        # The kernels of an export were compiled when they were judged one by one.
        triton = language.name == "triton"
        targets = [platform.name for platform in platforms if platform.device_kind != "cpu" and triton]
        prepared.compiled.update({platform.name: Outcome() for platform in platforms if platform.name not in targets})
        compiling = self._pool.submit(compile_all)
        try:
            with prepared.phase("load"):
                prepared.interpreter = start(interpreted=True)
            prepared.protection = prepared.interpreter.protection
        except BaseException:
            compiling.result()
            raise
        # Compiling goes on while the interpreter checks.
        prepared.compiling = compiling

    def _build_only(self, prepared: _Prepared, platform: Platform) -> None:
        """For native languages without their device: what the compiler says is all there is."""
        assert prepared.language is not None
        scratch = self._spawner.scratch_folder()
        try:
            artifact = prepared.language.build(prepared.request.candidate, platform, scratch, _BUILD_LIMIT_S)
            outcome = Outcome(resources=list(artifact.resources), notes=list(artifact.notes))
            outcome.notes.append(f"compiled only: there is no {platform.name} device here, so results were not checked")
            prepared.compiled[platform.name] = outcome
        except KernelEvolveError as error:
            prepared.outcomes[platform.name] = _refused(error)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _load(
        self,
        worker: WorkerHandle,
        artifact: Artifact,
        state: TaskState,
        limit_s: float,
        interpret: bool,
        mute: bool = False,
    ) -> None:
        init = list(state.program.init_inputs()) if state.task.form == "kernelbench" else None
        worker.ask(
            "load",
            min(limit_s, _START_LIMIT_S),
            artifact=artifact.model_dump(mode="json"),
            interpret=interpret,
            init=init,
            seed=state.weight_seed,
            mute=mute,
        )

    def _anew(self, prepared: _Prepared, platform: Platform, state: TaskState, mute: bool = False) -> WorkerHandle:
        """Another process with the candidate in it, which has done nothing yet.

        Args:
            prepared: holds the request.
            platform: where it runs.
            state: the task there.
            mute: whether Triton kernels are never launched in it.
        """
        request, language = prepared.request, prepared.language
        assert language is not None
        worker = self._workers.take(self._device(platform)[0])
        try:
            artifact = language.build(request.candidate, platform, worker.scratch, _BUILD_LIMIT_S)
            artifact = _within_reach(artifact, worker.scratch)
            self._load(worker, artifact, state, request.limit_s, interpret=False, mute=mute)
        except BaseException:
            worker.close()
            raise
        return worker

    # -- code -----------------------------------------------------------------------------------------------------

    def _code(self, body: dict[str, Any]) -> dict[str, Any]:
        """Compile a candidate for one platform and hand over what the compiler made of it. Nothing runs on a device."""
        candidate = Candidate.model_validate(body["candidate"])
        platform, language = get_platform(body["platform"]), get_language(candidate.language)
        if not language.supports(platform):
            raise PlatformError(
                Finding.LANGUAGE_ON_PLATFORM,
                f"{language.name} candidates have no code for {platform.name}.",
                f"Languages there: {', '.join(platform.availability().levels) or 'none'}.",
            )
        language.read(candidate)
        scratch = self._spawner.scratch_folder()
        try:
            if language.name != "triton":
                code = language.code(candidate, platform, scratch, _BUILD_LIMIT_S)
                return {"code": [entry.model_dump(mode="json") for entry in code]}
            return {"code": self._triton_code(candidate, platform, body["task"], scratch, body["limit_s"])}
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _triton_code(
        self, candidate: Candidate, platform: Platform, task: str, scratch: Path, limit_s: float
    ) -> list[dict[str, Any]]:
        """The candidate's host code runs with stand-in tensors, so this belongs in a worker."""
        state = self._task(task, "cpu")
        artifact = get_language("triton").build(candidate, platform, scratch, _BUILD_LIMIT_S)
        worker = self._spawner.spawn("cpu", int(available_memory() * 0.8), scratch, _START_LIMIT_S)
        try:
            self._load(worker, artifact, state, limit_s, interpret=False)
            reply = worker.ask("compile", limit_s, inputs=shapes_for_compile(state), targets=[platform.name], code=True)
        finally:
            worker.close()
        compiled = reply["compiled"][platform.name]
        if "failed" in compiled:
            raise claimed_failure(compiled, "compile")
        return list(compiled["code"])

    # -- judging --------------------------------------------------------------------------------------------------

    def _judge(self, body: dict[str, Any]) -> dict[str, Any]:
        request = JudgeRequest.model_validate(body["request"])
        tell = self._progress(body.get("id"))
        tell("preparing", 0.0)
        prepared = self._take_prepared(body, request)
        try:
            verdict = self._verdict(request, prepared, tell)
        finally:
            prepared.close()
        return {"verdict": verdict.model_dump(mode="json"), "timeline": sorted(prepared.timeline, key=lambda it: it[1])}

    def _take_prepared(self, body: dict[str, Any], request: JudgeRequest) -> _Prepared:
        if self._ahead is not None and self._ahead[0] is body:
            future = self._ahead[1]
            self._ahead = None
        else:
            future = self._pool.submit(self._prepare, request)
        while not future.done():
            self._still_wanted()
            time.sleep(0.002)
        return future.result()

    def _look_ahead(self) -> None:
        """Begin to prepare the next request, if it came already and does not share the processor with the timing."""
        self._still_wanted()
        if self._ahead is not None or not self._queue or self._queue[0]["do"] != "judge":
            return
        body = self._queue[0]
        request = JudgeRequest.model_validate(body["request"])
        if "cpu" in request.platforms:
            return
        self._ahead = (body, self._pool.submit(self._prepare, request))

    def _verdict(self, request: JudgeRequest, prepared: _Prepared, tell: Callable[[str, float], None]) -> Verdict:
        results: list[PlatformVerdict] = []
        samples: dict[str, Any] = {}
        devices: dict[str, Any] = {}
        if isinstance(prepared.failure, TaskError):
            raise prepared.failure
        if prepared.failure is not None:
            refused = _refused(prepared.failure)
            results = [_platform_verdict(name, refused, None) for name in request.platforms]
        interpreted: Outcome | None = None
        for platform in prepared.platforms if prepared.failure is None else []:
            name = platform.name
            if name in prepared.outcomes:
                results.append(_platform_verdict(name, prepared.outcomes[name], None))
                continue
            if name in prepared.executed:
                outcome = self._execute(request, prepared, platform, tell)
                level: Level | None = Level.EXECUTED
            elif prepared.interpreter is not None and prepared.language and prepared.language.is_interpreted:
                if interpreted is None:
                    interpreted = self._interpret(request, prepared, tell)
                    if prepared.compiling is not None:
                        with prepared.phase("compile, past the interpreter"):
                            prepared.compiled.update(prepared.compiling.result())
                outcome, level = _combine(interpreted, prepared.compiled[name])
            else:
                outcome, level = prepared.compiled[name], Level.COMPILED
            if request.audit and outcome.audit is None and outcome.status is Status.CORRECT:
                why = f"it was judged at the level {level.value if level else 'none'}, where no time is measured"
                outcome.audit = Audit(outcome=AuditOutcome.NOT_POSSIBLE, reason=why)
            if chosen() is Protection.NONE:
                outcome.notes.append("not confined: --sandbox none")
            outcome.phases_ms = {**prepared.phases_ms, **outcome.phases_ms}
            starts = {**prepared.began_ns, **outcome.began_ns}
            prepared.timeline |= {(phase, starts[phase], outcome.phases_ms[phase]) for phase in starts}
            samples[name] = outcome.samples
            devices[name] = evidence.device_facts(platform)
            results.append(_platform_verdict(name, outcome, level))
        return self._seal(request, prepared, results, samples, devices)

    def _interpret(self, request: JudgeRequest, prepared: _Prepared, tell: Callable[[str, float], None]) -> Outcome:
        assert prepared.interpreter is not None
        state = self._task(request.task, "cpu")
        with prepared.phase("self-test"):
            test = self._self_test(state, INTERPRETER_ELEMENTS)
        with prepared.phase("interpret"):
            outcome = interpret(state, self._desk("cpu"), prepared.interpreter, request, tell)
        outcome.notes.extend([*test.notes, *_unjudged(state)])
        return outcome

    def _execute(
        self, request: JudgeRequest, prepared: _Prepared, platform: Platform, tell: Callable[[str, float], None]
    ) -> Outcome:
        artifact, worker = prepared.executed[platform.name]
        device, lock = self._device(platform)
        state = self._task(request.task, device)
        tell(WAITING, 0.0)
        asked_ns = time.time_ns()
        with device_lock(lock, request.lock_limit_s, self._still_wanted) as waited:
            self._look_ahead()
            self._workers.prepare(device)
            test = self._self_test(state, None)
            own = _own_kernels(request.candidate, artifact, prepared.compiled.get(platform.name))
            execution = Execution(
                state, self._desk(device), worker, request, platform.spec_sheet(), tell, own,
                lambda: self._anew(prepared, platform, state, mute=True),
            )  # fmt: skip
            outcome = execution.run()
            worker.close()
            execution.compare_alone()
            if request.audit and outcome.status is Status.CORRECT:
                self._audit(request, prepared, platform, outcome, tell)
            if device != "cpu":
                torch.cuda.synchronize()
                # The candidate behind us in the queue may need the memory.
                torch.cuda.empty_cache()
        outcome.phases_ms["wait for device"], outcome.began_ns["wait for device"] = waited * 1e3, asked_ns
        compiled = prepared.compiled.get(platform.name)
        if compiled is not None:
            outcome.resources.extend(compiled.resources)
            outcome.notes.extend(compiled.notes)
            if compiled.diagnosis is not None:
                outcome.notes.append(f"resources are not known: {compiled.diagnosis.summary}")
        outcome.resources.extend(artifact.resources)
        outcome.notes.extend([*artifact.notes, *test.notes, *_unjudged(state)])
        return outcome

    def _audit(
        self,
        request: JudgeRequest,
        prepared: _Prepared,
        platform: Platform,
        outcome: Outcome,
        tell: Callable[[str, float], None],
    ) -> None:
        """Look at a correct candidate once more, in a process that has not seen it before."""
        device, _lock = self._device(platform)
        state = self._task(request.task, device)
        tell("auditing", 0.97)
        with prepared.phase("audit"):
            worker: WorkerHandle | None = None
            try:
                worker = self._anew(prepared, platform, state)
                outcome.audit = Auditor(state, self._desk(device), worker, request).audit(outcome.timings)
            except CandidateError as error:
                outcome.audit = Audit(outcome=AuditOutcome.NOT_CONFIRMED, reason=error.summary)
            except KernelEvolveError as error:
                # Not the candidate's fault: the verdict stands, without an audit.
                outcome.audit = Audit(outcome=AuditOutcome.NOT_POSSIBLE, reason=error.summary)
            finally:
                if worker is not None:
                    worker.close()
        outcome.phases_ms["audit"] = prepared.phases_ms["audit"]

    def _desk(self, device: str) -> Desk:
        return self._desks.setdefault(device, Desk(device))

    @staticmethod
    def _device(platform: Platform) -> tuple[str, str]:
        """Torch device and lock name of a platform; the first GPU that fits it."""
        if platform.device_kind == "cpu":
            return "cpu", "cpu"
        if platform.availability().device is None:
            # Checked for another level: everything then happens on the processor.
            return "cpu", "cpu"
        devices: list[Any] = platform.devices()  # type: ignore[attr-defined]
        return f"cuda:{devices[0].index}", devices[0].uuid

    def _seal(
        self,
        request: JudgeRequest,
        prepared: _Prepared,
        results: list[PlatformVerdict],
        samples: dict[str, Any],
        devices: dict[str, Any],
    ) -> Verdict:
        known = [state for (reference, _device, _hash), state in self._tasks.items() if reference == request.task]
        task = known[0].task if known else None
        receipt = self._ledger.write(
            task_hash=task.task_hash if task else hashlib.sha256(request.task.encode()).hexdigest(),
            source_hash=request.candidate.source_hash,
            results=results,
            devices=devices,
            samples=samples,
            protection=(*prepared.protection, *_around_compiler(prepared.language)),
            secret=self._secret,
        )
        return Verdict(
            task=task.name if task else request.task,
            candidate=request.candidate.name,
            language=request.candidate.language,
            source_hash=request.candidate.source_hash,
            status=Verdict.worst([result.status for result in results]),
            platforms=tuple(results),
            receipt=receipt,
        )


def _sweep(scratch_root: Path) -> None:
    """Remove scratch folders of judges that were killed before they could."""
    for folder in scratch_root.glob("*"):
        if not Path(f"/proc/{folder.name}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _own_kernels(candidate: Candidate, artifact: Artifact, compiled: Outcome | None) -> frozenset[str] | None:
    """See `device_activity.own_kernels`; None where nobody can say: for languages whose sources do not show their
    kernels, and for Triton kernels that come from elsewhere and whose launches could not be recorded."""
    if candidate.language not in ("triton", "cuda", "hip"):
        return None
    found = [*artifact.resources, *(compiled.resources if compiled is not None else ())]
    own = own_kernels(candidate, (resources.kernel for resources in found))
    return own if own or candidate.language != "triton" else None


def _unjudged(state: TaskState) -> list[str]:
    """What the task asks for and this judge does not do."""
    return ["the task sets BACKWARD, but gradients are not judged yet"] if state.task.backward else []


def _around_compiler(language: Language | None) -> tuple[str, ...]:
    """What stands around the compiler of a native candidate; Triton compiles in the worker."""
    if language is None or language.name == "triton" or chosen() is Protection.NONE:
        return ()
    return (f"compiler in {sandbox.confinement_name()}",)


def _compile_limit(request: JudgeRequest) -> float:
    """Seconds for recording a Triton candidate's launches, which runs its host code, and compiling them."""
    return min(_BUILD_LIMIT_S, 3 * request.limit_s)


def _within_reach(artifact: Artifact, scratch: Path) -> Artifact:
    """Copy a library out of the judge's cache into the worker's folder: the worker may read nothing else, and must not
    get at the cached file itself."""
    if artifact.library is None or artifact.library.is_relative_to(scratch):
        return artifact
    copy = scratch / artifact.library.name
    shutil.copyfile(artifact.library, copy)
    return artifact.model_copy(update={"library": copy})


def _content(reference: str) -> str:
    """What a task reference stands for now: its file's hash, or nothing for a named operator."""
    path = Path(reference)
    path = path / "task.py" if path.is_dir() else path
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _refused(error: KernelEvolveError) -> Outcome:
    outcome = Outcome()
    outcome.refuse(Diagnosis.of(error))
    return outcome


def _combine(interpreted: Outcome, compiled: Outcome) -> tuple[Outcome, Level | None]:
    """Both halves of judging without the device: wrong by one of them is wrong."""
    failed = next((half for half in (compiled, interpreted) if half.status is not Status.CORRECT), None)
    outcome = Outcome(
        resources=list(compiled.resources),
        checks=interpreted.checks,
        notes=list(dict.fromkeys([*interpreted.notes, *compiled.notes])),
        phases_ms=dict(interpreted.phases_ms),
        began_ns=dict(interpreted.began_ns),
    )
    if failed is not None and failed.diagnosis is not None:
        outcome.refuse(failed.diagnosis)
    if interpreted.checks:
        return outcome, Level.INTERPRETED
    if failed is None:
        outcome.notes.append("results were not checked: only compilation stands behind this verdict")
    return outcome, Level.COMPILED if compiled.status is Status.CORRECT else None


def _platform_verdict(name: str, outcome: Outcome, level: Level | None) -> PlatformVerdict:
    return PlatformVerdict(
        platform=name,
        status=outcome.status,
        level=level,
        diagnosis=outcome.diagnosis,
        timings=tuple(outcome.timings),
        speeds=tuple(outcome.speeds),
        resources=tuple(outcome.resources),
        audit=outcome.audit,
        checks=outcome.checks,
        notes=tuple(dict.fromkeys(outcome.notes)),
        phases_ms={phase: round(value, 1) for phase, value in outcome.phases_ms.items()},
    )


def _cache_bytes(device: str) -> int:
    if device == "cpu":
        return available_memory() // 8
    return int(torch.cuda.get_device_properties(device).total_memory) // 8
