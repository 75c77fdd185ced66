"""Metrics against counts by hand and against scikit-learn-like definitions written as loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from hc_deploy.errors import DeployError, GateError
from hc_deploy.evaluate.metrics import ConfusionMatrix
from hc_deploy.parity.fidelity import (
    Fidelity,
    label_boundaries,
    measure_fidelity,
    range_error,
    require_fidelity,
    same_depths,
)
from hc_deploy.parity.label_ties import enlarged_at, near_ties
from hc_deploy.spec import ModelSpec


def test_iou_by_hand():
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[0, 0, 1, 1]]), np.array([[0, 1, 1, 255]]))
    np.testing.assert_array_equal(matrix.iou(), [0.5, 0.5, np.nan])
    assert matrix.mean_iou() == 0.5 and matrix.pixel_accuracy() == pytest.approx(2 / 3)


def test_iou_is_its_definition():
    rng = np.random.default_rng(0)
    prediction, truth = rng.integers(0, 5, (2, 13, 17)), rng.integers(0, 5, (2, 13, 17))
    matrix = ConfusionMatrix(5)
    for one, other in zip(prediction, truth, strict=True):
        matrix.update(one, other)
    expected = [((prediction == c) & (truth == c)).sum() / ((prediction == c) | (truth == c)).sum() for c in range(5)]
    np.testing.assert_allclose(matrix.iou(), expected)


def test_nothing_counted_is_nan():
    assert np.isnan(ConfusionMatrix(2).mean_iou()) and np.isnan(ConfusionMatrix(2).pixel_accuracy())


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int32, np.int64, np.uint64])
def test_every_pixel_is_counted_once_whatever_the_type(kind):
    """Sixteen classes: 15 * 16 + 15 does not fit int8."""
    rng = np.random.default_rng(3)
    prediction, truth = rng.integers(0, 16, (2, 2, 13, 17))
    expected = np.zeros((16, 16), int)
    for one, other in zip(prediction.ravel(), truth.ravel(), strict=True):
        expected[other, one] += 1
    matrix = ConfusionMatrix(16)
    matrix.update(prediction.astype(kind), truth.astype(kind))
    np.testing.assert_array_equal(matrix.counts, expected)
    assert matrix.counts.sum() == truth.size and matrix.ignored == 0


def test_two_classes_from_one_logit():
    """Labels by the sign of a logit, as bool or 0 and 1, are two classes: the background has an IoU of its own."""
    logits, truth = np.array([[-2.0, 0.5, 3.0, -0.1]]), np.array([[0, 1, 0, 1]], np.uint8)
    for labels in (logits > 0, (logits > 0).astype(np.int32)):
        matrix = ConfusionMatrix(2)
        matrix.update(labels, truth)
        np.testing.assert_array_equal(matrix.counts, [[1, 1], [1, 1]])
        np.testing.assert_allclose(matrix.iou(), [1 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("prediction", "truth", "message"),
    [
        ([[0, 3]], [[0, 1]], "prediction: 3"),
        ([[0, -1]], [[0, 1]], "prediction: -1"),
        ([[0, 255]], [[0, 1]], "prediction: 255"),
        ([[0, 1]], [[0, 3]], "truth: 3"),
        ([[0, 1]], [[0, -1]], "truth: -1"),
        ([[0, 1]], [[0, 254]], "truth: 254"),
        ([[0.0, 1.0]], [[0, 1]], "prediction of type float64"),
        ([[0, 1]], [[0.0, 1.0]], "truth of type float64"),
        ([[0, 1]], [[0, 1], [0, 1]], "expected: one shape"),
        ([[0, 1]], [0, 1], "expected: one shape"),
    ],
)
def test_what_is_no_class_is_refused_not_counted_as_another(prediction, truth, message):
    """3 * classes + ... is the row of another class, -1 that of the one before."""
    matrix = ConfusionMatrix(3)
    with pytest.raises(DeployError) as refused:
        matrix.update(np.array(prediction), np.array(truth))
    assert message in f"{refused.value.received}; expected: {refused.value.expected}"
    assert matrix.counts.sum() == matrix.ignored == 0


def test_the_ignore_label_has_a_name():
    matrix = ConfusionMatrix(3, ignore=-1)
    matrix.update(np.array([[0, 1, 77, -5]]), np.array([[0, 2, -1, -1]]))  # what lies on ignored pixels does not matter
    assert matrix.counts.sum() == 2 and matrix.ignored == 2
    with pytest.raises(DeployError, match="truth: 255"):
        matrix.update(np.array([[0]]), np.array([[255]]))
    strict = ConfusionMatrix(300, ignore=None)
    strict.update(np.array([[255, 299]]), np.array([[255, 299]]))
    assert strict.counts[255, 255] == strict.counts[299, 299] == 1
    with pytest.raises(DeployError, match="the ignore label 255 with 300 classes"):
        ConfusionMatrix(300)


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


def test_boundaries_by_loop():
    labels = np.random.default_rng(1).integers(0, 2, (1, 7, 9))
    expected = np.zeros(labels.shape, bool)
    for y in range(7):
        for x in range(9):
            around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            expected[0, y, x] = any(0 <= a < 7 and 0 <= b < 9 and labels[0, a, b] != labels[0, y, x] for a, b in around)
    np.testing.assert_array_equal(label_boundaries(labels), expected)


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
