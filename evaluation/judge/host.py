"""The warm host: a process that has imported torch, forks judges and workers from itself, and outlives none of them.

It runs no judge code and no candidate code, owns no device, and has one thread, so forking it is safe. Everything it
forks is its child: it notices when a client or a judge goes away and kills what was working for them.

    client ──connection──▶ judge (fork of the host) ──"fork me a worker"──▶ host ──▶ worker (fork of the host)
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.util
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kernelevolve.evaluation.judge import enclosure, sandbox, survey, unnamed_memory, watch, welcome
from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError, ReceiveTimeoutError
from kernelevolve.evaluation.judge.protection import Protection

READY = b"ready\n"
_GRACE_S = 0.5
_MOST_JUDGES = 64
"""Most clients at a time, those included that have not shown the token yet."""
_NEEDED = (
    "numpy",
    "torch.utils._pytree",
    # Any dispatch or function mode imports this at its first use: a second in every worker.
    "torch._dynamo",
    "tvm_ffi",
    "kernelevolve.evaluation.judge.session",
    "kernelevolve.evaluation.judge.worker",
)
"""Modules that every judge or worker imports."""


@dataclass
class _Child:
    """One forked process and the descriptors that tie it to somebody."""

    pid: int
    role: str
    pidfd: int
    tie: int
    """Hang-up here means nobody wants the child any more: a client's connection, or the read end of a status pipe."""
    spawner: Channel | None = None
    """For a judge: the connection on which it asks for workers."""
    workers: list[int] = field(default_factory=list)
    doomed_at: float | None = None
    """`time.monotonic()` after which it is killed if it has not ended by itself."""
    limits: watch.Limits | None = None
    """For a worker: what it may take."""
    excess: str = ""
    """For a worker that was killed for it: which limit it was over."""


