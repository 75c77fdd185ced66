"""What the launchers refuse, and the largest that they take: 2^31 elements and more, 65536 images, the tallest map.

Maps too large for a test lie in memory that is reserved but never touched: the emulator runs one block of the launch,
and the truth is computed for that block's part of the map.
"""

import mmap

import pytest
import torch

from hc_deploy.ops import ClusterOptions, argmax, assign, decode, upsample
from tests.plugins import bounds
from tests.plugins.cluster import SOFT, maps
from tests.plugins.emulated import TYPES, UNTOUCHED, Options, Output, kernels

OPTIONS = ClusterOptions()
NO_RESERVE = 0x4000  # MAP_NORESERVE of Linux, which mmap does not name in every Python
INVALID_VALUE = 1  # cudaErrorInvalidValue
NAN, INF = float("nan"), float("inf")


def call(name, numbers, options=None, *, type_=0):
    """The function on a few bytes that it must not touch."""
    memory = Output((64,), torch.float32)
    pointers = {"hc_upsample": 4, "hc_argmax": 2}.get(name, 3)
    error = kernels().call(name, [memory.pointer()] * pointers, [type_, *numbers], options)
    assert error == 0 or memory.unwritten()
    return error


@pytest.mark.parametrize("type_", [-1, 3])
def test_unknown_types_are_refused(type_):
    options = Options.of(OPTIONS)
    assert call("hc_assign", [1, 1, 1, 1], options, type_=type_) == INVALID_VALUE
    assert call("hc_decode", [1, 1, 1, 1], type_=type_) == INVALID_VALUE
    assert call("hc_upsample", [1, 1, 1, 1, 1], options, type_=type_) == INVALID_VALUE
    assert call("hc_argmax", [1, 1, 1, 1, 1, 1], type_=type_) == INVALID_VALUE


@pytest.mark.parametrize("size", [0, -1, -(2**31), 2**30 + 1, 2**31 - 1])
@pytest.mark.parametrize(("name", "sizes"), [("hc_assign", 4), ("hc_decode", 4), ("hc_upsample", 5), ("hc_argmax", 6)])
def test_sizes_out_of_range_are_refused(name, sizes, size):
    options = Options.of(OPTIONS) if name in ("hc_assign", "hc_upsample") else None
    assert call(name, [1] * sizes, options) == 0
    for place in range(sizes):
        assert call(name, [1] * place + [size] + [1] * (sizes - place - 1), options) == INVALID_VALUE


@pytest.mark.parametrize("tau", [0.0, -0.0, -0.07, NAN, INF, -INF, 1e-39, 1e-36])
def test_bad_temperatures_are_refused(tau):
    assert call("hc_assign", [1, 1, 1, 1], Options(tau, 0, 0, 0)) == INVALID_VALUE
    assert call("hc_upsample", [1, 1, 1, 1, 1], Options(tau, 0, 0, 0)) == INVALID_VALUE


@pytest.mark.parametrize("tau", [3e-33, 1e-9, 1e9, 3e38])
def test_extreme_temperatures_give_numbers(tau):
    """Near the ends the softmax is hard, or even: both are finite, at the border and for features of length 0 too."""
    features, seeds, coarse = maps((5, 7))
    for fine in (features, torch.zeros_like(features)):
        result = kernels().assign(fine, seeds, ClusterOptions(tau))
        torch.testing.assert_close(result.sum(1), torch.ones_like(result[:, 0]))
        assert torch.isfinite(kernels().upsample(coarse, fine, seeds, ClusterOptions(tau))).all()


def test_errors_have_names():
    assert kernels().error_string(0) == "no error"
    assert kernels().error_string(INVALID_VALUE) == "invalid argument"
    assert kernels().error_string(9) == "invalid configuration argument"
    assert kernels().error_string(-5) == "unrecognized error code"


