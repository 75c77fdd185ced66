"""Metrics against counts by hand and against scikit-learn-like definitions written as loops."""

import numpy as np
import pytest

from hc_deploy.errors import DeployError
from hc_deploy.evaluate.metrics import ConfusionMatrix, label_boundaries


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


def test_boundaries_by_loop():
    labels = np.random.default_rng(1).integers(0, 2, (1, 7, 9))
    expected = np.zeros(labels.shape, bool)
    for y in range(7):
        for x in range(9):
            around = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            expected[0, y, x] = any(0 <= a < 7 and 0 <= b < 9 and labels[0, a, b] != labels[0, y, x] for a, b in around)
    np.testing.assert_array_equal(label_boundaries(labels), expected)
