"""HCArgmax as a CUDA kernel, run on the CPU, against the float64 reference. A block makes 128 x 16 labels."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hc_deploy.ops import argmax
from tests.ops import truths
from tests.plugins.bounds import UNIT
from tests.plugins.emulated import NAMES, TYPES, kernels

DTYPES = list(TYPES)
SIZES = {
    "x2": ((9, 67), (18, 134)),
    "x4": ((9, 33), (36, 132)),
    "x8": ((3, 18), (24, 144)),
    "ratio of primes": ((7, 13), (37, 131)),
    "one row": ((1, 37), (17, 149)),
    "one pixel": ((1, 1), (3, 5)),
    "same": ((17, 131), (17, 131)),
    "a little larger": ((17, 129), (18, 130)),
    "smaller": ((37, 149), (17, 31)),
    "wider and lower": ((37, 13), (18, 131)),
    "narrower and higher": ((7, 149), (37, 130)),
    "lower only": ((67, 129), (17, 130)),
    "to one": ((5, 7), (1, 1)),
}


def random_map(classes, size, *, batch=2, seed=0):
    """The corners of nearly every label differ: the kernel has to interpolate."""
    return torch.randn(batch, classes, *size, generator=torch.Generator().manual_seed(seed))


def smooth_map(classes, size, *, batch=2, seed=0):
    """Regions several pixels wide, as a network gives: most labels are the class of all four corners."""
    small = (size[0] // 4 + 1, size[1] // 4 + 1)
    return F.interpolate(random_map(classes, small, batch=batch, seed=seed), size=size, mode="bilinear")


def check(logits, size, by=None):
    """The largest class of the float64 enlargement, unless another lies closer than float32 can tell: the place between
    sources errs by 3u of the coordinate, so a weight by as much, and the value by 8u of the logits."""
    labels = (by or kernels()).argmax(logits, size)
    enlarged = F.interpolate(logits.double(), size=size, mode="bilinear", align_corners=False)
    truth = argmax.reference(logits.double(), size)
    bound = float(logits.double().abs().max()) * UNIT * (8 + 12 * max(*logits.shape[2:], *size))
    two = enlarged.topk(min(2, logits.shape[1]), dim=1).values
    clear = two[:, 0] - two[:, -1] > 2 * bound if logits.shape[1] > 1 else torch.ones_like(truth, dtype=torch.bool)
    assert clear.double().mean() > 0.95
    assert torch.equal(labels[clear], truth[clear])
    chosen = enlarged.gather(1, labels[:, None].long())[:, 0]
    assert (two[:, 0] - chosen <= 2 * bound).all()


@pytest.mark.parametrize(("coarse", "size"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes(dtype, coarse, size):
    for make, classes in itertools.product((random_map, smooth_map), (1, 2, 5, 19)):
        check(make(classes, coarse, batch=1 + classes % 3).to(dtype), size)


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 6, 19, 21])
def test_classes(classes):
    check(random_map(classes, (17, 67)), (34, 134))


def test_definition():
    logits = random_map(5, (7, 13))
    labels = kernels().argmax(logits, (19, 131))
    np.testing.assert_array_equal(labels.numpy(), truths.loop_argmax(logits.numpy(), (19, 131)))


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ties_go_to_the_first(dtype, scale):
    """Small whole numbers, enlarged by powers of two: every mean is exact, and half the labels are decided by a tie."""
    logits = torch.randint(-1, 2, (3, 5, 11, 19), generator=torch.Generator().manual_seed(1)).to(dtype)
    size = (11 * scale, 19 * scale)
    assert torch.equal(kernels().argmax(logits, size), argmax.reference(logits.double(), size))


def test_large_and_denormal_logits():
    for scale in (3e38 / 5, 1e-39):
        logits = random_map(5, (9, 17)) * scale
        enlarged = F.interpolate(logits.double(), size=(18, 34), mode="bilinear", align_corners=False)
        chosen = enlarged.gather(1, kernels().argmax(logits, (18, 34))[:, None].long())
        largest = enlarged.amax(1, keepdim=True)
        assert (largest - chosen <= largest.abs() * 8 * UNIT + 2.0**-146).all()


@pytest.mark.parametrize(("coarse", "size"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_wins(dtype, coarse, size):
    """The first class that is NaN, as in torch."""
    for share, classes in itertools.product((0.02, 0.5), (3, 19)):
        logits = smooth_map(classes, coarse)
        mask = torch.rand(logits.shape, generator=torch.Generator().manual_seed(2)) < share
        logits = logits.masked_fill(mask, float("nan")).to(dtype)
        truth = argmax.reference(logits.double(), size)
        reached = F.interpolate(logits.double(), size=size, mode="bilinear").isnan().any(1)
        assert torch.equal(kernels().argmax(logits, size)[reached], truth[reached])


@pytest.mark.parametrize(("coarse", "size"), SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("value", [float("inf"), -float("inf")])
def test_infinity(value, coarse, size):
    """As in torch wherever its enlargement is no NaN. (At the map's edges it holds 0 * infinity: the kernel gives that
    class there, or the one on which all corners agree.)"""
    logits = smooth_map(5, coarse)
    bound = float(logits.abs().max()) * UNIT * (8 + 12 * max(*coarse, *size))
    logits[torch.rand(logits.shape, generator=torch.Generator().manual_seed(2)) < 0.1] = value
    enlarged = F.interpolate(logits.double(), size=size, mode="bilinear", align_corners=False)
    largest = enlarged.amax(1)
    chosen = enlarged.gather(1, kernels().argmax(logits, size)[:, None].long())[:, 0]
    right = (chosen == largest) | (largest - chosen <= 2 * bound)
    clean = ~enlarged.isnan().any(1)
    assert clean.any()
    assert right[clean].all()


@pytest.mark.parametrize("size", [(18, 132), (18, 131), (17, 130), (5, 3)], ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_address(dtype, size):
    """Labels leave in fours where their rows start at 16 bytes, else one by one."""
    logits = smooth_map(5, (9, 67) if size[1] > 67 else (2, 3)).to(dtype)
    expected = kernels().argmax(logits, size)
    for offsets in itertools.product((0, 1), (0, 1, 2, 3)):
        assert torch.equal(kernels().argmax(logits, size, offsets=offsets), expected)


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_no_order_of_threads_and_no_depth_of_the_grid_changes_a_label(dtype, order):
    """With depth 1 a block makes all images, as it does past 65535, and uses its shared memory again."""
    for coarse, size in (SIZES["x2"], SIZES["smaller"], SIZES["ratio of primes"]):
        logits = smooth_map(7, coarse, batch=3).to(dtype)
        expected = kernels().argmax(logits, size)
        grid = (-(-size[1] // 128), -(-size[0] // 16), 1)
        with kernels().order(order):
            assert torch.equal(kernels().argmax(logits, size), expected)
            like = torch.empty(0)  # of the second input only the shape is read, not here
            numbers = [*logits.shape, *size]
            labels = kernels().launch(
                f"hc_argmax_{NAMES[dtype]}", grid, (256, 1, 1), (logits, like), numbers, (expected.shape, torch.int32)
            )
        assert torch.equal(labels, expected)
