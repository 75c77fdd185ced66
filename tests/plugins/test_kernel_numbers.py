"""HCAssign, HCDecode and HCUpsample as CUDA kernels at the ends of arithmetic: ties, large logits, denormals, NaN."""

import itertools

import numpy as np
import pytest
import torch

from hc_deploy.ops import ClusterOptions, assign, decode, upsample
from tests.plugins import bounds
from tests.plugins.cluster import DTYPES, OPTIONS, SOFT, TAU, check_assign, check_upsample, maps
from tests.plugins.emulated import kernels


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_hard_ties_go_to_the_first(dtype):
    """Small whole numbers: every product and sum is exact, so is the choice."""
    generator = torch.Generator().manual_seed(2)
    features = torch.randint(-2, 3, (2, 3, 11, 67), generator=generator).to(dtype)
    seeds = torch.randint(-1, 2, (2, 3, 6, 34), generator=generator).to(dtype)
    coarse = torch.arange(2 * 6 * 34).reshape(2, 1, 6, 34).remainder(97).to(dtype)
    for border in ("zero", "exclude"):
        options = ClusterOptions(TAU, "dot", border, "hard")
        truth = assign.reference(features.double(), seeds.double(), options)
        assert torch.equal(kernels().assign(features, seeds, options).double(), truth)
        chosen = upsample.reference(coarse.double(), features.double(), seeds.double(), options)
        assert torch.equal(kernels().upsample(coarse, features, seeds, options).double(), chosen)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_large_dot_logits(dtype, sign):
    """Logits up to 3e10, and all of them as low: without its largest subtracted first a softmax is NaN. Rounding moves
    them by thousands, so the truth is one-hot wherever the two largest lie further apart than that."""
    generator = torch.Generator().manual_seed(3)
    features = (1e3 + 9e3 * torch.rand(1, 3, 9, 67, generator=generator)).to(dtype)
    seeds = (sign * (1e3 + 9e3 * torch.rand(1, 3, 5, 34, generator=generator))).to(dtype)
    options = ClusterOptions(0.01, "dot", "exclude")
    result = kernels().assign(features, seeds, options)
    truth = assign.reference(features.double(), seeds.double(), options)
    logits = torch.stack([(features.double() * s).sum(1) for s in _neighbours(seeds)], 1) / options.tau
    logits = logits.masked_fill(torch.stack([(s == 0).all(1) for s in _neighbours(seeds)], 1), -torch.inf)
    two = logits.topk(2, dim=1).values
    clear = two[:, 0] - two[:, 1] > 2 * bounds.logit(features, seeds, options) + 100  # exp(-100) is 0 in any type
    assert clear.double().mean() > 0.95
    assert torch.isfinite(result).all()
    decided = clear[:, None].expand_as(result)
    assert torch.equal(result.double()[decided], truth.round()[decided])


