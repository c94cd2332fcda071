"""Alters StyleGAN2 snapshots at random and reads them: each must be read or refused, in 2 s of the processor, and do nothing else.

    python tests/fuzz/stylegan2_pickles.py --count 200000 --jobs 2 FILE...

Alteration number n depends on the seed and n alone, so --start goes on where a run ended, and `--start N --count 1
--keep FOLDER` makes a file again that a run complained about. Exits with 1 if anything was found.
"""

from __future__ import annotations

import argparse
import collections
import pickletools
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from stylegan2_guard import Guard

SECONDS = 2.0
_CHUNK = 200
_OPCODES = [ord(opcode.code) for opcode in pickletools.opcodes]
_SIZED = {
    "BINBYTES": 4,
    "BINUNICODE": 4,
    "SHORT_BINBYTES": 1,
    "SHORT_BINUNICODE": 1,
    "LONG1": 1,
    "FRAME": 8,
    "BINGET": 1,
}
_SIZED |= {"LONG_BINGET": 4, "BINPUT": 1, "LONG_BINPUT": 4, "BININT": 4, "BININT1": 1, "BININT2": 2, "BINFLOAT": 8}
_ATTACKS = [
    b"cos\nsystem\nX\x04\x00\x00\x00true\x85R",
    b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R",
    b"\x8c\x08builtins\x8c\x04exec\x93\x8c\x01 \x85R",
    b"(X\x04\x00\x00\x00trueios\nsystem\n",
    b"\x82\x01",
    b"Q",
    b"}b",
    b")\x81",
    b")R",
    b"\x85",
    b"0",
    b"2",
    b"r\xff\xff\xff\x7f",
]


class TooSlow(BaseException):
    """A file took more of the processor than the limit."""


@dataclass(frozen=True)
class Original:
    """A snapshot and where its instructions are, those within storages included."""

    data: bytes
    instructions: list[tuple[int, str]] = field(repr=False)


