"""Inputs for the clustering kernels and their comparison with the float64 references, for several tests."""

from __future__ import annotations

import itertools

import torch

from hc_deploy.ops import ClusterOptions, assign, upsample
from tests.plugins import bounds
from tests.plugins.emulated import TYPES, kernels

DTYPES = list(TYPES)
TAU = 0.0703125  # a float32
OPTIONS = [
    ClusterOptions(TAU, similarity, border, assignment)
    for similarity, border, assignment in itertools.product(("cosine", "dot"), ("zero", "exclude"), ("soft", "hard"))
]
SOFT = [options for options in OPTIONS if options.assignment == "soft"]


def maps(size, *, batch=2, channels=13, classes=5, dtype=torch.float32, seed=0):
    """features, seeds and coarse; the products of features and seeds have variance 1, whatever the channels."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    h, w = (height + 1) // 2, (width + 1) // 2
    shapes = [(batch, channels, height, width), (batch, channels, h, w), (batch, classes, h, w)]
    features, seeds, coarse = (torch.randn(shape, generator=generator) for shape in shapes)
    return [(features * channels**-0.5).to(dtype), seeds.to(dtype), coarse.to(dtype)]


def check_assign(features, seeds, options, by=None):
    """`by`: the kernels; the emulated ones if not given."""
    result = (by or kernels()).assign(features, seeds, options)
    truth = assign.reference(features.double(), seeds.double(), options)
    if options.assignment == "hard":
        check_hard(result, features, seeds, options)
    else:
        bound = truth * bounds.relative_weight(features, seeds, options) + bounds.rounding(truth, features.dtype)
        bounds.check(result, truth, bound)


def check_hard(result, features, seeds, options):
    """A weight of 1 on the largest candidate, where it is larger than the next by more than the logits err, or just as
    large: candidates outside the map have the similarity 0, exactly."""
    soft = ClusterOptions(options.tau, options.similarity, options.border)
    truth = assign.reference(features.double(), seeds.double(), soft)
    two = truth.topk(2, dim=1).values.log()
    gap = two[:, 0] - two[:, 1]
    clear = (gap > 2 * bounds.logit(features, seeds, options)) | (gap == 0)
    assert clear.double().mean() > 0.9
    assert torch.equal(result.double().sum(1), torch.ones_like(two[:, 0]))
    assert torch.equal(result.amax(1), torch.ones_like(result[:, 0]))
    assert torch.equal(result.argmax(1)[clear], truth.argmax(1)[clear])


def check_upsample(coarse, features, seeds, options, by=None):
    result = (by or kernels()).upsample(coarse, features, seeds, options)
    truth = upsample.reference(coarse.double(), features.double(), seeds.double(), options)
    weights = assign.reference(features.double(), seeds.double(), options)
    bounds.check(result, truth, bounds.decoded(coarse, weights, bounds.relative_weight(features, seeds, options)))
