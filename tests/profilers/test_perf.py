"""Linux perf: what it can do here, what its output means, and what is said where it can't be used."""

from __future__ import annotations

import os
import platform
import shutil
import struct
import sys
from pathlib import Path

import pytest

from kernelevolve.evaluation.candidate import Candidate
from kernelevolve.evaluation.languages.cpp import CppLanguage
from kernelevolve.evaluation.languages.cpp_code import kernel_code
from kernelevolve.evaluation.platform import get_platform
from kernelevolve.profilers.perf import PerfProfiler, ability_from, perf_ability, perf_record, perf_stat, stat_command
from kernelevolve.profilers.perf_control import CONTROL_VARIABLE, PerfControl, control_channel
from kernelevolve.profilers.perf_output import per_call, read_samples, read_stat
from kernelevolve.profilers.report import PartState
from kernelevolve.profilers.subject import Subject

needs_perf = pytest.mark.skipif(perf_ability().state is PartState.MISSING, reason=perf_ability().why or "perf is here")

BURN = """
import time
from kernelevolve.profilers.perf_control import PerfControl
def burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
control = PerfControl.from_environment()
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", BURN + program]


# -- the real one -----------------------------------------------------------------------------------------------------


@needs_perf
def test_only_the_stretch_between_enable_and_disable_is_counted() -> None:
    work = "burn(1.0)\ncontrol.enable()\nburn(0.2)\ncontrol.disable()\nburn(1.0)\ncontrol.enable()\ncontrol.disable()"
    result = perf_stat(python(work), {}, 60.0)
    assert result.state in (PartState.DONE, PartState.PARTIAL), result.why
    assert 0.19 < result.metrics["task_clock"].value < 0.6  # CPU time, which a busy machine does not stretch.
    assert 0.0 < result.metrics["cpu_utilisation"].value <= 1.05


@needs_perf
def test_page_faults_are_counted() -> None:
    touch = "pages = 4000\ncontrol.enable()\nmemory = b'x' * (pages * 4096)\ncontrol.disable()"
    many = perf_stat(python(touch), {}, 60.0).metrics["page_faults"].value
    few = perf_stat(python(touch.replace("4000", "1")), {}, 60.0).metrics["page_faults"].value
    assert few < many  # Huge pages may make it few, but not as few as for one page.


@needs_perf
def test_samples_are_of_the_stretch() -> None:
    result = perf_record(python("burn(1.0)\ncontrol.enable()\nburn(0.3)\ncontrol.disable()\nburn(1.0)"), {}, 60.0)
    assert result.state is PartState.DONE, result.why
    assert 30 < result.metrics["samples"].value < 1500  # 600 at the full rate; 4,600 if the whole run were sampled.
    shares = [metric.value for name, metric in result.metrics.items() if name.startswith("sample_share.")]
    assert sum(shares) == pytest.approx(1.0)


@needs_perf
def test_a_process_that_fails_is_told() -> None:
    result = perf_stat(python("control.enable()\nraise SystemExit('no such luck')"), {}, 60.0)
    assert result.state is PartState.FAILED
    assert "code 1" in result.why
    assert "no such luck" in result.output


@needs_perf
def test_a_process_that_takes_too_long_is_ended() -> None:
    result = perf_record(python("time.sleep(600)"), {}, 2.0)
    assert result.state is PartState.FAILED
    assert "longer than 2 s" in result.why


@needs_perf
def test_a_process_that_never_enables_has_nothing_counted() -> None:
    assert perf_record(python("burn(0.1)"), {}, 60.0).state is PartState.FAILED


SOURCE = """// kernelevolve: flags -O3
#include <cmath>
void kernel(TensorView x, TensorView out) {
  const float* from = static_cast<const float*>(x.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  const int64_t n = x.numel();
  for (int64_t i = 0; i < n; ++i)
    to[i] = 2.0f * from[i] + 1.0f;
  float slow = 1.0f;
  for (int64_t i = 0; i < 40 * n; ++i)
    slow = slow / 1.5f + from[0];
  to[0] = slow;
}
"""
SLOW_LINE = 11


@needs_perf
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump (binutils) is not here")
def test_samples_fall_on_the_line_that_takes_the_time(tmp_path: Path) -> None:
    candidate = Candidate(language="cpp", source=SOURCE)
    plain, lined = tmp_path / "plain", tmp_path / "lined"
    plain.mkdir()
    lined.mkdir()
    artifact = CppLanguage().build(candidate, get_platform("cpu"), plain, 60.0)
    assert artifact.library is not None
    (code,) = kernel_code(candidate, lined, 60.0)
    work = f"""
import torch, tvm_ffi
call = tvm_ffi.load_module({str(artifact.library)!r}).kernel
x, y = torch.randn(20_000), torch.empty(20_000)
call(x, y)
control.enable()
for _ in range(100):
    call(x, y)
control.disable()
"""
    result = perf_record(python(work), {}, 120.0, artifact.library.name, code.stages["assembly"])
    assert result.state is PartState.DONE, result.why
    assert next(iter(result.lines)) in (SLOW_LINE, SLOW_LINE - 1)
    assert sum(share for line, share in result.lines.items() if line in (SLOW_LINE, SLOW_LINE - 1)) > 0.7
    assert result.metrics["sample_share.candidate"].value > 0.7
    assert result.notes == ()


@needs_perf
@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump (binutils) is not here")
def test_the_profiler_counts_and_samples_a_candidate(tmp_path: Path, scale_task: Path) -> None:
    candidate, lined = Candidate(language="cpp", source=SOURCE), tmp_path / "lined"
    lined.mkdir()
    subject = Subject(
        task=str(scale_task),
        candidate=candidate,
        platform=get_platform("cpu"),
        case="small",
        dtype="float32",
        folder=tmp_path / "profile",
        compile_code=lambda: kernel_code(candidate, lined, 60.0),
    )
    assert PerfProfiler().missing(subject.platform) == ""
    seen = PerfProfiler().observe(subject)
    assert seen.state in (PartState.DONE, PartState.PARTIAL), seen.why
    (kernel,) = seen.kernels
    # Of one call, which takes microseconds; the stretch is a second.
    assert 0.0 < kernel.metrics["task_clock"].value < 0.1
    assert next(iter(kernel.lines)) in (SLOW_LINE, SLOW_LINE - 1)


def test_it_is_for_the_cpu_alone() -> None:
    assert "cpu" in PerfProfiler.families
    assert "not cuda" in PerfProfiler().missing(get_platform("cuda:sm_90"))


# -- where it can't be used -------------------------------------------------------------------------------------------


def test_without_perf_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for result in (perf_stat(["true"], {}, 5.0), perf_record(["true"], {}, 5.0)):
        assert result.state is PartState.MISSING
        assert "linux-perf" in result.why
        assert platform.release() in result.why


def stand_in(folder: Path, script: str) -> None:
    """A `perf` that does what the script says."""
    (folder / "perf").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "perf").chmod(0o755)


def test_ubuntus_script_without_the_kernels_perf_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, 'echo "WARNING: perf not found for kernel 6.5.0-15" >&2; exit 2')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    ability = perf_ability()
    assert ability.state is PartState.MISSING
    assert "not for the running kernel" in ability.why
    assert f"linux-tools-{platform.release()}" in ability.why


def test_an_old_perf_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(tmp_path, 'echo "  Error: unknown switch \\`j\'" >&2; exit 129')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "older than 5.19" in perf_ability().why


_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
needs_filter = pytest.mark.skipif(
    shutil.which("perf") is None or platform.machine() not in _PERF_EVENT_OPEN, reason="needs perf and a known syscall"
)


def refuse_perf_event_open(folder: Path, error: int) -> None:
    """A `perf` under a system call filter, as containers have it: the real one, refused by the real kernel."""
    load, jump_if_equal, answer = 0x20, 0x15, 0x06  # BPF: linux/bpf_common.h; answers: linux/seccomp.h.
    rules = [
        (load, 0, 0, 0),
        (jump_if_equal, 0, 1, _PERF_EVENT_OPEN[platform.machine()]),
        (answer, 0, 0, 0x0005_0000 | error),
        (answer, 0, 0, 0x7FFF_0000),
    ]
    program = b"".join(struct.pack("HBBI", *rule) for rule in rules)
    stand_in(folder, f'exec {sys.executable} {folder}/filter.py {shutil.which("perf")} "$@"')
    (folder / "filter.py").write_text(
        "import ctypes, os, sys\n"
        f"rules = ctypes.create_string_buffer({program!r})\n"
        "class Filter(ctypes.Structure):\n"
        "    _fields_ = [('length', ctypes.c_ushort), ('rules', ctypes.c_void_p)]\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.prctl(38, 1, 0, 0, 0)\n"  # PR_SET_NO_NEW_PRIVS
        f"wanted = Filter({len(rules)}, ctypes.addressof(rules))\n"
        "done = libc.prctl(22, 2, ctypes.byref(wanted), 0, 0)\n"  # PR_SET_SECCOMP
        "assert done == 0, os.strerror(ctypes.get_errno())\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )


@needs_filter
@pytest.mark.parametrize(("error", "said"), [(1, "--cap-add PERFMON"), (13, "--cap-add PERFMON"), (38, "gVisor")])
def test_a_refusal_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, said: str) -> None:
    refuse_perf_event_open(tmp_path, error)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    paranoid = Path("/proc/sys/kernel/perf_event_paranoid").read_text().strip()
    result = perf_stat(["true"], {}, 20.0)
    assert result.state is PartState.MISSING
    assert said in result.why or (error != 38 and int(paranoid) > 2 and "perf_event_paranoid" in result.why)
    assert PerfProfiler().missing(get_platform("cpu")) == result.why


def test_a_paranoid_kernel_says_which_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "perf_event_paranoid").write_text("4\n")
    monkeypatch.setattr("kernelevolve.profilers.perf._SYSCTL", tmp_path)
    refused = "Error:\nAccess to performance monitoring and observability operations is limited.\n"
    ability = ability_from(refused, 255)
    assert ability.state is PartState.MISSING
    assert "kernel.perf_event_paranoid is 4" in ability.why
    assert "sysctl kernel.perf_event_paranoid=2" in ability.why


def test_outside_of_perf_the_control_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONTROL_VARIABLE, raising=False)
    with pytest.raises(RuntimeError, match="perf_stat"):
        PerfControl.from_environment()


def test_a_control_whose_perf_is_gone_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernelevolve.profilers.perf_control._ACKNOWLEDGEMENT_LIMIT_S", 0.05)
    with control_channel() as channel:
        control = PerfControl(*map(int, channel.environment[CONTROL_VARIABLE].split(",")))
        with pytest.raises(RuntimeError, match="did not acknowledge 'enable'"):
            control.enable()


@pytest.mark.parametrize(
    ("said", "seconds"), [(b"0.5\n0.25\n", 0.75), (b"", 0.0), (b"nan\ninf\n-3\nnonsense\xff\n1e999\n2.0\n", 2.0)]
)
def test_the_length_of_the_stretches_is_a_claim(said: bytes, seconds: float) -> None:
    with control_channel() as channel:
        if said:
            os.write(int(channel.environment[CONTROL_VARIABLE].split(",")[2]), said)
        assert channel.seconds() == pytest.approx(seconds)


# -- output of other machines -----------------------------------------------------------------------------------------


def count(event: str, value: str, share: float = 100.0, unit: str = "") -> str:
    return (
        f'{{"counter-value" : "{value}", "unit" : "{unit}", "event" : "{event}", "event-runtime" : 901337, '
        f'"pcnt-running" : {share:.2f}, "metric-value" : 0.000000, "metric-unit" : ""}}'
    )


HARDWARE = "\n".join([
    "# started on Sat Nov 28 07:05:24 2026", "",
    count("cycles", "4000000000.000000", 80.01), count("instructions", "10000000000.000000", 80.01),
    count("branches", "1000000000.000000", 60.0), count("branch-misses", "20000000.000000", 60.0),
    count("L1-dcache-loads", "3000000000.000000", 60.0), count("L1-dcache-load-misses", "300000000.000000", 60.0),
    count("LLC-loads", "100000000.000000", 60.0), count("LLC-load-misses", "50000000.000000", 60.0),
    count("cache-references", "200000000.000000", 60.0), count("cache-misses", "20000000.000000", 60.0),
    count("dTLB-loads", "3000000000.000000", 60.0), count("dTLB-load-misses", "3000000.000000", 60.0),
    count("task-clock", "2000.500000", unit="msec"), count("context-switches", "12.000000"),
    count("cpu-migrations", "3.000000"), count("page-faults", "456.000000"),
])  # fmt: skip
"""In the format of perf 6.1, with round numbers."""

# perf 6.1.187 in a virtual machine without a PMU.
NO_HARDWARE = """\
{"counter-value" : "<not supported>", "unit" : "", "event" : "cycles", "event-runtime" : 0, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : ""}
{"counter-value" : "<not supported>", "unit" : "", "event" : "instructions", "event-runtime" : 0, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : ""}
{"counter-value" : "0.918901", "unit" : "msec", "event" : "task-clock", "event-runtime" : 918901, "pcnt-running" : 100.00, "metric-value" : 0.008977, "metric-unit" : "CPUs utilized"}
{"counter-value" : "2.000000", "unit" : "", "event" : "context-switches", "event-runtime" : 918901, "pcnt-running" : 100.00, "metric-value" : 2.176513, "metric-unit" : "K/sec"}
{"counter-value" : "76.000000", "unit" : "", "event" : "page-faults", "event-runtime" : 918901, "pcnt-running" : 100.00, "metric-value" : 82.707495, "metric-unit" : "K/sec"}
"""  # noqa: E501
# The same for a user without privileges, at kernel.perf_event_paranoid=2.
USER_ONLY = """\
{"counter-value" : "<not supported>", "unit" : "", "event" : "cycles:u", "event-runtime" : 0, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : ""}
{"counter-value" : "0.772802", "unit" : "msec", "event" : "task-clock:u", "event-runtime" : 772802, "pcnt-running" : 100.00, "metric-value" : 0.007605, "metric-unit" : "CPUs utilized"}
{"counter-value" : "0.000000", "unit" : "", "event" : "context-switches:u", "event-runtime" : 772802, "pcnt-running" : 100.00, "metric-value" : 0.000000, "metric-unit" : "/sec"}
{"counter-value" : "70.000000", "unit" : "", "event" : "page-faults:u", "event-runtime" : 772802, "pcnt-running" : 100.00, "metric-value" : 90.579476, "metric-unit" : "K/sec"}
"""  # noqa: E501


def test_counts_of_a_machine_with_hardware_counters() -> None:
    result = read_stat(HARDWARE, seconds=1.0, cores=4, vendor="GenuineIntel")
    values = {name: round(metric.value, 6) for name, metric in result.metrics.items()}
    assert values == {
        "cycles": 4e9, "instructions": 1e10, "ipc": 2.5, "branch_miss_rate": 0.02, "cache_miss_rate.l1": 0.1,
        "cache_miss_rate.llc": 0.5, "tlb_miss_rate": 0.001, "task_clock": 2.0005, "cpu_utilisation": 0.500125,
        "context_switches": 12.0, "cpu_migrations": 3.0, "page_faults": 456.0,
    }  # fmt: skip
    assert result.metrics["ipc"].raw == "instructions / cycles"
    assert result.metrics["task_clock"].unit == "s"
    assert "cycles was counted 80% of the time" in result.notes[0]
    assert "task-clock was" not in result.notes[0]


def test_generic_cache_events_are_named_for_the_cache_that_they_count() -> None:
    without_llc = "\n".join(line for line in HARDWARE.splitlines() if "LLC" not in line)
    assert read_stat(without_llc, 1.0, 1, "GenuineIntel").metrics["cache_miss_rate.llc"].value == pytest.approx(0.1)
    amd = read_stat(without_llc, 1.0, 1, "AuthenticAMD").metrics
    assert amd["cache_miss_rate.l2"].value == pytest.approx(0.1)
    assert "cache_miss_rate.llc" not in amd
    assert not {"cache_miss_rate.llc", "cache_miss_rate.l2"} & set(read_stat(without_llc, 1.0, 1, "").metrics)


def test_two_kinds_of_cores_are_added_up() -> None:
    text = "\n".join([
        count("cpu_core/cycles/", "300.0", 70.0), count("cpu_atom/cycles/", "100.0", 30.0),
        count("cpu_core/instructions/u", "600.0"), count("cpu_atom/instructions/u", "<not counted>"),
    ])  # fmt: skip
    result = read_stat(text, 1.0, 1)
    assert result.metrics["ipc"].value == pytest.approx(1.5)
    assert any("user code alone" in note for note in result.notes)


def test_counts_of_one_call() -> None:
    metrics = per_call(read_stat(HARDWARE, 1.0, 4, "GenuineIntel").metrics, 10)
    assert metrics["page_faults"].value == pytest.approx(45.6)
    assert metrics["task_clock"].value == pytest.approx(0.20005)
    assert metrics["ipc"].value == 2.5


def test_a_machine_without_hardware_counters() -> None:
    ability = ability_from(NO_HARDWARE, 0)
    assert ability.state is PartState.PARTIAL
    assert "no hardware counters" in ability.why
    assert "pmu=on" in ability.why
    command = stat_command(ability, Path("out"))
    assert command[command.index("-e") + 1] == "task-clock,context-switches,page-faults"


def test_a_user_without_privileges_is_not_told_of_zero_context_switches() -> None:
    ability = ability_from(USER_ONLY, 0)
    assert ability.user_only
    assert ability.events == {"task-clock", "page-faults"}


def test_an_event_that_had_no_turn_in_a_short_run_is_supported() -> None:
    short = HARDWARE.replace('"3000000.000000"', '"<not counted>"')
    assert "dTLB-load-misses" in ability_from(short, 0).events
    assert "tlb_miss_rate" not in read_stat(short, 1.0, 1).metrics


def test_all_events_in_groups() -> None:
    ability = ability_from(HARDWARE, 0)
    assert (ability.state, ability.why) == (PartState.DONE, "")
    assert "{cycles,instructions},{branches,branch-misses}," in stat_command(ability, Path("out"))[-1]


@pytest.mark.parametrize(("left_out", "state"), [("LLC", PartState.DONE), ("dTLB", PartState.PARTIAL)])
def test_one_kind_of_last_level_events_is_enough(left_out: str, state: PartState) -> None:
    ability = ability_from("\n".join(line for line in HARDWARE.splitlines() if left_out not in line), 0)
    assert ability.state is state
    assert (left_out in ability.why) == (state is PartState.PARTIAL)


@pytest.mark.parametrize(
    "text", ["", "{", '{"event" : 3}', '{"counter-value" : "1e999", "event" : "cycles"}', "[1]\n{}"]
)
def test_output_that_makes_no_sense_counts_nothing(text: str) -> None:
    assert read_stat(text, 1.0, 1).state is PartState.FAILED


ASSEMBLY = """\
0000000000401000 <kernel(tvm::ffi::TensorView)> (File Offset: 0x1000):
kernel.cpp:7
  401000:	addss  %xmm1,%xmm0
  401004:	ret
"""
SCRIPT = """\
    0 PERF_RECORD_MMAP -1/0: [0xffffffff81000000(0x120bb08) @ 0xffffffff81000000]: x [kernel.kallsyms]_text
   77 PERF_RECORD_MMAP2 77/77: [0x7f0000000000(0x4000) @ 0x1000 fe:00 26723 0]: r-xp /scratch/old name.so
   77 PERF_RECORD_MMAP2 77/77: [0x7f0000000000(0x2000) @ 0x1000 fe:00 26723 0]: r-xp /scratch/abc.so
   77 PERF_RECORD_MMAP2 77/78: [0x7f0000010000(0x2000) @ 0 fe:00 26724 0]: r-xp /usr/lib/libgomp.so.1.0.0
   77 PERF_RECORD_MMAP2 77/78: [0x7f0000020000(0x2000) @ 0x1000 fe:00 26725 0]: r-xp /usr/lib/x86_64-linux-gnu/libm.so.6
   77     7f0000000000
   77     7f0000000000
   77     7f0000000004
   77     7f0000001004
   77     7f0000003000
   77     7f0000010004
   77     7f0000020004
   77 ffffffff81000040
   99     7f0000000000
   77     7fff00000000
"""


def test_samples_of_recorded_mappings() -> None:
    result = read_samples(SCRIPT, frozenset({"abc.so"}), ASSEMBLY)
    assert result.lines == {7: 0.3}
    shares = {name.split(".")[1]: metric.value for name, metric in result.metrics.items() if "." in name}
    assert shares == {"candidate": 0.4, "openmp": 0.1, "math": 0.1, "system": 0.1, "other": 0.3}
    assert result.metrics["samples"].value == 10


def test_code_that_does_not_fit_is_noted() -> None:
    result = read_samples(SCRIPT, frozenset({"abc.so"}), ASSEMBLY.replace("0x1000", "0x9000"))
    assert result.lines == {}
    assert "no sample" in result.notes[0]


def test_no_samples_is_a_failure() -> None:
    assert read_samples(SCRIPT.split("   77     7f")[0]).state is PartState.FAILED
