"""The kernels for CPUs, each instruction set that is here, against the float64 references and loops."""

import ctypes
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hc_deploy.ops import ClusterOptions, argmax, decode
from tests.ops import truths
from tests.plugins import bounds
from tests.plugins.cluster import DTYPES, OPTIONS, SOFT, TAU, check_assign, check_upsample, maps
from tests.plugins.cpu import INVALID, NAMES, CpuKernels, cpu_kernels, library
from tests.plugins.emulated import Options
from tests.plugins.test_label_kernel import SIZES as LABEL_SIZES
from tests.plugins.test_label_kernel import check as check_labels
from tests.plugins.test_label_kernel import random_map, smooth_map

SIZES = [(1, 1), (2, 3), (7, 13), (10, 32), (9, 67), (5, 131), (3, 523)]
ids = "{0[0]}x{0[1]}".format


@pytest.fixture(params=NAMES)
def kernels(request):
    return cpu_kernels(request.param)


@pytest.mark.parametrize("size", SIZES, ids=ids)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sizes(kernels, dtype, size):
    for channels, classes in ((64, 5), (1, 1), (13, 19)):
        features, seeds, coarse = maps(size, channels=channels, classes=classes, dtype=dtype)
        options = ClusterOptions(TAU)
        check_assign(features, seeds, options, kernels)
        check_upsample(coarse, features, seeds, options, kernels)
        weights = kernels.assign(features, seeds, options)
        result, truth = kernels.decode(coarse, weights), decode.reference(coarse.double(), weights.double())
        bounds.check(result, truth, bounds.decoded(coarse, weights))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_attributes(kernels, options):
    for size, dtype in itertools.product([(7, 13), (9, 67)], DTYPES):
        features, seeds, coarse = maps(size, dtype=dtype)
        check_assign(features, seeds, options, kernels)
        if options in SOFT:
            check_upsample(coarse, features, seeds, options, kernels)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_definition(kernels, options):
    """Against the loops over pixels."""
    features, seeds, coarse = maps((7, 13))
    weights = truths.loop_assign(features.double().numpy(), seeds.double().numpy(), options)
    np.testing.assert_allclose(kernels.assign(features, seeds, options).numpy(), weights, atol=2e-5)
    decoded = truths.loop_decode(coarse.double().numpy(), weights)
    np.testing.assert_allclose(kernels.upsample(coarse, features, seeds, options).numpy(), decoded, atol=1e-4)
    given = torch.from_numpy(weights).float()
    np.testing.assert_allclose(kernels.decode(coarse, given).numpy(), decoded, atol=1e-5)


