"""A reader, seconds and a seed -> findings: broken files that a reader neither reads nor refuses, shrunk and kept."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from benchmarks.fuzz.child import Child, Ending, Seed, Target
from benchmarks.fuzz.mutations import Mutation
from hc_deploy.system.files import write_bytes

SHRINKING_SECONDS = 20.0
SHRINKING_TRIES = 200
SLOW = ("hang", "growth")


@dataclass(frozen=True)
class Finding:
    """One fault: the smallest file known that shows it, and how reading it ends."""

    target: str
    seed: Seed
    ending: Ending

    def write(self, folder: Path) -> Path:
        """Write the file and, beside it, what happened; the path of the file."""
        name = f"{self.ending.kind}-{hashlib.sha256(self.ending.where.encode()).hexdigest()[:8]}"
        path = folder / self.target / f"{name}{self.seed.suffix}"
        write_bytes(path, self.seed.data)
        words = f"{self.ending.where}\n\n{self.ending.said}\n"
        write_bytes(path.with_name(path.name + ".txt"), words.encode(errors="backslashreplace"))
        return path


@dataclass
class Campaign:
    """One run over a reader.

    Attributes:
        target: the reader. mutate: how its files are spoiled.
        endings: how many files ended in which way. findings: by `Ending.where`. lost: faults that a second reading did
            not show again.
    """

    target: Target
    mutate: Mutation

    def __post_init__(self) -> None:
        self.endings: Counter[str] = Counter()
        self.findings: dict[str, Finding] = {}
        self.lost: Counter[str] = Counter()

    def run(self, seconds: float, *, seed: int, on_finding: Callable[[Finding], None]) -> None:
        """Read broken files for `seconds`; each fault is told once, after it was seen twice and shrunk."""
        end = time.monotonic() + seconds
        with Child(self.target) as child:
            for broken in self._broken(Random(seed)):
                if time.monotonic() > end:
                    return
                ending = child.read(broken)
                self.endings[ending.kind] += 1
                if not ending.fault or ending.where in self.findings:
                    continue
                child.end()
                again = child.read(broken)  # in a worker that has read nothing else
                if not again.fault:
                    self.lost[ending.where] += 1
                elif again.where not in self.findings:
                    found = self._shrunk(child, broken, again)
                    self.findings[ending.where] = self.findings[again.where] = found
                    on_finding(found)

    def _broken(self, rng: Random) -> Iterator[Seed]:
        while True:
            seed = rng.choice(self.target.seeds)
            yield Seed(seed.suffix, self.mutate(seed.data, rng))

    def _shrunk(self, child: Child, broken: Seed, ending: Ending) -> Finding:
        """Pieces are left out, halves first, as long as the same fault shows."""
        smallest, tries = broken.data, SHRINKING_TRIES if ending.kind not in SLOW else 0
        end, piece = time.monotonic() + SHRINKING_SECONDS, len(smallest) // 2
        while piece and tries and time.monotonic() < end:
            for start in range(0, len(smallest), piece):
                shorter = smallest[:start] + smallest[start + piece :]
                tries -= 1
                if not tries or time.monotonic() > end:
                    break
                if len(shorter) < len(smallest) and child.read(Seed(broken.suffix, shorter)).where == ending.where:
                    smallest = shorter
                    break
            else:
                piece //= 2
        return Finding(self.target.name, Seed(broken.suffix, smallest), ending)