@dataclass
class Tally:
    """What came of some alterations."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    findings: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def add(self, other: Tally) -> None:
        self.outcomes += other.outcomes
        self.findings += other.findings
        self.slowest = max(self.slowest, other.slowest)


@lru_cache(maxsize=16)
def original(path: Path) -> Original:
    """A file, taken apart once."""
    data = path.read_bytes()
    return Original(data, list(_instructions(data, 0)))


def _instructions(data: bytes, start: int) -> Iterator[tuple[int, str]]:
    for opcode, argument, position in pickletools.genops(data[start:] if start else data):
        yield start + position, opcode.name
        if opcode.name == "BINBYTES" and argument[:2] == b"\x80\x02":
            inner = start + position + 5
            for _ in range(5):
                last = inner
                for last, name in _flat(data, inner):
                    yield last, name
                inner = last + 1


def _flat(data: bytes, start: int) -> Iterator[tuple[int, str]]:
    for opcode, _, position in pickletools.genops(data[start : start + 2000]):
        yield start + position, opcode.name


# Alterations: each takes a random generator, the altered bytes so far, the original and another one.

Alteration = Callable[[random.Random, bytearray, Original, Original], None]


def flip_bits(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_instruction(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    position = min(rng.choice(here.instructions)[0] + rng.randrange(3), len(data) - 1)
    data[position] ^= 1 << rng.randrange(8)


def change_opcode(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    position = min(rng.choice(here.instructions)[0], len(data) - 1)
    data[position] = rng.choice(_OPCODES)


def change_number(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    for _ in range(50):
        position, name = rng.choice(here.instructions)
        if name in _SIZED:
            width = _SIZED[name]
            now = int.from_bytes(data[position + 1 : position + 1 + width], "little")
            value = rng.choice(
                [0, 1, now + 1, now - 1, now * 2, 1 << (8 * width - 1), (1 << 8 * width) - 1, rng.getrandbits(16)]
            )
            data[position + 1 : position + 1 + width] = (value % (1 << 8 * width)).to_bytes(width, "little")
            return


def truncate(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    del data[rng.randrange(len(data)) :]


def splice(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    start, end = sorted(rng.choice(other.instructions)[0] for _ in range(2))
    end = min(end, start + rng.choice([10, 100, 3000]))
    place = min(rng.choice(here.instructions)[0], len(data))
    data[place : place + rng.choice([0, 0, end - start])] = other.data[start:end]


def remove(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    index = rng.randrange(len(here.instructions) - 1)
    last = min(index + rng.choice([1, 1, 2, 5, 50]), len(here.instructions) - 1)
    del data[here.instructions[index][0] : here.instructions[last][0]]


def insert_attack(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    place = rng.choice(here.instructions)[0]
    data[place:place] = rng.choice(_ATTACKS)


def append(rng: random.Random, data: bytearray, here: Original, other: Original) -> None:
    data += rng.choice([b"\x00", b".", b"\x80\x02N.", rng.randbytes(20)])


ALTERATIONS: list[Alteration] = [
    flip_bits,
    flip_instruction,
    flip_instruction,
    change_opcode,
    change_opcode,
    change_number,
    change_number,
    truncate,
    splice,
    splice,
    remove,
    insert_attack,
    append,
]


def altered(paths: list[Path], seed: int, number: int) -> tuple[str, bytes]:
    """Alteration number `number`: what was done, and the bytes."""
    rng = random.Random(f"{seed} {number}")
    path = paths[number % len(paths)]
    here, other = original(path), original(rng.choice(paths))
    data, done = bytearray(here.data), []
    for alteration in rng.choices(ALTERATIONS, k=rng.choice([1, 1, 1, 2, 3])):
        if data:
            alteration(rng, data, here, other)
            done.append(alteration.__name__)
    return f"{path.name} {'+'.join(done)}", bytes(data)


_guard: Guard | None = None


def examine(paths: list[Path], seed: int, numbers: range) -> Tally:
    """Read some alterations in this process, which is watched from the first call on."""
    global _guard
    _guard = _guard or Guard()
    tally = Tally()
    signal.signal(signal.SIGPROF, _too_slow)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "altered.pkl"
        for number in numbers:
            what, data = altered(paths, seed, number)
            path.write_bytes(data)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            result = _guard.watch(path)
            signal.setitimer(signal.ITIMER_PROF, 0)
            tally.outcomes[result["outcome"]] += 1
            tally.slowest = max(tally.slowest, result["seconds"])
            if _is_finding(result) or {entry.name for entry in Path(folder).iterdir()} != {path.name}:
                tally.findings.append(f"{number} {what}: {result}")
    return tally


def _is_finding(result: dict[str, Any]) -> bool:
    known = result["outcome"] in ("read", "Unsafe", "Unsupported", "Damaged")
    return not known or bool(result["events"]) or result["cause"] is not None or result["seconds"] > SECONDS


def _too_slow(number: int, frame: FrameType | None) -> None:
    raise TooSlow


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="write the altered files here instead of reading them")
    options = parser.parse_args()
    numbers = range(options.start, options.start + options.count)
    if options.keep:
        for number in numbers:
            (options.keep / f"{number}.pkl").write_bytes(altered(options.files, options.seed, number)[1])
        return 0
    total, begun = Tally(), time.monotonic()
    chunks = [numbers[i : i + _CHUNK] for i in range(0, len(numbers), _CHUNK)]
    with ProcessPoolExecutor(options.jobs) as pool:
        made = pool.map(examine, *zip(*((options.files, options.seed, chunk) for chunk in chunks), strict=True))
        for chunk, tally in zip(chunks, made, strict=True):
            total.add(tally)
            for finding in tally.findings:
                print(f"FOUND {finding}", flush=True)
            if chunk.stop % 2000 == 0 or chunk is chunks[-1]:
                counts = ", ".join(f"{key} {value}" for key, value in sorted(total.outcomes.items()))
                took = f"slowest {total.slowest:.3f} s, {time.monotonic() - begun:.0f} s in all"
                print(f"up to {chunk.stop}: {counts}; {len(total.findings)} findings; {took}", flush=True)
    return 1 if total.findings else 0


if __name__ == "__main__":
    sys.exit(main())
