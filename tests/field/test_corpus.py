"""Files that once crashed a reader, hung it, filled the memory, or ended in a traceback: each is refused by one error.

`python -m benchmarks.fuzz` finds them; `corpus/READER/` holds those that are mended, one small file a fault.
"""

from pathlib import Path

import pytest

from benchmarks.fuzz.child import Child, Seed
from benchmarks.fuzz.seeds import TARGETS, target

CORPUS = Path(__file__).parent / "corpus"
MOST_BYTES = 64 << 10
SECONDS = 120.0
"""Against a hang, on a machine that is busy."""


def entries(name):
    return sorted(path for path in (CORPUS / name).glob("*") if path.is_file())


def test_every_folder_is_a_reader():
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
    assert sum(len(entries(name)) for name in TARGETS) > 20


@pytest.mark.parametrize("name", [name for name in TARGETS if entries(name)])
def test_refused_by_one_error(name):
    """In a process of its own, which must outlive every file."""
    with Child(target(name, most=1), seconds=SECONDS) as child:
        for path in entries(name):
            assert path.stat().st_size <= MOST_BYTES, path
            ending = child.read(Seed("".join(path.suffixes), path.read_bytes()))
            assert ending.kind == "refused", f"{path.name}: {ending.kind} {ending.where}\n{ending.said}"
            assert ending.said.strip(), path
