"""The fuzzer finds planted faults, tells them apart, shrinks them; its broken files pass the first check."""

import contextlib
import io
import json
import random
import struct
import zipfile
import zlib

import pytest

from benchmarks.fuzz import __main__ as command
from benchmarks.fuzz import mutations, values
from benchmarks.fuzz.campaign import Campaign
from benchmarks.fuzz.child import Child, Seed, Target
from benchmarks.fuzz.seeds import TARGETS, small_model
from hc_deploy.errors import UsageError

PLANTED = Target("planted", "tests.benchmarks.fuzz_faults:read", "file", (Seed(".bin", b"fine"),))


@pytest.fixture(scope="module")
def child():
    with Child(PLANTED, seconds=60.0, growth=100 << 20) as child:
        yield child


@pytest.mark.parametrize(
    "word, kind, where",
    [
        ("fine", "read", ""),
        ("refuse", "refused", ""),
        ("boom", "traceback", "ValueError in tests/benchmarks/fuzz_faults.py:read"),
        ("exit", "traceback", "SystemExit in tests/benchmarks/fuzz_faults.py:read"),
        ("vanish", "crash", "ended with exit code 0 in ?"),
        ("crash", "crash", "SIGSEGV in tests/benchmarks/fuzz_faults.py:read"),
        ("grow", "growth", "growth, read"),
        ("start", "traceback", "ForbiddenCall in tests/benchmarks/fuzz_faults.py:read"),
        ("fine", "read", ""),
    ],
)
def test_how_it_ends(child, word, kind, where):
    ending = child.read(Seed(".bin", word.encode()))
    assert (ending.kind, ending.where) == (kind, where), ending.said
    assert ending.fault == (kind not in ("read", "refused"))


def test_a_hang():
    """One that sleeps, for it is given more time than one that computes."""
    with Child(PLANTED, seconds=0.5) as child:
        ending = child.read(Seed(".bin", b"hang"))
        assert (ending.kind, ending.where) == ("hang", "no answer in 0.5 s in tests/benchmarks/fuzz_faults.py:read")
        assert ending.fault


def test_a_campaign_keeps_one_shrunk_file_a_fault(tmp_path):
    """Two faults under noise: each is told once, and shrinking leaves the word that calls it."""

    def spoil(data, rng):
        return rng.randbytes(40) + rng.choice((b"boom", b"exit", b"refuse")) + rng.randbytes(40)

    told = []
    campaign = Campaign(PLANTED, spoil)
    _until(campaign, told, 2)
    assert sorted(finding.seed.data for finding in told) == [b"boom", b"exit"]
    assert campaign.endings["refused"] > 0
    paths = [finding.write(tmp_path) for finding in told]
    assert {path.read_bytes() for path in paths} == {b"boom", b"exit"}
    assert all("fuzz_faults.py" in path.with_name(path.name + ".txt").read_text() for path in paths)


class Enough(Exception):
    """The campaign has told what was planted."""


def _until(campaign, told, count):

    def tell(finding):
        told.append(finding)
        if len(told) == count:
            raise Enough

    with pytest.raises(Enough):
        campaign.run(120.0, seed=1, on_finding=tell)


def test_same_seed_same_file():
    data = json.dumps({"a": [1, 2, {"b": "c"}], "d": None}).encode()
    drawn = [[mutations.spoil_json(data, random.Random(seed)) for seed in range(50)] for _ in range(2)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 40


def test_hypothesis_draws_the_same_values():
    drawn = values.trees(3)
    values.trees.cache_clear()
    assert repr(values.trees(3)) == repr(drawn) and len(drawn) > 100
    assert {kind for kind, _ in values.command_lines(0)} == {"size", "shape", "option", "output", "arch", "models"}


def test_broken_safetensors_still_have_a_header():
    header = json.dumps({"w": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    data = struct.pack("<Q", len(header)) + header + b"abcd"
    good = 0
    for seed in range(60):
        broken = mutations.spoil_safetensors(data, random.Random(seed))
        good += struct.unpack("<Q", broken[:8].ljust(8, b"\0"))[0] == len(broken) - 12 and broken != data
    assert good > 30


def test_broken_zips_pass_their_checksums():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("net/data.pkl", b"a pickle" * 8)
        file.writestr("net/data/0", b"weights" * 8)
    whole = 0
    for seed in range(60):
        broken = io.BytesIO(mutations.spoil_zip(packed.getvalue(), random.Random(seed)))
        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(broken) as file:
            whole += len(file.namelist()) == 2 and file.testzip() is None and broken.getvalue() != packed.getvalue()
    assert whole > 30


def test_broken_pngs_pass_their_checksums():
    data = next(seed.data for seed in TARGETS["image"][1]() if seed.suffix == ".png")
    fine = 0
    for seed in range(60):
        broken = mutations.spoil_image(data, random.Random(seed))
        fine += broken != data and _checksums(broken) >= 1
    assert fine > 25


def _checksums(data):
    """The chunks from the start whose checksum is right."""
    at, count = 8, 0
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return count
        at, count = end + 4, count + 1
    return count


def test_broken_models_are_still_messages():
    onnx = pytest.importorskip("onnx")
    small = small_model()
    parsed = 0
    for seed in range(60):
        broken = mutations.spoil_model(small, random.Random(seed))
        try:
            parsed += onnx.ModelProto.FromString(broken) is not None and broken != small
        except Exception:
            continue
    assert parsed > 35


def test_a_reader_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="--reader nope") as caught:
        command.main(seconds=1.0, reader=["image", "nope"], seed=0, output=tmp_path / "out")
    assert "checkpoint" in caught.value.expected and not (tmp_path / "out").exists()
