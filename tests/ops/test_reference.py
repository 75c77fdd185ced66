"""The plain-torch references against independent truths, at even, odd, prime and tiny sizes."""

import itertools

import numpy as np
import pytest
import torch

from hc_deploy.ops import ClusterOptions, hc_argmax, hc_assign, hc_decode, hc_upsample
from tests.ops import truths

SIZES = [(8, 12), (7, 13), (5, 6), (2, 31), (1, 1)]
OPTIONS = [
    ClusterOptions(tau, similarity, border, assignment)
    for tau, similarity, border, assignment in itertools.product(
        (0.07, 1.5), ("cosine", "dot"), ("zero", "exclude"), ("soft", "hard")
    )
]


def maps(size, *, batch=2, dim=5, channels=3, dtype=torch.float64, seed=0):
    """features, seeds and a coarse map for a fine map of `size`."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    h, w = -(-height // 2), -(-width // 2)
    shapes = [(batch, dim, height, width), (batch, dim, h, w), (batch, channels, h, w)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def keywords(options):
    return {name: getattr(options, name) for name in ("tau", "similarity", "border", "assignment")}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_assign_is_its_definition(size, options):
    features, seeds, _ = maps(size)
    truth = truths.loop_assign(features.numpy(), seeds.numpy(), options)
    np.testing.assert_allclose(hc_assign(features, seeds, **keywords(options)).numpy(), truth, atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_decode_is_its_definition(size):
    features, seeds, coarse = maps(size)
    assignment = hc_assign(features, seeds)
    truth = truths.loop_decode(coarse.numpy(), assignment.numpy())
    np.testing.assert_allclose(hc_decode(coarse, assignment).numpy(), truth, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_upsample_is_decode_of_assign(options):
    features, seeds, coarse = maps((7, 10))
    assignment = truths.loop_assign(features.numpy(), seeds.numpy(), options)
    truth = truths.loop_decode(coarse.numpy(), assignment)
    np.testing.assert_allclose(hc_upsample(coarse, features, seeds, **keywords(options)).numpy(), truth, atol=1e-12)


@pytest.mark.parametrize("size", [(64, 96), (53, 101), (3, 5), (1, 1)])
@pytest.mark.parametrize("coarse", [(8, 12), (7, 13), (1, 1)])
def test_argmax_is_its_definition(size, coarse):
    logits = torch.randn((2, 5, *coarse), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = hc_argmax(logits, size)
    assert labels.dtype == torch.int32
    np.testing.assert_array_equal(labels.numpy(), truths.loop_argmax(logits.numpy(), size))


def test_papers_appendix_b_and_c():
    features, seeds, coarse = maps((10, 14), dim=64)
    assignment = hc_assign(features, seeds)
    torch.testing.assert_close(assignment, truths.appendix_b(features, seeds, 0.07), atol=1e-12, rtol=0)
    torch.testing.assert_close(hc_decode(coarse, assignment), truths.appendix_c(coarse, assignment), atol=1e-12, rtol=0)


def test_zero_border_keeps_weight_outside_and_exclude_does_not():
    features, seeds, _ = maps((6, 6))
    outside = [0, 1, 2, 3, 6]  # candidates of the top-left pixel that lie outside the map
    assert hc_assign(features, seeds, border="zero", tau=1.0)[:, outside, 0, 0].min() > 0
    assert hc_assign(features, seeds, border="exclude", tau=1.0)[:, outside, 0, 0].abs().max() == 0


def test_first_largest_wins_when_all_are_equal():
    same = torch.ones(1, 4, 6, 6), torch.ones(1, 4, 3, 3)
    chosen = hc_assign(*same, similarity="dot", border="exclude", assignment="hard").argmax(1)[0]
    assert chosen[2, 2] == 0  # inner pixel: candidate 0 is inside
    assert chosen[0, 0] == 4  # corner: only 4, 5, 7 and 8 are inside


@pytest.mark.parametrize("scale", [1e4, 1e-12, 0.0])
def test_large_small_and_zero_features_stay_finite(scale):
    features, seeds, coarse = maps((6, 8), dtype=torch.float32)
    for similarity in ("cosine", "dot"):
        out = hc_upsample(coarse, features * scale, seeds * scale, similarity=similarity)
        assert torch.isfinite(out).all()
        total = hc_assign(features * scale, seeds * scale, similarity=similarity).sum(1)
        torch.testing.assert_close(total, torch.ones_like(total))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_accumulates_in_float32(dtype):
    """K=64 features of size 40: their squared norm, 100,000, overflows float16."""
    features, seeds, coarse = (t * 40 for t in maps((6, 8), dim=64, dtype=dtype))
    truth = hc_upsample(coarse.double(), features.double(), seeds.double())
    out = hc_upsample(coarse, features, seeds)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), truth, rtol=2 * torch.finfo(dtype).eps, atol=1e-3)


@pytest.mark.parametrize("size", [(4, 6), (5, 3)])
def test_gradients(size):
    features, seeds, coarse = (t.requires_grad_() for t in maps(size, batch=1, dim=3, channels=2))
    assert torch.autograd.gradcheck(lambda f, s: hc_assign(f, s, tau=0.5), (features, seeds))
    assert torch.autograd.gradcheck(lambda f, s: hc_assign(f, s, border="exclude", tau=0.5), (features, seeds))
    assert torch.autograd.gradcheck(lambda c, f, s: hc_upsample(c, f, s, tau=0.5), (coarse, features, seeds))
    assignment = hc_assign(features, seeds).detach().requires_grad_()
    assert torch.autograd.gradcheck(hc_decode, (coarse, assignment))


def test_hard_assignment_has_no_gradient():
    features, seeds, coarse = (t.requires_grad_() for t in maps((4, 4)))
    with pytest.raises(ValueError, match="no gradient"):
        hc_assign(features, seeds, assignment="hard").sum().backward()
    with pytest.raises(ValueError, match="no gradient"):
        hc_upsample(coarse, features, seeds, assignment="hard").sum().backward()


@pytest.mark.parametrize("op", ["hc_assign", "hc_decode", "hc_upsample", "hc_argmax"])
def test_torch_op_contracts(op):
    """Schema, fake kernel and autograd registration hold, checked by torch itself at dynamic shapes too."""
    features, seeds, coarse = (t.requires_grad_() for t in maps((6, 9), dtype=torch.float32))
    attributes = (0.07, "cosine", "zero", "soft")
    arguments = {
        "hc_assign": (features, seeds, *attributes),
        "hc_decode": (coarse, hc_assign(features, seeds).detach().requires_grad_()),
        "hc_upsample": (coarse, features, seeds, *attributes),
        "hc_argmax": (coarse.detach(), features.detach()),
    }
    torch.library.opcheck(getattr(torch.ops.hc_deploy, op).default, arguments[op])


@pytest.mark.parametrize(
    ("attribute", "value", "legal"),
    [
        ("tau", 0.0, "positive"),
        ("tau", float("nan"), "positive"),
        ("similarity", "euclid", "cosine, dot"),
        ("border", "wrap", "zero, exclude"),
        ("assignment", "firm", "soft, hard"),
    ],
)
def test_bad_attributes_name_the_legal_ones(attribute, value, legal):
    features, seeds, _ = maps((4, 4))
    with pytest.raises(ValueError, match=legal):
        hc_assign(features, seeds, **{attribute: value})


def test_maps_that_do_not_fit_are_refused():
    features, seeds, coarse = maps((8, 8))
    with pytest.raises(ValueError, match="expected \\(2, 4, 4\\)"):
        hc_assign(features, seeds[:, :, :3])
    with pytest.raises(ValueError, match="9"):
        hc_decode(coarse, torch.zeros(2, 8, 8, 8))
    with pytest.raises(ValueError, match="hc_upsample"):
        hc_upsample(coarse[:, :, :, :3], features, seeds)