class Reserved:
    """A map of zeros of any size: address space without memory, until it is written or read."""

    def __init__(self, shape, dtype):
        elements = torch.Size(shape).numel()
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
        self.memory = mmap.mmap(-1, elements * dtype.itemsize, flags=flags)
        self.map = torch.frombuffer(self.memory, dtype=dtype).reshape(shape)

    def last(self, rows, columns, seed):
        """The last rows and columns of the last image, filled with random numbers; a copy."""
        corner = self.map[-1:, :, -rows:, -columns:]
        corner[...] = torch.randn(corner.shape, generator=torch.Generator().manual_seed(seed)).to(corner.dtype)
        return corner.clone()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_offsets_beyond_32_bits(dtype):
    """Two images of five channels whose planes have 2^30 pixels, the most there may be: the last row lies as far from
    the first as 32 bits count bytes, channels and images further. The last block makes 3 x 31 cells."""
    (h, w), channels = (16383, 16383), 5
    height, width = 2 * h - 1, 2 * w
    assert 2**30 - 2**18 < height * width <= 2**30
    features, out, assignment = (Reserved((2, c, height, width), dtype) for c in (channels, channels, 9))
    seeds, coarse = (Reserved((2, channels, h, w), dtype) for _ in range(2))
    rows, columns = (h - 1) % 4 + 1, (w - 1) % 32 + 1
    fine_part = features.last(2 * rows + 1, 2 * columns + 2, 0)
    seed_part, coarse_part = seeds.last(rows + 1, columns + 1, 1), coarse.last(rows + 1, columns + 1, 2)
    weights = assign.reference(fine_part.double(), seed_part.double(), SOFT[0])
    inner = (..., slice(2, None), slice(2, None))  # the first cells of the part lack neighbours that the map has

    def run(name, inputs, output, numbers, options=None):
        pointers = [reserved.map.data_ptr() for reserved in (*inputs, output)]
        with kernels().only_block(*((-(-w // 32)) - 1, (-(-h // 4)) - 1, 1)):
            assert kernels().call(name, pointers, [TYPES[dtype], *numbers], options) == 0
        return output.map[-1:, :, -(2 * rows - 1) :, -2 * columns :].clone()

    result = run("hc_assign", (features, seeds), assignment, [2, channels, height, width], Options.of(SOFT[0]))
    relative = bounds.relative_weight(fine_part, seed_part, SOFT[0])
    bounds.check(result, weights[inner], (weights * relative + bounds.rounding(weights, dtype))[inner])
    truth = upsample.reference(coarse_part.double(), fine_part.double(), seed_part.double(), SOFT[0])[inner]
    bound = bounds.decoded(coarse_part, weights, relative)[inner]
    fused = run(
        "hc_upsample", (coarse, features, seeds), out, [2, channels, channels, height, width], Options.of(SOFT[0])
    )
    bounds.check(fused, truth, bound)
    out.map[-1:, :, -(2 * rows - 1) :, -2 * columns :] = NAN
    decoded = run("hc_decode", (coarse, assignment), out, [2, channels, height, width])
    padded = torch.nn.functional.pad(result, (2, 0, 2, 0))
    truth = decode.reference(coarse_part.double(), padded.double())[inner]
    bounds.check(decoded, truth, bounds.decoded(coarse_part, padded)[inner])


def test_planes_beyond_32_bits_of_bytes_are_refused():
    options = Options.of(OPTIONS)
    assert call("hc_assign", [1, 1, 32769, 32768], options) == INVALID_VALUE
    assert call("hc_decode", [1, 1, 32769, 32768]) == INVALID_VALUE
    assert call("hc_upsample", [1, 1, 1, 32769, 32768], options) == INVALID_VALUE


def test_label_offsets_beyond_32_bits():
    h, w, classes, block = 46342, 46343, 3, (128, 16)
    height, width = 2 * h, 2 * w
    logits, labels = Reserved((2, classes, h, w), torch.float16), Reserved((2, 1, height, width), torch.int32)
    columns, rows = (width - 1) % block[0] + 1, (height - 1) % block[1] + 1
    part = logits.last(rows // 2 + 2, columns // 2 + 2, 0)
    with kernels().only_block(-(-width // block[0]) - 1, -(-height // block[1]) - 1, 1):
        pointers = [logits.map.data_ptr(), labels.map.data_ptr()]
        assert kernels().call("hc_argmax", pointers, [1, *logits.map.shape, height, width]) == 0
    truth = argmax.reference(part.float(), (2 * part.shape[2], 2 * part.shape[3]))
    assert truth.unique().numel() == classes
    assert torch.equal(labels.map[-1, 0, -rows:, -columns:], truth[0, -rows:, -columns:])


@pytest.mark.parametrize("dtype", list(TYPES), ids=str)
def test_more_images_than_a_grid_is_deep(dtype):
    """65538 images: block z = 1 makes the images 1 and 65536, and no other."""
    batch, size = 65538, (3, 5)
    features, seeds, coarse = maps(size, batch=batch, channels=3, classes=2, dtype=dtype)
    given = {"features": features, "seeds": seeds, "coarse": coarse}
    two = {name: tensor[[1, 65536]] for name, tensor in given.items()}
    weights = kernels().assign(two["features"], two["seeds"], SOFT[0])
    cases = [
        ("hc_assign", (features, seeds), [batch, 3, *size], SOFT[0], weights),
        (
            "hc_upsample",
            (coarse, features, seeds),
            [batch, 2, 3, *size],
            SOFT[0],
            kernels().upsample(**two, options=SOFT[0]),
        ),
        ("hc_argmax", (coarse,), [batch, 2, 2, 3, 4, 6], None, kernels().argmax(two["coarse"], (4, 6))),
    ]
    all_weights = torch.zeros(batch, 9, *size, dtype=dtype)
    all_weights[[1, 65536]] = weights
    decoded = kernels().decode(two["coarse"], weights)
    cases.append(("hc_decode", (coarse, all_weights), [batch, 2, *size], None, decoded))
    for name, inputs, numbers, options, expected in cases:
        out = Output((batch, *expected.shape[1:]), expected.dtype)
        pointers = [*(tensor.data_ptr() for tensor in inputs), out.pointer()]
        with kernels().only_block(0, 0, 1):
            assert kernels().call(name, pointers, [TYPES[dtype], *numbers], options and Options.of(options)) == 0
        images = out.memory[out.start : out.start + out.size].reshape(batch, -1)
        written = images[[1, 65536]].view(expected.dtype).reshape(expected.shape)
        assert torch.equal(written, expected)
        assert int((out.memory != UNTOUCHED).sum()) == expected.numel()


def test_tallest_maps():
    """A grid has 65535 rows of blocks: 524280 rows of pixels, 1048560 of labels."""
    features, seeds, coarse = maps((524280, 1), batch=1, channels=1, classes=1)
    out = Output((1, 9, 524280, 1), torch.float32)
    pointers = [features.data_ptr(), seeds.data_ptr(), out.pointer()]
    options = ClusterOptions(0.5, "dot")
    with kernels().only_block(0, 65534, 0):
        assert kernels().call("hc_assign", pointers, [0, 1, 1, 524280, 1], Options.of(options)) == 0
    last = out.memory[out.start : out.start + out.size].view(torch.float32).reshape(9, -1)[:, -8:]
    truth = assign.reference(features[:, :, -10:].double(), seeds[:, :, -5:].double(), options)[0, :, 2:, 0]
    bounds.check(last, truth, 1e-5)
    assert int((out.memory != UNTOUCHED).sum()) == 9 * 8
    assert call("hc_assign", [1, 1, 524281, 1], Options.of(options)) == INVALID_VALUE
    assert call("hc_decode", [1, 1, 524281, 1]) == INVALID_VALUE
    assert call("hc_upsample", [1, 1, 1, 524281, 1], Options.of(options)) == INVALID_VALUE

    labels = Output((1, 1048560, 1), torch.int32)
    with kernels().only_block(0, 65534, 0):
        pointers = [coarse.data_ptr(), labels.pointer()]
        assert kernels().call("hc_argmax", pointers, [0, 1, 1, 524280, 1, 1048560, 1]) == 0
    assert int((labels.memory != UNTOUCHED).sum()) == 16
    assert call("hc_argmax", [1, 1, 1, 1, 1048561, 1]) == INVALID_VALUE
