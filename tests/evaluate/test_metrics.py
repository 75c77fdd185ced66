"""Metrics against counts by hand and against scikit-learn-like definitions written as loops."""

import numpy as np
import pytest

from hc_deploy.errors import GateError
from hc_deploy.evaluate.fidelity import Fidelity, label_boundaries, range_error, require_fidelity
from hc_deploy.evaluate.metrics import ConfusionMatrix


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