def _neighbours(seeds):
    """Each pixel's nine seeds as float64 maps [B,K,9,67] for the coarse map [5,34]; zeros outside."""
    padded = torch.nn.functional.pad(seeds.double(), (1, 1, 1, 1))
    rows, columns = torch.arange(9) // 2, torch.arange(67) // 2
    return [padded[:, :, rows + n // 3][..., columns + n % 3] for n in range(9)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_cosine_logits_past_exp(dtype):
    """1/tau = 128: exp(128) is not a float32."""
    features, seeds, coarse = maps((9, 67), channels=3, dtype=dtype)
    for factor in (1, 200):
        options = ClusterOptions(1 / 128)
        check_assign(features * factor, features[:, :, ::2, ::2].contiguous() * factor, options)
        check_upsample(coarse, features * factor, seeds * factor, options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_are_float32(dtype):
    """Squares of 64 features near 1e4 sum to 6e9: float16 ends at 65504, bfloat16 has 8 bits."""
    features, seeds, coarse = maps((9, 66), channels=64, dtype=dtype)
    check_assign(features * 60000, seeds * 9000, SOFT[0])
    check_upsample(coarse, features * 60000, seeds * 9000, SOFT[0])


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-7])
def test_norm_floor(scale):
    """Lengths below 1e-6 count as 1e-6: zero features have similarity 0, not NaN."""
    features, seeds, coarse = maps((9, 67))
    for fine, centres in itertools.product((scale, 1), (scale, 1)):
        for options in SOFT:
            check_assign(features * fine, seeds * centres, options)
            check_upsample(coarse, features * fine, seeds * centres, options)


@pytest.mark.parametrize(
    ("dtype", "fine", "tau"),
    [(torch.float32, 1e-40, 2e-10), (torch.float16, 3e-7, 1e-2), (torch.bfloat16, 1e-40, 2e-10)],
)
def test_denormals(dtype, fine, tau):
    """Features below the smallest normal number, lifted to logits near 1 by seeds and temperature."""
    generator = torch.Generator().manual_seed(4)
    features = (fine * torch.randn(1, 5, 9, 67, generator=generator, dtype=torch.float64)).to(dtype)
    lift = 2e30 if fine < 1e-30 else 3e4
    seeds = (lift * torch.rand(1, 5, 5, 34, generator=generator, dtype=torch.float64)).to(dtype)
    assert 0 < features.abs().max() < torch.finfo(dtype).smallest_normal
    options = ClusterOptions(float(np.float32(tau)), "dot")
    truth = assign.reference(features.double(), seeds.double(), options)
    assert truth.max() > 0.3
    check_assign(features, seeds, options)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_denormal_results(dtype):
    _, _, coarse = maps((9, 67), dtype=dtype)
    weights = torch.rand(2, 9, 9, 67, generator=torch.Generator().manual_seed(1))
    for scale in (1e-40, 1e-39) if dtype != torch.float16 else (1e-7, 1e-6):
        small = (coarse.double() * scale).to(dtype)
        truth = decode.reference(small.double(), weights.to(dtype).double())
        bound = 11 * bounds.UNIT * truth.abs() + 12 * float(torch.finfo(dtype).smallest_normal) * torch.finfo(dtype).eps
        bounds.check(kernels().decode(small, weights.to(dtype)), truth, bound)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_nan_and_infinity(dtype, value, options):
    """They reach exactly the outputs that they reach in torch. A logit that is NaN or infinite makes all nine soft
    weights NaN; the hard choice falls on the first NaN, else on the first infinity."""
    for place in ("features", "seeds"):
        features, seeds, coarse = maps((9, 67), channels=5, dtype=dtype)
        for y, x in ((0, 0), (2, 20), (4, 33)):
            (features if place == "features" else seeds)[1, 2, y, x] = value
        truth = assign.reference(features.double(), seeds.double(), options)
        result = kernels().assign(features, seeds, options).double()
        if options.assignment == "soft":
            assert truth.isnan().any()
            torch.testing.assert_close(result, truth, rtol=0.01, atol=1e-3, equal_nan=True)
            fused = kernels().upsample(coarse, features, seeds, options).double()
            decoded = upsample.reference(coarse.double(), features.double(), seeds.double(), options)
            torch.testing.assert_close(fused, decoded, rtol=0.01, atol=0.01, equal_nan=True)
        else:
            soft = ClusterOptions(options.tau, options.similarity, options.border)
            reached = assign.reference(features.double(), seeds.double(), soft).isnan()
            assert reached.any()
            assert torch.equal(result[reached], truth[reached])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_and_infinity_are_decoded(dtype):
    """A weight of 0 does not hide them: 0 * infinity is NaN, in torch too."""
    features, seeds, coarse = maps((9, 67), dtype=dtype)
    for place, value in enumerate((float("nan"), float("inf"), -float("inf"))):
        coarse[1, place, 2 * place, 11 * place] = value
    for options in OPTIONS:
        weights = assign.reference(features, seeds, options)
        truth = decode.reference(coarse.double(), weights.double())
        assert truth.isnan().any()
        bounds.check(kernels().decode(coarse, weights), truth, bounds.decoded(coarse, weights))
        fused = kernels().upsample(coarse, features, seeds, options)
        assert torch.equal(torch.isfinite(fused), torch.isfinite(truth))


def test_float16_overflow_is_infinity():
    coarse, weights = torch.full((1, 1, 3, 3), 60000.0).half(), torch.full((1, 9, 6, 6), 2.0).half()
    assert (kernels().decode(coarse, weights) == float("inf")).all()
