"""Fidelity between two sessions, and what near ties explain, against torch and counts by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hc_deploy.errors import DeployError, GateError
from hc_deploy.parity.fidelity import Fidelity, measure_fidelity, range_error, require_fidelity, same_depths
from hc_deploy.parity.label_ties import enlarged_at, enlarged_labels, near_ties
from hc_deploy.spec import ModelSpec


class Given:
    """A session that gives the same outputs for every image."""

    def __init__(self, name, classes, **outputs):
        self.name, self.outputs = name, outputs
        self.spec = ModelSpec(name, ("x",) * classes, ((0, 0, 0),) * classes)

    def run(self, _):
        return self.outputs


def test_fidelity_with_one_logit_and_near_ties():
    """[1,1,3,5] enlarged to 5 x 9 by half-pixel bilinear: the truth is torch's. Only at near ties may labels differ."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (1, 1, 3, 5)).astype(np.float32)
    enlarged = F.interpolate(torch.from_numpy(logits).double(), size=(5, 9), mode="bilinear")[0, 0].numpy()
    labels = (enlarged > 0).astype(np.uint8)[None]
    row, column = np.unravel_index(np.abs(enlarged).argmax(), enlarged.shape)
    wrong = labels.copy()
    wrong[0, row, column] ^= 1
    found = measure_fidelity(
        Given("one", 2, labels=labels, logits=logits), Given("other", 2, labels=wrong, logits=logits + 1e-6), [0]
    )
    assert (found.pixel_agreement, found.near_ties) == (44 / 45, 0.0) and found.failures() and found.logit_error < 1e-6
    at = np.nonzero(np.ones((1, 5, 9)))
    values = enlarged_at(logits, at, np.zeros_like(at[0]), (1, 5, 9))
    np.testing.assert_allclose(values, enlarged.ravel(), atol=1e-12)
    shifted = (logits - enlarged[row, column]).astype(np.float32)  # now that pixel is the tie
    tied = measure_fidelity(
        Given("one", 2, labels=labels, logits=shifted), Given("other", 2, labels=wrong, logits=shifted), [0]
    )
    assert tied.near_ties == 1 / 45 and tied.failures() == [] and "near ties" in tied.summary()


@pytest.mark.parametrize("probability", [None, 0.5, 0.3, 0.9])
def test_the_threshold_of_one_logit_is_a_probability(probability):
    spec = ModelSpec("fcn", ("a", "b"), ((0, 0, 0),) * 2, threshold=probability)
    assert 1 / (1 + np.exp(-spec.threshold_logit)) == pytest.approx(probability or 0.5)


def test_near_ties_of_several_classes_are_between_the_two_labels():
    logits = np.zeros((1, 3, 2, 2), np.float32)
    logits[0, :, 0, 0] = [5, 5, 1]
    labels, other, worse = (np.full((1, 2, 2), label, np.uint8) for label in (0, 1, 2))
    spec = Given("one", 3).spec
    truth = {"labels": labels, "logits": logits}
    assert near_ties(truth, other, spec).all() and not near_ties(truth, labels, spec).any()
    assert near_ties(truth, worse, spec).tolist() == [[[False, True], [True, True]]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "one gives nothing"),
        ({"labels": np.zeros((1, 1, 4), np.uint8)}, "labels of shape"),
        ({"labels": np.full((1, 4, 4), 7, np.uint8)}, "labels of the prediction: 7"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused(given, message):
    """numpy would stretch one row over four, and 7 of 3 classes would count as another pair."""
    with pytest.raises(DeployError, match=message):
        measure_fidelity(Given("r", 3, labels=np.zeros((1, 4, 4), np.uint8)), Given("one", 3, **given), [0])


def test_nothing_compared_is_no_agreement():
    for images in ([], [0]):
        assert measure_fidelity(Given("r", 3), Given("c", 3), images).failures() == ["nothing was compared"]


def test_infinity_does_not_make_all_depths_agree():
    truth, given = np.array([1.0, 2.0, np.inf, np.inf, np.nan]), np.array([1.0009, 2.5, np.inf, 3.0, np.nan])
    assert same_depths(truth, given).tolist() == [True, False, True, False, False]
    logits = np.array([[[[np.inf, 1.0]]]])
    assert range_error(logits, np.array([[[[5.0, 9.0]]]])) == np.inf


def test_logit_error_is_relative_to_the_range_and_infinite_for_nan():
    truth = np.linspace(-4, 2, 100).reshape(1, 1, 10, 10)
    assert range_error(truth, truth + 0.04) == pytest.approx(0.01)
    assert range_error(truth, np.where(truth > 1.9, np.nan, truth)) == np.inf


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pixel_agreement": 0.9998}, "99.99%"),
        ({"pixel_agreement": float("nan")}, "99.99%"),
        ({"logit_error": 0.01}, "logits differ"),
        ({"superpixel_agreement": 0.99}, "superpixel"),
        ({"depth_agreement": 0.99}, "of depths agree"),
    ],
)
def test_gate(changed, message):
    good = {"images": 1, "pixel_agreement": 1.0, "boundary_agreement": 1.0, "mean_iou": 1.0, "logit_error": 1e-6}
    require_fidelity(Fidelity(**good), candidate="x", cause="")
    with pytest.raises(GateError, match=message):
        require_fidelity(Fidelity(**{**good, **changed}), candidate="x", cause="")


@pytest.mark.parametrize(
    ("channels", "coarse", "size"), [(5, (3, 5), (33, 65)), (3, (17, 11), (64, 96)), (2, (4, 7), (4, 7))]
)
def test_labels_from_logits_are_torchs(channels, coarse, size):
    logits = np.random.default_rng(0).normal(size=(2, channels, *coarse)).astype(np.float32)
    colours = ((0, 0, 0),) * channels
    spec = ModelSpec("a", tuple(map(str, range(channels))), colours)
    truth = F.interpolate(torch.from_numpy(logits), size=size, mode="bilinear").argmax(1).numpy()
    labels = enlarged_labels(logits, spec, size)
    assert labels.dtype == np.uint8 and (labels == truth).mean() > 0.9999


def test_labels_from_one_logit_are_by_the_threshold():
    logits = np.random.default_rng(0).normal(size=(2, 1, 5, 7)).astype(np.float32)
    spec = ModelSpec("a", ("no", "yes"), ((0, 0, 0), (1, 1, 1)), threshold=0.7)
    truth = torch.sigmoid(F.interpolate(torch.from_numpy(logits), size=(33, 65), mode="bilinear"))[:, 0] > 0.7
    assert (enlarged_labels(logits, spec, (33, 65)) == truth.numpy()).mean() > 0.9999
