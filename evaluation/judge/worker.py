"""The worker: the process that a candidate lives in. It is confined before any candidate code is loaded.

Whatever it says is a claim: the judge compares outputs itself and has clocks of its own.
"""

from __future__ import annotations

import faulthandler
import math
import os
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch

from kernelevolve.evaluation.errors import CandidateError, KernelEvolveError
from kernelevolve.evaluation.finding import Finding
from kernelevolve.evaluation.judge import sandbox
from kernelevolve.evaluation.judge.arena import Arena, aligned, dense_strides
from kernelevolve.evaluation.judge.channel import Channel, ChannelClosedError
from kernelevolve.evaluation.judge.data import rebuild, remake
from kernelevolve.evaluation.judge.integrity import shadows, watch
from kernelevolve.evaluation.judge.operators import OperatorRecorder
from kernelevolve.evaluation.judge.own_work import muted
from kernelevolve.evaluation.judge.protection import Protection
from kernelevolve.evaluation.judge.recorder import Record, Recorder
from kernelevolve.evaluation.judge.timing import Stopwatch
from kernelevolve.evaluation.judge.volley import output_views
from kernelevolve.evaluation.language import Artifact, EntryPoint, get_language
from kernelevolve.evaluation.languages.triton import select_interpreter
from kernelevolve.evaluation.tasks.program import seeded

_LOG_LINES = 30
_STAND_IN_BYTES = 1 << 30
_OPERATORS = 2000


def serve(channel: Channel, specification: dict[str, Any]) -> None:
    """Confine this process, say so, then do what the judge asks until it hangs up.

    Args:
        channel: connection to the judge.
        specification: `scratch` folder, `device`, `memory_bytes` it may use (None for no limit), and
            `triton_template`, a Triton cache with what every kernel needs, to start from; `sandbox`, the level of
            protection, and `enclosed` and `network`, whether this machine can enclose a process, or at least cut it
            off the network.
    """
    device = specification["device"]
    try:
        standing = _confine(specification)
        worker = _Worker(channel, device)
    except KernelEvolveError as error:
        channel.send({"failed": error.summary, "advice": error.advice, "finding": error.finding})
        return
    except Exception as error:  # noqa: BLE001 - the judge must hear why there is no worker
        channel.send({"failed": _describe(error), "finding": Finding.INTERNAL})
        return
    channel.send({"ready": True, "protection": list(standing)})
    while True:
        try:
            message = channel.receive()
        except ChannelClosedError:
            return
        began = time.perf_counter_ns()
        try:
            reply = worker.handle(message.body, message.descriptors)
        except KernelEvolveError as error:
            reply = {"failed": error.summary, "advice": error.advice, "finding": error.finding, "log": error.log}
        except Exception as error:  # noqa: BLE001 - candidates may raise anything
            reply = {"failed": _describe(error), "finding": _finding_of(error), "log": _shorten(error)}
        reply["took_ms"] = (time.perf_counter_ns() - began) / 1e6
        channel.send(reply)


def _confine(specification: dict[str, Any]) -> tuple[str, ...]:
    """Raise the walls, and have caches and temporary files lie where this process may write."""
    device, template = specification["device"], specification.get("triton_template")
    walls = sandbox.worker_walls(
        Path(specification["scratch"]), device != "cpu", specification.get("memory_bytes"),
        Protection(specification["sandbox"]), specification["enclosed"], specification["network"],
        Path(template) if template else None,
    )  # fmt: skip
    own = walls.scratch
    for name in ("TMPDIR", "HOME", "XDG_CACHE_HOME"):
        os.environ[name] = str(own)
    # The host may have asked for the folder of temporary files already, which `tempfile` remembers.
    tempfile.tempdir = str(own)
    os.environ["TRITON_CACHE_DIR"] = str(own / "triton")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(own / "inductor")
    if template and walls.enclosure is None:
        shutil.copytree(template, own / "triton")
    if device != "cpu" and walls.enclosure is None:
        _open_device(device)
    standing = sandbox.leave(walls)
    os.chdir(own)
    faulthandler.enable()
    if device != "cpu" and walls.enclosure is not None:
        # The driver's threads would stay outside of an enclosure, so they are started in it.
        _open_device(device)
    return (*standing, *sandbox.restrict(walls, standing))


