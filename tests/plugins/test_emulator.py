"""The CPU's emulator of CUDA threads: it does what CUDA defines, and ends where CUDA leaves the result undefined."""

import ctypes
import itertools
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from plugins.emulator.build import BuildError, build
from tests.plugins.cluster import SOFT, maps
from tests.plugins.emulated import UNTOUCHED, Output, kernels, numbers_of

INVALID_VALUE, INVALID_CONFIGURATION = 1, 9  # of cudaError_t
(SUM, NEIGHBOUR, HALF_A_WARP, RACE, READ_BEFORE_WRITE) = range(5)
ENDS = {
    "barrier not for all": "ended without the barrier at which others wait",
    "two barriers": "waits at another barrier than thread 0",
    "barrier and shuffle": "deadlock",
    "mask without caller": "mask lacks its caller",
    "two masks": "two masks meet",
    "two shuffles": "meet at different lines",
    "source outside mask": "source is not in its mask",
    "source has ended": "source is not in its mask, or has ended",
}


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    return build(tmp_path_factory.mktemp("probes"), source=Path(__file__).with_name("probes.cu"))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_barriers_and_shuffles(probes, order):
    library = ctypes.CDLL(str(probes))
    assert library.probe(SUM, order) == 64 * 63 // 2
    assert library.probe(NEIGHBOUR, order) == 64
    assert library.probe(HALF_A_WARP, order) == 32


def test_a_race_gives_another_result_in_another_order(probes):
    library = ctypes.CDLL(str(probes))
    assert library.probe(RACE, 0) == 63
    assert library.probe(RACE, 1) == 0
    assert len({library.probe(RACE, seed) for seed in range(2, 12)}) > 3
    assert library.probe(RACE, 2) == library.probe(RACE, 2)  # a seed is an order


def test_shared_memory_begins_as_nan(probes):
    library = ctypes.CDLL(str(probes))
    assert [library.probe(READ_BEFORE_WRITE, 0) for _ in range(2)] == [-1, -1]  # all bits set, in every block anew


@pytest.mark.parametrize(("number", "name"), enumerate(ENDS, start=5), ids=ENDS)
def test_what_cuda_leaves_undefined_ends_the_process(probes, number, name):
    for order in (0, 1, 2):
        script = f"import ctypes; ctypes.CDLL({str(probes)!r}).probe({number}, {order})"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
        assert done.returncode == -signal.SIGABRT
        assert ENDS[name] in done.stderr
        assert "block (0,0,0) thread" in done.stderr


@pytest.mark.parametrize(
    ("grid", "block"),
    [
        ((0, 1, 1), (32, 1, 1)),
        ((1, 1, 0), (32, 1, 1)),
        ((1, 65536, 1), (32, 1, 1)),
        ((1, 1, 65536), (32, 1, 1)),
        ((-1, 1, 1), (32, 1, 1)),
        ((1, 1, 1), (0, 1, 1)),
        ((1, 1, 1), (1025, 1, 1)),
        ((1, 1, 1), (64, 32, 1)),
        ((1, 1, 1), (1, 1, 65)),
        ((1, 1, 1), (-1, -1, 1)),
    ],
    ids=str,
)
def test_launches_that_cuda_refuses(probes, grid, block):
    library = ctypes.CDLL(str(probes))
    assert library.launch_error(*grid, *block) == INVALID_CONFIGURATION
    assert library.launch_error(2, 3, 4, 8, 4, 2) == 0


def test_entries_by_name():
    """A name that is not there, a wrong number of arguments and a block outside the grid are refused."""
    features, seeds, _ = maps((4, 6), batch=1, channels=3)
    expected = kernels().assign(features, seeds, SOFT[0])
    numbers = [1, 3, 4, 6, *numbers_of(SOFT[0])]
    like, grid, block = (expected.shape, expected.dtype), (1, 1, 1), (128, 1, 1)
    result = kernels().launch("hc_assign_f32", grid, block, (features, seeds), numbers, like)
    assert torch.equal(result, expected)

    out = Output(*like)
    inputs = [features.data_ptr(), seeds.data_ptr()]

    def error(name="hc_assign_f32", *, grid=grid, inputs=inputs, numbers=numbers):
        return kernels().launch_error(name, grid, block, inputs, numbers, out.pointer())

    assert error("hc_assign_f64") == INVALID_VALUE
    assert error(inputs=inputs[:1]) == error(inputs=[*inputs, inputs[0]]) == INVALID_VALUE
    assert error(numbers=numbers[:-1]) == error(numbers=[*numbers, 0]) == INVALID_VALUE
    assert error(grid=(1, 0, 1)) == INVALID_CONFIGURATION
    with kernels().only_block(1, 0, 0):
        assert error() == INVALID_CONFIGURATION
    assert out.unwritten()
    assert error() == 0
    assert torch.equal(out.take(), expected)


def test_every_entry_has_its_name():
    """Of all that entries.cuh makes: each is found (and refuses this count of arguments before it runs)."""
    for op, type_ in itertools.product(("assign", "upsample", "decode", "argmax"), ("f32", "f16", "bf16")):
        for suffix in ("", "_k64") if op in ("assign", "upsample") else ("",):
            with pytest.raises(AssertionError, match="invalid configuration"):
                tensors = [torch.zeros(4)] * (3 if op == "upsample" else 2)
                counts = {"assign": 6, "upsample": 7, "decode": 4, "argmax": 6}
                kernels().launch(
                    f"hc_{op}_{type_}{suffix}", (0, 1, 1), (128, 1, 1), tensors, [1] * counts[op], ((1,), torch.float32)
                )


def test_one_block_alone():
    features, seeds, _ = maps((9, 67), batch=2)
    whole = kernels().assign(features, seeds, SOFT[0])
    out = Output(whole.shape, whole.dtype)
    with kernels().only_block(1, 0, 1):
        numbers = [2, 13, 9, 67, *numbers_of(SOFT[0])]
        inputs = [features.data_ptr(), seeds.data_ptr()]
        assert kernels().launch_error("hc_assign_f32", (2, 2, 2), (128, 1, 1), inputs, numbers, out.pointer()) == 0
    written = (out.memory[out.start : out.start + out.size] != UNTOUCHED).reshape(whole.shape)
    assert written[1, :, :8, 64:].all()
    assert written.sum() == 9 * 8 * 3


def test_build_says_what_is_wrong(tmp_path):
    with pytest.raises(BuildError, match="nowhere"):
        build(tmp_path, source=tmp_path / "nowhere.cu")
    with pytest.raises(BuildError, match="vector_functions.h"):
        build(tmp_path, headers=tmp_path)
