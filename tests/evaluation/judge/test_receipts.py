"""The ledger of receipts: chained, so that a changed line shows, whoever writes and whenever it crashes."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from kernelevolve.evaluation.finding import Finding, Status
from kernelevolve.evaluation.judge import evidence
from kernelevolve.evaluation.judge.evidence import Ledger, broken_links
from kernelevolve.evaluation.platform import Level
from kernelevolve.evaluation.receipt import Receipt, canonical_hash
from kernelevolve.evaluation.verdict import Diagnosis, PlatformVerdict

SECRET = b"\x01" * 32


def result(**changes: Any) -> PlatformVerdict:
    return PlatformVerdict(platform="cpu", status=Status.CORRECT, level=Level.EXECUTED, **changes)


def write(ledger: Ledger, number: int = 0, samples: dict[str, Any] | None = None) -> Receipt:
    return ledger.write(
        task_hash="t" * 64,
        source_hash=f"{number:064d}",
        results=[result()],
        devices={"cpu": {"device": "a processor"}},
        samples=samples if samples is not None else {"cpu": {"case": {"eager": [[1.5, 2.25]]}}},
        protection=("landlock abi 7", "memory limit"),
        secret=SECRET,
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def lines(state: Path) -> list[str]:
    return (state / "receipts.jsonl").read_text().splitlines()


def test_receipts_form_a_chain(state: Path) -> None:
    written = [write(Ledger(state), number) for number in range(5)]

    assert written[0].previous == "0" * 64
    for before, after in itertools.pairwise(written):
        assert after.previous == before.receipt_hash
    assert [Receipt.model_validate_json(line) for line in lines(state)] == written
    assert broken_links(lines(state)) == []


def test_a_receipt_s_hash_covers_every_other_field(state: Path) -> None:
    receipt = write(Ledger(state))

    for field in Receipt.model_fields:
        if field == "receipt_hash":
            continue
        value = getattr(receipt, field)
        changed: Any = {"tampered": "1"} if isinstance(value, dict) else ("x",) if isinstance(value, tuple) else "x"
        assert receipt.model_copy(update={field: changed}).digest() != receipt.receipt_hash, field


def test_what_a_receipt_says(state: Path) -> None:
    receipt = write(Ledger(state), 7)

    assert receipt.source_hash == f"{7:064d}"
    assert receipt.verdict_hash == canonical_hash([result().model_dump(mode="json")])
    assert receipt.harness_hash == evidence.harness_hash()
    assert receipt.machine["cores"] >= 1
    assert set(receipt.libraries) >= {"python", "torch"}
    assert receipt.seed_commitment == hashlib.sha256(SECRET).hexdigest()


def test_another_verdict_gives_another_verdict_hash(state: Path) -> None:
    diagnosis = Diagnosis(finding=Finding.WRONG_VALUES, summary="no", got=float("nan"), expected=float("inf"))
    hashes = {
        canonical_hash([entry.model_dump(mode="json")])
        for entry in (result(), result(checks=1), result(diagnosis=diagnosis))
    }

    assert len(hashes) == 3


@pytest.mark.parametrize("victim", [0, 1, 3])
@pytest.mark.parametrize("field", ["verdict_hash", "source_hash", "samples", "previous"])
def test_a_changed_line_is_found(state: Path, victim: int, field: str) -> None:
    for number in range(4):
        write(Ledger(state), number)
    ledger = lines(state)
    receipt = json.loads(ledger[victim])
    receipt[field] = {} if field == "samples" else "f" * 64
    ledger[victim] = json.dumps(receipt)

    assert broken_links(ledger) == [victim + 1]


def test_a_changed_line_with_a_new_hash_breaks_the_link_after_it(state: Path) -> None:
    for number in range(4):
        write(Ledger(state), number)
    ledger = lines(state)
    forged = Receipt.model_validate_json(ledger[1]).model_copy(update={"source_hash": "f" * 64}).sealed()
    ledger[1] = forged.model_dump_json()

    assert broken_links(ledger) == [3]


def test_a_removed_or_moved_line_is_found(state: Path) -> None:
    for number in range(4):
        write(Ledger(state), number)
    a, b, c, d = lines(state)

    assert broken_links([a, c, d]) == [2]
    assert broken_links([b, c, d]) == [1]
    assert broken_links([a, c, b, d]) == [2, 3, 4]
    assert broken_links([a, b, b, c, d]) == [3]


def test_a_last_line_that_a_crash_cut_short_costs_itself_and_no_other(state: Path) -> None:
    first, second = write(Ledger(state), 0), write(Ledger(state), 1)
    path = state / "receipts.jsonl"
    path.write_bytes(path.read_bytes()[:-40])

    third, fourth = write(Ledger(state), 2), write(Ledger(state), 3)

    assert third.previous == first.receipt_hash
    assert fourth.previous == third.receipt_hash
    ledger = lines(state)
    assert [Receipt.model_validate_json(ledger[number]) for number in (0, 2, 3)] == [first, third, fourth]
    assert second.receipt_hash not in ledger[1]
    assert broken_links(ledger) == [2]


@pytest.mark.parametrize("rubbish", [b"", b"\n", b"{}\n", b"17\n", b"\x00\xff\n", b"{"])
def test_rubbish_at_the_end_is_passed_over(state: Path, rubbish: bytes) -> None:
    first = write(Ledger(state), 0)
    with (state / "receipts.jsonl").open("ab") as file:
        file.write(rubbish)

    assert write(Ledger(state), 1).previous == first.receipt_hash


def test_a_very_long_last_line_is_read_to_its_beginning(state: Path) -> None:
    write(Ledger(state), 0)
    long = write(Ledger(state), 1, samples={"cpu": {"case": {"eager": [[0.123456789] * 40_000]}}})
    assert len(lines(state)[1]) > 2 * (1 << 16)

    assert write(Ledger(state), 2).previous == long.receipt_hash
    assert broken_links(lines(state)) == []


def test_several_processes_may_write_at_once(state: Path) -> None:
    write(Ledger(state), 0)  # fills the caches, which the forks then need not
    children = []
    for child_number in range(3):
        child = os.fork()
        if child == 0:
            status = 1
            with suppress(BaseException):
                ledger = Ledger(state)
                for number in range(15):
                    write(ledger, 100 * child_number + number)
                status = 0
            os._exit(status)
        children.append(child)

    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert len(lines(state)) == 46
    assert broken_links(lines(state)) == []
    assert len({Receipt.model_validate_json(line).source_hash for line in lines(state)}) == 45


def test_the_secret_is_kept_once_and_for_the_owner_alone(state: Path) -> None:
    ledger = Ledger(state)
    write(ledger, 0)
    receipt = write(ledger, 1)

    (kept,) = (state / "seeds.jsonl").read_text().splitlines()
    assert json.loads(kept) == {"commitment": receipt.seed_commitment, "secret": SECRET.hex()}
    assert stat.S_IMODE((state / "seeds.jsonl").stat().st_mode) == 0o600
    assert SECRET.hex() not in (state / "receipts.jsonl").read_text()


def test_an_empty_ledger_is_whole() -> None:
    assert broken_links([]) == []