def _open_device(device: str) -> None:
    torch.cuda.set_device(device)
    torch.cuda.init()


def _describe(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:500]


def _finding_of(error: BaseException) -> Finding:
    text = str(error)
    if (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or "can't allocate memory" in text
        or "bad_alloc" in text
    ):
        return Finding.OUT_OF_MEMORY
    if "illegal memory access" in text or "misaligned address" in text:
        return Finding.ILLEGAL_MEMORY_ACCESS
    return Finding.EXCEPTION


def _shorten(error: BaseException) -> str:
    """The end of the traceback, less our own frames."""
    ours = str(Path(__file__).resolve().parent)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(ours)]
    lines = traceback.format_list(frames) + traceback.format_exception_only(error)
    return "".join(lines[-_LOG_LINES:])[-4000:]


class _Poison(OperatorRecorder):
    """Fills memory that a candidate asks for uninitialised, so that reading it before writing shows."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if func in _EMPTY and isinstance(result, torch.Tensor):
            poison(result)
        return result


_EMPTY = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_strided.default,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.new_empty.default,
    torch.ops.aten.new_empty_strided.default,
}


def poison(tensor: torch.Tensor) -> None:
    """Fill with NaN; integers with a value that is no plausible index or count."""
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.fill_(float("nan"))
    elif tensor.dtype == torch.bool:
        tensor.random_(0, 2)
    else:
        tensor.fill_(torch.iinfo(tensor.dtype).max - 12)


class _Worker:
    """State of one candidate: its entry point, the arenas, the inputs for timing."""

    def __init__(self, channel: Channel, device: str) -> None:
        self._channel = channel
        self._device = device
        self._entry: Callable[..., Any] | None = None
        self._artifact: Artifact | None = None
        self._arenas: dict[str, Arena] = {}
        self._sets: list[tuple[list[Any], dict[str, Any]]] = []
        self._calls: list[Callable[[], Any]] = []
        self._outputs: list[dict[str, Any]] = []
        self._volley_calls: list[tuple[Callable[[], Any], list[torch.Tensor]]] = []
        self._stopwatch: Stopwatch | None = None
        self._muting = ExitStack()
        self._kept_result: Any = None
        self._shown: list[tuple[Any, list[torch.Tensor]]] = []
        self._perf_counter_ns = time.perf_counter_ns
        self._device_synchronize = torch.cuda.synchronize

    def handle(self, request: dict[str, Any], descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Do one request; the method is named after it."""
        operations: dict[str, Callable[..., dict[str, Any]]] = {
            "load": self._load,
            "attach": self._attach,
            "run": self._run,
            "prepare": self._prepare,
            "time": self._time,
            "burst": self._burst,
            "aim": self._aim,
            "volley": self._volley,
            "wall": self._wall,
            "activity": self._activity,
            "show": self._show,
            "run_muted": self._run_muted,
            "integrity": self._integrity,
            "stock": self._stock,
            "once": self._once,
            "compile": self._compile,
        }
        # Here and not around each call, where it would be timed. Modules are built with gradients, as in the reference.
        with torch.set_grad_enabled(request["do"] == "load"):
            return operations[request.pop("do")](descriptors=descriptors, **request)

    def _load(
        self,
        descriptors: tuple[int, ...],
        artifact: dict[str, Any],
        interpret: bool,
        init: list[Any] | None,
        seed: int,
        mute: bool = False,
    ) -> dict[str, Any]:
        """Load the candidate; build its module with the reference's seed, so that the weights agree.

        With `mute`, no Triton kernel is launched in this process from before that on.
        """
        self._artifact = Artifact.model_validate(artifact)
        if self._device != "cpu":
            self._stopwatch = Stopwatch(self._device)
            self._stopwatch.forbid_persisting_l2()
            self._state_before = self._stopwatch.device_state()
            self._recorder = Recorder(self._device)
        tools = (self._stopwatch, self._recorder) if self._stopwatch is not None else ()
        self._changed = watch(_Worker, Stopwatch, Recorder, Channel, Arena, tools=tools)
        if mute:
            # Loading may import Triton anew, and what is left out must be left out of that.
            select_interpreter(interpret)
            self._muting.enter_context(muted())
        entry = get_language(self._artifact.language).load(self._artifact, interpret)
        if self._artifact.entry is EntryPoint.MODULE:
            if init is None:
                raise CandidateError(
                    Finding.WRONG_SIGNATURE,
                    "The candidate defines ModelNew, but the task is in function form.",
                    "Define kernel(...) with the reference's arguments.",
                )
            with seeded(seed):
                entry = entry(*init)
            if isinstance(entry, torch.nn.Module):
                entry = entry.to(self._device)
        self._entry = entry
        return {"loaded": True}

    def _attach(self, descriptors: tuple[int, ...], name: str, arena: dict[str, Any]) -> dict[str, Any]:
        """Map an arena; one of the same name is let go first."""
        if name in self._arenas:
            self._volley_calls = []  # What is timed lies in memory of this process.
            self._arenas.pop(name).close()
        self._arenas[name] = Arena.attach(arena, descriptors)
        return {"attached": name}

    def _bind(
        self,
        arguments: list[Any],
        keywords: dict[str, Any],
        extra: list[torch.Tensor],
        into: list[torch.Tensor] | None = None,
    ) -> Callable[[], Any]:
        """The call of the entry point, with everything that is not the candidate's own work done beforehand.

        Between two readings of the clock every line counts: with a cold cache, flattening the arguments alone took as
        long as a small kernel.

        Args:
            arguments: of the entry point.
            keywords: of it.
            extra: parameters of the reference, which come after the arguments.
            into: where a candidate that writes outputs must write them; None for new memory in every call.
        """
        assert self._entry is not None
        assert self._artifact is not None
        entry, device, empty = self._entry, self._device, torch.empty
        if self._artifact.writes_outputs:
            forms = [(form["shape"], getattr(torch, form["dtype"])) for form in self._outputs]
            plain = [*_flat(arguments), *_flat(keywords), *extra]

            def call() -> Any:
                outputs = [empty(shape, dtype=dtype, device=device) for shape, dtype in forms]
                entry(*plain, *outputs)
                return outputs

            def write() -> Any:
                entry(*plain, *(into or ()))

            return call if into is None else write
        if self._artifact.entry is EntryPoint.MODULE:
            return partial(entry, *arguments, **keywords)
        return partial(entry, *arguments, *extra, **keywords)

    def _run(
        self, descriptors: tuple[int, ...], inputs: dict[str, Any], outputs: list[dict[str, Any]], mute: bool = False
    ) -> dict[str, Any]:
        """Run once on the inputs in the arena, with every uninitialised tensor poisoned; hand the outputs over.

        Args:
            descriptors: none.
            inputs: where they are in the arena `inputs`.
            outputs: shape, stride and dtype the reference's outputs have.
            mute: let no Triton kernel run. A right answer then shows that they are decoration.
        """
        self._outputs = outputs
        arguments, keywords, extra = rebuild(inputs, self._arenas["inputs"])
        with _Poison() as watched, muted() if mute else nullcontext():
            result = self._bind(arguments, keywords, extra)()
        self._synchronize()
        handed = [*_tensors((arguments, keywords)), *extra]
        seen = [[name, elements, times] for (name, elements), times in watched.seen.items()]
        return {"outputs": self._hand_over(result, handed), "operators": seen[:_OPERATORS]}

    def _run_muted(
        self, descriptors: tuple[int, ...], inputs: dict[str, Any], outputs: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """`_run`, on a GPU, with launches of Triton kernels left out; with the driver's records of what ran even so.

        A right answer then shows that the kernels are decoration, unless they ran after all, in a graph say.
        """
        reply: dict[str, Any] = {}

        def run() -> None:
            reply.update(self._run((), inputs, outputs, mute=True))

        records = self._recorder.record(run)
        return {**reply, "records": records}

    def _hand_over(self, result: Any, inputs: list[torch.Tensor]) -> list[dict[str, Any]]:
        """Copy outputs into the arena `outputs`; describe each as it was returned."""
        described, offset = [], 0
        arena = self._arenas["outputs"]
        taken = [_span(tensor) for tensor in inputs if tensor.numel()]
        for value in _returned(result):
            if type(value) in (bool, int, float):
                value = torch.tensor(value)
            # By the exact type, before anything of the value's own is called: a subclass could do its work only now.
            if type(value) not in (torch.Tensor, torch.nn.Parameter):
                described.append({"type": type(value).__name__})
                continue
            value = value.detach()
            nbytes = value.numel() * value.element_size()
            entry: dict[str, Any] = {
                "type": "Tensor",
                "shape": list(value.shape),
                "stride": list(value.stride()) if value.layout == torch.strided else None,
                "dtype": str(value.dtype).removeprefix("torch."),
                "device": value.device.type,
                "aliases": value.numel() > 0 and any(_overlap(_span(value), span) for span in taken),
            }
            described.append(entry)
            if offset + aligned(nbytes) > arena.nbytes or entry["stride"] is None:
                continue
            view = arena.tensor(offset, value.shape, dense_strides(value.shape), value.dtype)
            view.copy_(value)
            entry["offset"] = offset
            offset += aligned(nbytes)
        self._synchronize()
        return described

    def _prepare(
        self, descriptors: tuple[int, ...], inputs: dict[str, Any], outputs: list[dict[str, Any]], copies: int
    ) -> dict[str, Any]:
        """Copy the inputs out of the arena into memory of this process, several times, for timing."""
        self._outputs = outputs
        self._place([rebuild(inputs, self._arenas["inputs"])] * copies)
        if self._stopwatch is None:
            self._stopwatch = Stopwatch(self._device)
        self._timed_call(0)
        self._synchronize()
        began = self._perf_counter_ns()
        self._timed_call(1)
        self._synchronize()
        return {"first_ms": (self._perf_counter_ns() - began) / 1e6}

    def _place(self, sets: list[tuple[list[Any], dict[str, Any], list[torch.Tensor]]]) -> None:
        """Copy inputs into memory of this process, for calls that are timed."""
        self._sets = [remake(([*arguments, *extra], keywords), torch.clone) for arguments, keywords, extra in sets]
        split = len(sets[0][0])
        self._calls = [self._bind(mine[:split], words, mine[split:]) for mine, words in self._sets]

    def _timed_call(self, index: int) -> Any:
        return self._calls[index % len(self._calls)]()

    def _time(
        self, descriptors: tuple[int, ...], count: int, keep: bool, sets: list[dict[str, Any]] | None = None
    ) -> dict[str, Any]:
        """Time single calls, after one that is not counted; with `keep`, hand over what the last one gave.

        Args:
            descriptors: none.
            count: how many calls.
            keep: whether an output is wanted.
            sets: where inputs lie that were not there before: one set to warm up with, and one for each call. None to
                go on with those of `prepare`.
        """
        assert self._stopwatch is not None
        if sets is not None:
            warm_up, *timed = [rebuild(description, self._arenas["inputs"]) for description in sets]
            self._place([*timed, warm_up])
        self._timed_call(-1)
        times, last = self._stopwatch.time_calls(self._timed_call, count)
        reply: dict[str, Any] = {"times_ms": times}
        if keep:
            arguments, keywords = self._sets[(count - 1) % len(self._sets)]
            reply["outputs"] = self._hand_over(last, _tensors((arguments, keywords)))
        return reply

    def _burst(self, descriptors: tuple[int, ...], count: int) -> dict[str, Any]:
        """Call, each time waiting for the whole device. The judge times this from outside.

        Waiting only at the end would let work on streams of the candidate's own overlap from call to call.
        """
        for index in range(count):
            self._timed_call(index)
            self._synchronize()
        return {}

    def _aim(
        self, descriptors: tuple[int, ...], sets: list[dict[str, Any]], outputs: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Learn where the inputs of a volley will lie, and where its outputs must go; touch all of it, so that no page
        is missing when it counts."""
        assert self._artifact is not None
        self._outputs = outputs
        forms = [(form["shape"], getattr(torch, form["dtype"])) for form in outputs]
        self._volley_calls = []
        for number, description in enumerate(sets):
            arguments, keywords, extra = rebuild(description, self._arenas["inputs"])
            for tensor in [*_tensors((arguments, keywords)), *extra]:
                tensor.clone()
            views = output_views(self._arenas["outputs"], number, forms)
            for view in views:
                poison(view)
            call = self._bind(arguments, keywords, extra, views)
            self._volley_calls.append((call, [] if self._artifact.writes_outputs else views))
        return {}

    def _volley(self, descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Call once on each set of inputs and hand over every output that is not where it belongs already. The judge
        times this from outside."""
        for call, views in self._volley_calls:
            for view, value in zip(views, _returned(call()), strict=True):
                view.copy_(value) if isinstance(value, torch.Tensor) else view.fill_(value)
        return {}

    def _wall(self, descriptors: tuple[int, ...], count: int) -> dict[str, Any]:
        assert self._stopwatch is not None
        return {"times_ms": self._stopwatch.wall_ms(self._timed_call, count)}

    def _activity(self, descriptors: tuple[int, ...], count: int, sets: list[dict[str, Any]]) -> dict[str, Any]:
        """The device work of several calls, each with a cold cache: on the inputs that are timed, or on ones not seen
        before, whose outputs are kept for `show`."""
        known: list[Callable[[], Any]] = [partial(self._timed_call, index) for index in range(count)]
        records = [self._cold_record(call) for call in known]
        for description in sets:
            arguments, keywords, extra = rebuild(description, self._arenas["inputs"])
            mine, words = remake(([*arguments, *extra], keywords), torch.clone)
            split = len(arguments)
            records.append(self._cold_record(self._bind(mine[:split], words, mine[split:])))
            self._shown.append((self._kept_result, _tensors((mine, words))))
        self._kept_result = None
        return {"calls": records}

    def _cold_record(self, call: Callable[[], Any]) -> list[Record]:
        assert self._stopwatch is not None
        self._kept_result = None
        self._stopwatch.flush()
        return self._recorder.record(partial(self._keep, call))

    def _show(self, descriptors: tuple[int, ...], number: int) -> dict[str, Any]:
        """Hand over what one of the new calls of `activity` gave; the others are let go."""
        result, inputs = self._shown[number]
        self._shown = []
        return {"outputs": self._hand_over(result, inputs)}

    def _stock(
        self, descriptors: tuple[int, ...], inputs: dict[str, Any], outputs: list[dict[str, Any]]
    ) -> dict[str, Any]:
        """Copy one set of inputs out of the arena for the next `once`, and leave nothing of it in the cache."""
        self._outputs = outputs
        self._place([rebuild(inputs, self._arenas["inputs"])])
        if self._stopwatch is None:
            self._stopwatch = Stopwatch(self._device)
        self._kept_result = None
        self._stopwatch.flush()
        self._synchronize()
        return {}

    def _once(self, descriptors: tuple[int, ...], call: bool = True) -> dict[str, Any]:
        """Call once on what was stocked and hand the outputs over, all before answering: the judge takes the time.

        Without `call` the outputs of the call before are handed over again, which shows what handing over takes. On a
        GPU the driver's records of the call come along.
        """
        reply: dict[str, Any] = {}
        if call and self._device == "cpu":
            self._kept_result = self._timed_call(0)
        elif call:
            reply["records"] = self._recorder.record(partial(self._keep, self._calls[0]))
        arguments, keywords = self._sets[0]
        reply["outputs"] = self._hand_over(self._kept_result, _tensors((arguments, keywords)))
        return reply

    def _keep(self, call: Callable[[], Any]) -> None:
        self._kept_result = call()

    def _integrity(self, descriptors: tuple[int, ...]) -> dict[str, Any]:
        """Functions of the harness that were replaced since the candidate was loaded, settings of the driver that are
        not what they were."""
        settings = []
        if self._device != "cpu":
            assert self._stopwatch is not None
            now = self._stopwatch.device_state()
            settings = [
                f"{name}: {before[1]} before, {now[name][1]} now (code {now[name][0]})"
                for name, before in self._state_before.items()
                if now[name] != before
            ]
        changed = [*self._changed(), *shadows(self, self._channel, *self._arenas.values())]
        return {"changed": changed, "settings": settings}

    def _stand_ins(self, inputs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Tensors in the shape of the inputs: what a compile needs to know.

        They hold zeros, which cost no memory until somebody touches them, so that an entry point may look at values;
        past a gigabyte they hold nothing.
        """
        sizes = [
            math.prod(entry["tensor"][1]) * getattr(torch, entry["tensor"][3]).itemsize
            for entry in (*inputs["leaves"], *inputs["extra"])
            if "tensor" in entry
        ]
        device = "cpu" if sum(sizes) < _STAND_IN_BYTES else "meta"

        class _Shapes:
            @staticmethod
            def tensor(start: int, shape: list[int], strides: list[int], dtype: torch.dtype) -> torch.Tensor:
                span = (
                    1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True)) if all(shape) else 0
                )
                return torch.zeros(span, dtype=dtype, device=device).as_strided(shape, strides)

        arguments, keywords, extra = rebuild(inputs, _Shapes)  # type: ignore[arg-type]
        assert self._artifact is not None
        if self._artifact.entry is EntryPoint.MODULE:
            extra = []
        return [*arguments, *extra], keywords

    def _compile(
        self, descriptors: tuple[int, ...], inputs: dict[str, Any], targets: list[str], code: bool = False
    ) -> dict[str, Any]:
        """Cross-compile every Triton kernel the candidate launches for these inputs; say what each takes.

        Args:
            descriptors: none.
            inputs: shapes of the inputs.
            targets: platform names.
            code: also hand over what the compiler made of each kernel, stage by stage.
        """
        from kernelevolve.evaluation.languages.triton_launches import compile_all, kernel_code
        from kernelevolve.evaluation.platforms.artifacts import read_resources

        assert self._entry is not None
        arguments, keywords = self._stand_ins(inputs)
        compiled: dict[str, Any] = {}
        notes: list[str] = []
        results = compile_all(self._entry, tuple(arguments), keywords, targets)
        for target, kernels in results.items():
            failed = next((kernel for kernel in kernels if isinstance(kernel, KernelEvolveError)), None)
            if failed is not None:
                compiled[target] = {
                    "failed": failed.summary,
                    "advice": failed.advice,
                    "finding": failed.finding,
                    "log": failed.log,
                }
                continue
            built = [kernel for kernel in kernels if not isinstance(kernel, KernelEvolveError)]
            compiled[target] = {"resources": [read_resources(kernel).model_dump(mode="json") for kernel in built]}
            if code:
                compiled[target]["code"] = [kernel_code(kernel).model_dump(mode="json") for kernel in built]
            notes.extend(note for kernel in built for note in kernel.launch.notes)
        return {
            "compiled": compiled,
            "launches": max(map(len, results.values()), default=0),
            "notes": sorted(set(notes)),
        }

    def _synchronize(self) -> None:
        if self._device != "cpu":
            self._device_synchronize()


def _returned(value: Any) -> list[Any]:
    """The leaves of what an entry point returned. Only plain containers are opened: others may run code then."""
    if value is None:
        return []
    if type(value) in (list, tuple):
        return [leaf for item in value for leaf in _returned(item)]
    if type(value) is dict:
        return [leaf for item in value.values() for leaf in _returned(item)]
    return [value]


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """First address of a tensor's elements, and the one behind the last."""
    if tensor.layout != torch.strided:
        return 0, 0
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), tensor.data_ptr() + (last + 1) * tensor.element_size()


def _overlap(left: tuple[int, int], right: tuple[int, int]) -> bool:
    return left[0] < right[1] and right[0] < left[1]


def _flat(value: Any) -> list[Any]:
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(value) if leaf is not None]


def _tensors(value: Any) -> list[torch.Tensor]:
    return [leaf for leaf in _flat(value) if isinstance(leaf, torch.Tensor)]
