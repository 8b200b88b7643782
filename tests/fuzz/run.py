"""`make fuzz`: every border with as many made-up inputs as asked; the exit status is 1 when one fails."""

from __future__ import annotations

import argparse
import itertools
import time
import traceback

from hypothesis import HealthCheck, given, settings

from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run the targets and print what each stood."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20_000, help="inputs for each border")
    parser.add_argument("--only", default="", help="part of a border's name")
    options = parser.parse_args()
    failed = 0
    for name, (call, data) in TARGETS.items():
        if options.only not in name:
            continue
        calls = itertools.count()

        def counted(value: object) -> None:
            next(calls)  # noqa: B023 - called within this turn of the loop
            call(value)  # noqa: B023

        began = time.monotonic()
        many = settings(max_examples=options.runs, deadline=None, database=None,
                        suppress_health_check=list(HealthCheck))  # fmt: skip
        try:
            many(given(data)(counted))()
            word = "held"
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding, and the other borders are tried too
            traceback.print_exc()
            failed, word = failed + 1, "FAILED"
        print(f"{name:16} {word} after {next(calls)} inputs, {time.monotonic() - began:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
