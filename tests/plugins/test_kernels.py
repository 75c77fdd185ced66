"""HCAssign, HCDecode and HCUpsample as CUDA kernels, run on the CPU, against the float64 references.

A block makes 64 x 8 pixels (32 x 4 cells) and brings four channels a step to shared memory: sizes lie around these.
"""

import itertools

import numpy as np
import pytest
import torch

from hc_deploy.ops import assign, decode
from tests.ops import truths
from tests.plugins import bounds
from tests.plugins.cluster import DTYPES, OPTIONS, SOFT, check_assign, check_upsample, maps
from tests.plugins.emulated import NAMES, kernels, numbers_of

SIZES = [(1, 1), (1, 2), (2, 1), (3, 5), (7, 64), (8, 65), (9, 13), (10, 130), (19, 67)]
CHANNELS = [1, 3, 13, 64, 67]
CLASSES = [1, 5, 19, 21]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes(dtype, size):
    for number, options in enumerate(OPTIONS):
        features, seeds, coarse = maps(size, batch=1 + number % 3, channels=64 if number % 2 else 13, dtype=dtype)
        check_assign(features, seeds, options)
        if options.assignment == "soft":
            check_upsample(coarse, features, seeds, options)
    weights = torch.rand(2, 9, *size, generator=torch.Generator().manual_seed(1)).to(dtype)
    _, _, coarse = maps(size, dtype=dtype)
    truth = decode.reference(coarse.double(), weights.double())
    bounds.check(kernels().decode(coarse, weights), truth, bounds.decoded(coarse, weights))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_channels(dtype, channels):
    for options in OPTIONS:
        if channels == 1 and (options.similarity, options.assignment) == ("cosine", "hard"):
            continue  # cosines of numbers are 1 or -1: which of the equal ones is rounded up is chance
        check_assign(*maps((11, 67), channels=channels, dtype=dtype)[:2], options)
    for options, classes in itertools.product(SOFT, CLASSES):
        features, seeds, coarse = maps((5, 67), channels=channels, classes=classes, dtype=dtype, batch=1)
        check_upsample(coarse, features, seeds, options)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_classes(dtype, classes):
    for size in ((11, 66), (10, 67)):
        features, seeds, coarse = maps(size, classes=classes, dtype=dtype)
        weights = assign.reference(features, seeds, SOFT[0])
        truth = decode.reference(coarse.double(), weights.double())
        bounds.check(kernels().decode(coarse, weights), truth, bounds.decoded(coarse, weights))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_definition(options):
    """The loops over pixels, beside the references."""
    features, seeds, coarse = maps((7, 9), dtype=torch.float32)
    truth = truths.loop_assign(features.numpy(), seeds.numpy(), options)
    result = kernels().assign(features, seeds, options)
    np.testing.assert_allclose(result.numpy(), truth, rtol=2e-4, atol=1e-7)  # bounds.relative_weight is 1e-4 here
    decoded = truths.loop_decode(coarse.numpy(), result.numpy())
    np.testing.assert_allclose(kernels().decode(coarse, result).numpy(), decoded, atol=1e-5)
    fused = kernels().upsample(coarse, features, seeds, options)
    np.testing.assert_allclose(fused.numpy(), truths.loop_decode(coarse.numpy(), truth), atol=2e-3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(9, 66), (9, 67)], ids=["9x66", "9x67"])
def test_any_address(dtype, size):
    """Maps that do not start at a pair's alignment give the same bits: the kernels then read element by element."""
    features, seeds, coarse = maps(size, channels=5, dtype=dtype)
    weights = kernels().assign(features, seeds, SOFT[0])
    decoded = kernels().decode(coarse, weights)
    fused = kernels().upsample(coarse, features, seeds, SOFT[0])
    for o in itertools.product((0, 1), repeat=4):
        assert torch.equal(kernels().assign(features, seeds, SOFT[0], offsets=o[:3]), weights)
        assert torch.equal(kernels().decode(coarse, weights, offsets=o[:3]), decoded)
        assert torch.equal(kernels().upsample(coarse, features, seeds, SOFT[0], offsets=o), fused)


@pytest.mark.parametrize("channels", [3, 13, 64])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_order_of_threads_changes_a_bit(dtype, channels):
    features, seeds, coarse = maps((11, 130), channels=channels, classes=13, dtype=dtype)

    def results():
        for options in SOFT[:2]:
            weights = kernels().assign(features, seeds, options)
            yield from (
                weights,
                kernels().decode(coarse, weights),
                kernels().upsample(coarse, features, seeds, options),
            )

    forward = list(results())
    for order in (1, 2, 3, 4):
        with kernels().order(order):
            assert all(torch.equal(a, b) for a, b in zip(forward, results(), strict=True))


@pytest.mark.parametrize("order", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", [4, 7, 64])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_block_may_make_several_images(dtype, channels, order):
    """As it does past 65535 images: here the grid has depth 1, so that shared memory is used again and again."""
    size, batch = (7, 67), 3
    features, seeds, coarse = maps(size, batch=batch, channels=channels, classes=7, dtype=dtype)
    grid, block = (2, 1, 1), (128, 1, 1)
    suffix = NAMES[dtype] + ("_k64" if channels == 64 else "")
    with kernels().order(order):
        for options in (SOFT[0], SOFT[2]):
            weights = kernels().assign(features, seeds, options)
            shapes = [batch, channels, *size, *numbers_of(options)]
            like = (weights.shape, dtype)
            launch = kernels().launch
            assert torch.equal(launch(f"hc_assign_{suffix}", grid, block, (features, seeds), shapes, like), weights)
            decoded = kernels().decode(coarse, weights)
            like = (decoded.shape, dtype)
            numbers = [batch, 7, *size]
            name = f"hc_decode_{NAMES[dtype]}"
            assert torch.equal(launch(name, grid, block, (coarse, weights), numbers, like), decoded)
            fused = kernels().upsample(coarse, features, seeds, options)
            result = launch(
                f"hc_upsample_{suffix}", grid, block, (coarse, features, seeds), [batch, 7, *shapes[1:]], like
            )
            assert torch.equal(result, fused)
