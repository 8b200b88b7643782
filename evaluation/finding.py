"""What went wrong with a candidate or a task, as a small closed vocabulary."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The judge's word on one candidate (DESIGN 4.4)."""

    CORRECT = "correct"
    WRONG = "wrong"
    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    TIMEOUT = "timeout"
    RULE_VIOLATION = "rule_violation"
    REWARD_HACK = "reward_hack"
    UNSUPPORTED = "unsupported"
    HARNESS_ERROR = "harness_error"


class Finding(StrEnum):
    """The precise kind of failure inside a status. One finding belongs to one status (`STATUS_OF`)."""

    # wrong
    WRONG_VALUES = "wrong_values"
    WRONG_SPECIAL_VALUES = "wrong_special_values"
    WRONG_ON_STRIDED_INPUT = "wrong_on_strided_input"
    WRONG_ON_OFFSET_INPUT = "wrong_on_offset_input"
    WRONG_SHAPE = "wrong_shape"
    WRONG_DTYPE = "wrong_dtype"
    WRONG_TYPE = "wrong_type"
    WRONG_OUTPUT_COUNT = "wrong_output_count"
    WRONG_DEVICE = "wrong_device"
    OUTPUT_NOT_WRITTEN = "output_not_written"
    INPUT_MODIFIED = "input_modified"
    OUTPUT_ALIASES_INPUT = "output_aliases_input"
    WRONG_AFTER_TIMING = "wrong_after_timing"
    NOT_DETERMINISTIC = "not_deterministic"
    # compile_error
    SYNTAX_ERROR = "syntax_error"
    IMPORT_ERROR = "import_error"
    COMPILER_ERROR = "compiler_error"
    COMPILER_TIMEOUT = "compiler_timeout"
    # runtime_error
    EXCEPTION = "exception"
    SEGMENTATION_FAULT = "segmentation_fault"
    ILLEGAL_MEMORY_ACCESS = "illegal_memory_access"
    OUT_OF_MEMORY = "out_of_memory"
    PROCESS_DIED = "process_died"
    RESOURCE_LIMIT = "resource_limit"
    # timeout
    TIME_LIMIT = "time_limit"
    # rule_violation
    MISSING_ENTRY_POINT = "missing_entry_point"
    WRONG_SIGNATURE = "wrong_signature"
    FORBIDDEN_CONSTRUCT = "forbidden_construct"
    # reward_hack
    FASTER_THAN_HARDWARE = "faster_than_hardware"
    NO_DEVICE_WORK = "no_device_work"
    KERNELS_CHANGE = "kernels_change"
    CLOCK_DISAGREES = "clock_disagrees"
    RESULT_FORGED = "result_forged"
    HARNESS_CHANGED = "harness_changed"
    ANSWER_REUSED = "answer_reused"
    BORROWED_KERNELS = "borrowed_kernels"
    DEVICE_STATE_CHANGED = "device_state_changed"
    # unsupported
    LANGUAGE_ON_PLATFORM = "language_on_platform"
    COMPILER_MISSING = "compiler_missing"
    DEVICE_MISSING = "device_missing"
    NOT_CHECKABLE = "not_checkable"
    # harness_error: the candidate is not to blame
    UNKNOWN_PLATFORM = "unknown_platform"
    UNKNOWN_LANGUAGE = "unknown_language"
    TASK_UNREADABLE = "task_unreadable"
    TASK_WITHOUT_INPUTS = "task_without_inputs"
    TASK_FAILS = "task_fails"
    TASK_WEAK = "task_weak"
    DEVICE_BUSY = "device_busy"
    SANDBOX_MISSING = "sandbox_missing"
    EXECUTION_OFF = "execution_off"
    INTERNAL = "internal"


def _statuses() -> dict[Finding, Status]:
    groups = {
        Status.WRONG: "WRONG_VALUES WRONG_SPECIAL_VALUES WRONG_ON_STRIDED_INPUT WRONG_ON_OFFSET_INPUT WRONG_SHAPE "
        "WRONG_DTYPE WRONG_TYPE WRONG_OUTPUT_COUNT WRONG_DEVICE OUTPUT_NOT_WRITTEN INPUT_MODIFIED "
        "OUTPUT_ALIASES_INPUT WRONG_AFTER_TIMING NOT_DETERMINISTIC",
        Status.COMPILE_ERROR: "SYNTAX_ERROR IMPORT_ERROR COMPILER_ERROR COMPILER_TIMEOUT",
        Status.RUNTIME_ERROR: "EXCEPTION SEGMENTATION_FAULT ILLEGAL_MEMORY_ACCESS OUT_OF_MEMORY PROCESS_DIED "
        "RESOURCE_LIMIT",
        Status.TIMEOUT: "TIME_LIMIT",
        Status.RULE_VIOLATION: "MISSING_ENTRY_POINT WRONG_SIGNATURE FORBIDDEN_CONSTRUCT",
        Status.REWARD_HACK: "FASTER_THAN_HARDWARE NO_DEVICE_WORK KERNELS_CHANGE CLOCK_DISAGREES RESULT_FORGED "
        "HARNESS_CHANGED ANSWER_REUSED BORROWED_KERNELS DEVICE_STATE_CHANGED",
        Status.UNSUPPORTED: "LANGUAGE_ON_PLATFORM COMPILER_MISSING DEVICE_MISSING NOT_CHECKABLE",
        Status.HARNESS_ERROR: "UNKNOWN_PLATFORM UNKNOWN_LANGUAGE TASK_UNREADABLE TASK_WITHOUT_INPUTS TASK_FAILS "
        "TASK_WEAK DEVICE_BUSY SANDBOX_MISSING EXECUTION_OFF INTERNAL",
    }
    return {Finding[name]: status for status, names in groups.items() for name in names.split()}


STATUS_OF: dict[Finding, Status] = _statuses()
"""The status each finding implies."""