def test_zero_features_and_seeds(kernels):
    """Their length is floored: every candidate is alike, and the first is taken where one must be."""
    features, seeds, _ = maps((6, 34))
    for options in (o for o in OPTIONS if o.border == "zero"):
        weights = kernels.assign(features * 0, seeds, options)
        expected = torch.zeros_like(weights)
        if options.assignment == "hard":
            expected[:, 0] = 1
        else:
            expected += 1 / 9
        torch.testing.assert_close(weights, expected)
        torch.testing.assert_close(kernels.assign(features, seeds * 0, options), expected)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_nan_and_weights_past_the_smallest(kernels, similarity):
    """A pixel that is NaN has NaN weights, it alone; logits far apart give weights of 0 and 1, and no NaN."""
    features, seeds, _ = maps((6, 34))
    features[0, 3, 2, 5] = torch.nan
    weights = kernels.assign(features, seeds, ClusterOptions(TAU, similarity))
    nan = weights.isnan().all(1)
    assert nan[0, 2, 5] and nan.sum() == 1 and weights.isnan().any(1).sum() == 1
    weights = kernels.assign(features.nan_to_num(1) * 100, seeds * 100, ClusterOptions(1e-4, similarity, "exclude"))
    assert torch.isfinite(weights).all() and (weights.amax(1) > 0.3).all() and (weights == 0).any()
    torch.testing.assert_close(weights.sum(1), torch.ones(weights[:, 0].shape))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_half_is_read_and_written_as_torch_does(kernels, dtype):
    """All 65536 of them: as the one candidate with weight 1."""
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).reshape(1, 1, 256, 256)
    assignment = torch.zeros(1, 9, 511, 511, dtype=dtype)
    assignment[:, 4] = 1
    clean = every.masked_fill(~every.isfinite(), 0)
    out = kernels.decode(clean, assignment)[:, :, ::2, ::2]
    assert torch.equal(out, clean)
    lone = torch.zeros(1, 1, 256, 256, dtype=dtype)
    lone[0, 0, ::4, ::4] = every[0, 0, ::4, ::4]
    read = kernels.decode(lone, assignment)[0, 0, ::8, ::8]
    assert torch.equal(read.isnan(), lone[0, 0, ::4, ::4].isnan())
    assert torch.equal(read.nan_to_num(0), lone[0, 0, ::4, ::4].nan_to_num(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sums_are_rounded_to_nearest_even(kernels, dtype):
    """Halves of neighbours, denormal, tied and overflowing ones among them; float32 sums of two products are exact."""
    bits = torch.randint(0, 2**15 - 1, (1, 4, 64, 64), generator=torch.Generator().manual_seed(0))
    coarse = bits.to(torch.int16).view(dtype).nan_to_num(1.0, 2.0, 3.0)
    assignment = torch.zeros(1, 9, 128, 128, dtype=dtype)
    assignment[:, 4], assignment[:, 5] = 0.5, 0.75
    right = F.pad(coarse.float(), (0, 1))[..., 1:]
    truth = (0.5 * coarse.float() + 0.75 * right).to(dtype)
    assert torch.equal(kernels.decode(coarse, assignment)[:, :, ::2, ::2], truth)


@pytest.mark.parametrize(("coarse", "size"), LABEL_SIZES.values(), ids=LABEL_SIZES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_labels(kernels, dtype, coarse, size):
    for make, classes in itertools.product((random_map, smooth_map), (1, 2, 19)):
        check_labels(make(classes, coarse, batch=1 + classes % 3).to(dtype), size, kernels)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_ties_go_to_the_first_label(kernels, scale):
    logits = torch.randint(-1, 2, (3, 5, 11, 19), generator=torch.Generator().manual_seed(1)).float()
    size = (11 * scale, 19 * scale)
    assert torch.equal(kernels.argmax(logits, size), argmax.reference(logits.double(), size))


@pytest.mark.parametrize(("coarse", "size"), LABEL_SIZES.values(), ids=LABEL_SIZES)
def test_nan_wins(kernels, coarse, size):
    """The first class that is NaN, as in torch."""
    for share, classes in itertools.product((0.02, 0.5), (3, 19)):
        logits = smooth_map(classes, coarse)
        mask = torch.rand(logits.shape, generator=torch.Generator().manual_seed(2)) < share
        logits = logits.masked_fill(mask, float("nan"))
        reached = F.interpolate(logits.double(), size=size, mode="bilinear").isnan().any(1)
        truth = argmax.reference(logits.double(), size)
        assert torch.equal(kernels.argmax(logits, size)[reached], truth[reached])


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 3e38])
def test_infinite_and_huge_logits(kernels, value):
    """As in torch wherever its enlargement is a number; the difference of two huge ones is none in float32."""
    logits = smooth_map(5, (9, 67))
    logits[torch.rand(logits.shape, generator=torch.Generator().manual_seed(2)) < 0.1] = value
    logits[torch.rand(logits.shape, generator=torch.Generator().manual_seed(3)) < 0.1] = -value
    enlarged = F.interpolate(logits.double(), size=(18, 134), mode="bilinear", align_corners=False)
    clean = ~enlarged.isnan().any(1)
    chosen = enlarged.gather(1, kernels.argmax(logits, (18, 134))[:, None].long())[:, 0]
    largest = enlarged.amax(1)
    bound = float(logits[logits.isfinite()].abs().max()) * 2**-20
    assert clean.any() and ((chosen == largest) | (largest - chosen <= bound))[clean].all()


def test_any_address(kernels):
    for dtype in DTYPES:
        features, seeds, coarse = maps((9, 67), dtype=dtype)
        options = ClusterOptions(TAU)
        truth = kernels.upsample(coarse, features, seeds, options)
        assert torch.equal(kernels.upsample(coarse, features, seeds, options, offsets=(1, 1, 1, 1)), truth)
        labels = kernels.argmax(coarse, (19, 131))
        assert torch.equal(kernels.argmax(coarse, (19, 131), offsets=(1, 1)), labels)


@pytest.mark.parametrize("rows", [1, 2, 7, 1000])
def test_no_division_of_the_rows_changes_a_bit(kernels, rows):
    features, seeds, coarse = maps((37, 67))
    parts, options = CpuKernels(library(), kernels.name, rows=rows), ClusterOptions(TAU)
    assert torch.equal(parts.assign(features, seeds, options), kernels.assign(features, seeds, options))
    truth = kernels.upsample(coarse, features, seeds, options)
    assert torch.equal(parts.upsample(coarse, features, seeds, options), truth)
    weights = kernels.assign(features, seeds, options)
    assert torch.equal(parts.decode(coarse, weights), kernels.decode(coarse, weights))
    assert torch.equal(parts.argmax(coarse, (74, 134)), kernels.argmax(coarse, (74, 134)))


def test_sizes_outside_the_limits_are_refused(kernels):
    good, null = Options(0.07, 0, 0, 0), [0, 0, 0]
    for numbers in ((3, 1, 1, 1), (0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, -1), (0, 1, 2**16, 2**16)):
        assert kernels.call("hc_cpu_assign", null, [*numbers, good, 0, 0, 1]) == INVALID
    for part in ((-1, 0, 1), (0, -1, 1), (0, 1, 0), (0, 0, 3)):
        assert kernels.call("hc_cpu_assign", null, [0, 1, 4, 4, good, *part]) == INVALID
        assert kernels.call("hc_cpu_decode", null, [0, 1, 4, 4, *part]) == INVALID
        assert kernels.call("hc_cpu_argmax", null[:2], [0, 1, 1, 1, 2, 2, *part]) == INVALID
    for tau in (0.0, -1.0, float("nan"), float("inf"), 1e-34):
        options = Options(tau, 0, 0, 0)
        assert kernels.call("hc_cpu_upsample", [*null, 0], [0, 1, 1, 1, 1, options, 0, 0, 1]) == INVALID


def test_sets_are_named_and_others_refused():
    kernels = cpu_kernels("serial")
    kernels.library.hc_cpu_instruction_set_name.restype = ctypes.c_char_p
    assert kernels.library.hc_cpu_instruction_set_name(len(NAMES)) is None
    found = [kernels.library.hc_cpu_instruction_set_name(i).decode() for i in range(len(NAMES))]
    assert found == list(NAMES)
    assert kernels.library.hc_cpu_use(b"vector-of-the-future") == 3