class Host:
    """The loop that forks and reaps.

    Args:
        listener: socket on which clients connect, or None when there is only the inherited one.
        token_hash: SHA-256 of the secret a client on the listener must show, in hexadecimal. The token itself never
            enters this process (see `welcome`), so a worker can't find it in the memory it inherits.
        idle_limit_s: seconds without a client after which the host ends.
    """

    def __init__(self, listener: socket.socket | None, token_hash: str, idle_limit_s: float) -> None:
        self._listener = listener
        self._token_hash = token_hash
        self._idle_limit_s = idle_limit_s
        self._children: dict[int, _Child] = {}
        self._poll = select.poll()
        self._last_use = time.monotonic()
        self._owner: int | None = None
        self._offered: dict[str, bool] = {}
        self._next_look = 0.0
        if listener is not None:
            self._poll.register(listener, select.POLLIN)

    def adopt(self, connection: socket.socket) -> None:
        """Serve a client that is connected already; the host ends when it hangs up."""
        self._owner = os.dup(connection.fileno())
        self._poll.register(self._owner, select.POLLRDHUP)
        self._fork_judge(Channel(connection))

    def run(self) -> None:
        """Serve until there is nobody left to serve."""
        while True:
            for descriptor, events in self._poll.poll(200):
                if descriptor == self._owner:
                    return
                self._handle(descriptor, events)
            self._kill_strays()
            self._look_at_limits()
            for child in list(self._children.values()):
                if child.doomed_at is not None and time.monotonic() > child.doomed_at:
                    self._kill(child)
            if self._children:
                self._last_use = time.monotonic()
            elif self._owner is None and time.monotonic() - self._last_use > self._idle_limit_s:
                return

    def close(self) -> None:
        """Kill every child and wait for it; judges get a moment to tidy up first."""
        deadline = time.monotonic() + _GRACE_S
        while self._children and time.monotonic() < deadline:
            for child in list(self._children.values()):
                if select.select([child.pidfd], [], [], 0.01)[0]:
                    self._reap(child)
        for child in list(self._children.values()):
            self._kill(child)
        deadline = time.monotonic() + 5
        while self._children and time.monotonic() < deadline:
            for child in list(self._children.values()):
                if select.select([child.pidfd], [], [], 0.05)[0]:
                    self._reap(child)
        self._kill_strays()

    def _handle(self, descriptor: int, events: int) -> None:
        if self._listener is not None and descriptor == self._listener.fileno():
            connection, _address = self._listener.accept()
            if sum(child.role == "judge" for child in self._children.values()) < _MOST_JUDGES:
                self._fork_judge(Channel(connection), stranger=True)
            else:
                # Whoever can reach the socket but does not know the token must not fill the machine with processes.
                print(f"kernelevolve host: a client was refused: it has {_MOST_JUDGES} already", file=sys.stderr)
                connection.close()
            return
        for child in list(self._children.values()):
            if descriptor == child.pidfd:
                self._reap(child)
                return
            if descriptor == child.tie:
                self._dismiss(child)
                return
            if child.spawner is not None and descriptor == child.spawner.fileno():
                self._spawn_for(child)
                return

    def _fork_judge(self, client: Channel, stranger: bool = False) -> None:
        """Fork a judge. A stranger must show it the token before anything is done."""
        ours, theirs = socket.socketpair()

        def judge() -> None:
            from kernelevolve.evaluation.judge.session import serve

            if not stranger or welcome.knows_token(client, self._token_hash):
                serve(client, Channel(theirs))

        tie = os.dup(client.fileno())
        pid = self._fork(judge, keep={client.fileno(), theirs.fileno()}, log=None)
        theirs.close()
        client.close()
        child = _Child(pid, "judge", os.pidfd_open(pid), tie, Channel(ours))
        self._children[pid] = child
        self._poll.register(child.pidfd, select.POLLIN)
        self._poll.register(tie, select.POLLRDHUP)
        self._poll.register(ours, select.POLLIN)

    def _spawn_for(self, judge: _Child) -> None:
        """Fork a worker; its number, and in the end its exit status, go into the pipe that came with the request."""
        assert judge.spawner is not None
        try:
            message = judge.spawner.receive(time.monotonic() + 2)
        except (ChannelClosedError, ReceiveTimeoutError):
            # A judge that hangs up here has ended or is about to; its pidfd says so.
            self._poll.unregister(judge.spawner.fileno())
            return
        connection = socket.socket(fileno=message.descriptors[0])
        status_pipe = message.descriptors[1]
        specification = {**message.body, **self._offers()}

        def worker() -> None:
            from kernelevolve.evaluation.judge.worker import serve

            os.close(status_pipe)
            serve(Channel(connection), specification)

        log = Path(specification["scratch"]) / "output.log"
        pid = self._fork(worker, keep={connection.fileno()}, log=log)
        connection.close()
        # A judge that has ended since has closed the other end.
        with contextlib.suppress(OSError):
            os.write(status_pipe, f"{pid}\n".encode())
        child = _Child(pid, "worker", os.pidfd_open(pid), status_pipe, limits=_limits(specification))
        self._children[pid] = child
        judge.workers.append(pid)
        self._poll.register(child.pidfd, select.POLLIN)
        # Writing end of a pipe: POLLERR comes when the judge closes the reading end.
        self._poll.register(status_pipe, 0)

    def _offers(self) -> dict[str, bool]:
        """Which namespaces this machine lets a worker have; tried once."""
        if not self._offered:
            _standing, failed = survey.try_walls(enclosed=True)
            if failed:
                print(f"kernelevolve host: workers have no mount and process namespace: {failed}", file=sys.stderr)
            standing, _failed = survey.try_walls(enclosed=False)
            self._offered = {"enclosed": not failed, "network": "network namespace" in standing}
        return self._offered

    def _look_at_limits(self) -> None:
        """Kill workers that, with all they started, take more than they may."""
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + watch.PERIOD_S
        watched = [child for child in self._children.values() if child.limits is not None and not child.excess]
        shared = watch.anonymous_bytes(os.getpid()) if watched else 0
        for child in watched:
            assert child.limits is not None
            judge = next((judge for judge in self._children.values() if child.pid in judge.workers), None)
            arenas = unnamed_memory.unnamed_files(judge.pid) if judge is not None else {}
            child.excess = watch.excess(child.pid, child.limits, shared, arenas)
            if child.excess:
                self._kill(child)

    def _fork(self, body: Callable[[], None], keep: set[int], log: Path | None) -> int:
        gc.freeze()
        with warnings.catch_warnings():
            # Where a GPU is, tvm_ffi asks the driver for it at import, and the driver starts a thread. No lock of that
            # thread is needed by the fork, which opens the device anew.
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            pid = os.fork()
        if pid:
            return pid
        status = 1
        try:
            os.setsid()
            sandbox.die_with_parent()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._forget(keep)
            if log is not None:
                out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                os.dup2(out, 1)
                os.dup2(out, 2)
                os.close(out)
            body()
            status = 0
        except BaseException:  # noqa: BLE001 - whatever ends a child, it is printed and the child ends
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            # `os._exit`: the host's own clean-up handlers must not run in its children.
            os._exit(status)

    def _forget(self, keep: set[int]) -> None:
        """In a fork: close everything that belongs to the host or to its other children."""
        mine = [child.pidfd for child in self._children.values()]
        mine += [child.tie for child in self._children.values()]
        mine += [child.spawner.fileno() for child in self._children.values() if child.spawner is not None]
        mine += [self._listener.fileno()] if self._listener is not None else []
        mine += [self._owner] if self._owner is not None else []
        for descriptor in set(mine) - keep:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _dismiss(self, child: _Child) -> None:
        """Nobody wants the child any more. A judge gets a moment to tidy up; a worker gets none."""
        if child.role == "worker":
            self._kill(child)
            return
        self._poll.unregister(child.tie)
        child.doomed_at = time.monotonic() + _GRACE_S

    def _kill(self, child: _Child) -> None:
        with contextlib.suppress(KeyError):
            self._poll.unregister(child.tie)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)

    def _reap(self, child: _Child) -> None:
        _pid, status, usage = os.wait4(child.pid, 0)
        # Children that the dead one left in its group: its own compiler runs, or what a candidate started.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        del self._children[child.pid]
        self._poll.unregister(child.pidfd)
        os.close(child.pidfd)
        with contextlib.suppress(KeyError):
            self._poll.unregister(child.tie)
        if child.role == "judge":
            # Its client waits on a connection of which this process has a copy, so closing ours would not tell it.
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(child.tie)) as connection:
                connection.shutdown(socket.SHUT_RDWR)
        if child.role == "worker":
            code = os.waitstatus_to_exitcode(status)
            with contextlib.suppress(OSError):
                os.write(child.tie, f"{code} {usage.ru_maxrss} {child.excess}\n".encode())
        os.close(child.tie)
        if child.spawner is not None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(child.spawner.fileno())
            child.spawner.close()
        for pid in child.workers:
            if pid in self._children:
                self._kill(self._children[pid])

    def _kill_strays(self) -> None:
        """Kill adopted orphans: processes that a candidate started and detached from its group."""
        try:
            pids = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        except OSError:
            return
        for pid in {int(text) for text in pids} - set(self._children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def _limits(specification: dict[str, Any]) -> watch.Limits | None:
    """What a worker and all it starts may take together."""
    level = Protection(specification["sandbox"])
    if level is Protection.NONE:
        return None
    device = specification["device"] != "cpu"
    enclosed = sandbox.enclosing(level, device, specification["enclosed"])
    memory = specification.get("memory_bytes")
    folder = None if enclosed else Path(specification["scratch"])
    return watch.Limits(memory, enclosure.default_processes(), folder)


def _warm_up(triton_compiler: bool) -> None:
    """Import what every judge and worker needs. No device may be touched: its driver would not survive a fork.

    Args:
        triton_compiler: also prepare what the first compilation of a Triton kernel waits for. It takes seconds, which
            pay off from the second candidate on.
    """
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    import torch

    for name in _NEEDED:
        importlib.import_module(name)
    has_triton = importlib.util.find_spec("triton") is not None
    if has_triton:
        importlib.import_module("triton.language")
    from kernelevolve.evaluation.language import languages
    from kernelevolve.evaluation.platform import platform_families

    # Found here once: a confined worker may not read where plug-ins are listed.
    languages()
    platform_families()
    if triton_compiler and has_triton:
        from kernelevolve.evaluation.languages import triton_launches

        triton_launches.warm_up()
    assert not torch.cuda.is_initialized()
    gc.collect()


def _stop(_signal: int, _frame: Any) -> None:
    raise SystemExit(0)


def main(arguments: list[str] | None = None) -> None:
    """Run a host. With `--connection FD` it serves one client; with `--socket PATH` all that know the token."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connection", type=int, help="descriptor of a connected socket to serve")
    parser.add_argument("--socket", type=Path, help="where to listen")
    parser.add_argument("--token-hash", default="", help="SHA-256 of the clients' secret")
    parser.add_argument("--idle", type=float, default=1800.0, help="seconds without a client until the host ends")
    parser.add_argument("--announced", action="store_true", help="end if stdin ends before it brings a byte")
    parser.add_argument("--warm-triton", action="store_true", help="prepare Triton's compiler too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    # Ctrl-C goes to a terminal's whole foreground group; the client decides what it means and hangs up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sandbox.adopt_orphans()
    # Not `die_with_parent`: that means the parent *thread*, and a server may start hosts from short-lived threads. The
    # loop ends when the client hangs up.
    _warm_up(options.warm_triton)
    listener = None
    if options.socket is not None:
        listener = socket.socket(socket.AF_UNIX)
        old_mask = os.umask(0o077)
        draft = options.socket.with_suffix(".new")
        listener.bind(str(draft))
        os.umask(old_mask)
        listener.listen(64)
        # Clients look for the final name, so it appears only when somebody listens.
        draft.rename(options.socket)
    if options.announced:
        if not os.read(sys.stdin.fileno(), 1):
            # Whoever started this host is gone and has told nobody of it: no client would ever find it.
            options.socket.unlink(missing_ok=True)
            os._exit(0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    host = Host(listener, options.token_hash, options.idle)
    try:
        if options.connection is not None:
            connection = socket.socket(fileno=options.connection)
            connection.send(READY)
            host.adopt(connection)
        host.run()
    finally:
        host.close()
        if options.socket is not None:
            options.socket.unlink(missing_ok=True)
    # Without the interpreter's clean-up: nothing is left to clean up, and native modules would complain about it.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
