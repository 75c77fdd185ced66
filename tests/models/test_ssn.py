"""SSN and HCSSN: differentiable SLIC against a loop, colours against scikit-image, the contract of every network."""

import numpy as np
import pytest
import skimage
import torch
import torch.nn.functional as F

from hc_deploy.errors import UsageError
from hc_deploy.evaluate.superpixels import (
    achievable_segmentation_accuracy,
    boundary_recall,
    enforce_connectivity,
    undersegmentation_error,
)
from hc_deploy.export.checkpoint import CheckpointInfo, load_state, read_checkpoint, save_checkpoint
from hc_deploy.export.onnx import export_onnx, save_onnx
from hc_deploy.export.untouched import Untouched
from hc_deploy.ops import hc_assign, hc_decode
from hc_deploy.parity.exposed import OnnxUnderTest
from hc_deploy.parity.fidelity import measure_fidelity
from hc_deploy.parity.images import parity_images
from hc_deploy.runtime import open_session
from hc_deploy.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from models.lab import denormalised, lab_from_srgb
from models.slic import Grid, grid_shape, slic_scores
from models.ssn import hcssn, ssn
from models.ssn_loss import compactness_loss, reconstruction_loss, ssn_loss
from tests.models.small import image, unsettle

BUILDERS = [ssn, hcssn]
SMALL = {"superpixels": 20, "channels": 8}
SIZES = [(65, 97), (33, 20), (31, 1), (2, 3), (1, 1)]


def made(builder, **options):
    """A small network that does not stand at its start: learned features and batch statistics count."""
    torch.manual_seed(0)
    net = builder(**{**SMALL, **options})
    torch.nn.init.normal_(net.features.output.weight, std=0.2)
    unsettle(net)
    return net.eval()


def candidate_ids(y, x, size, grid):
    """Ids of the nine candidates of pixel (y, x); None outside the grid and for cells without a pixel."""
    rows = {i * grid.rows // size[0] for i in range(size[0])}
    columns = {j * grid.columns // size[1] for j in range(size[1])}
    row, column = y * grid.rows // size[0], x * grid.columns // size[1]
    around = [(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    return [r * grid.columns + c if r in rows and c in columns else None for r, c in around]


def slic_by_loop(features, grid, iterations):
    """Algorithm 1 of SSN pixel by pixel in float64 -> Q [9,H,W] of one image [C,H,W]."""
    channels, height, width = features.shape
    pixels = [(y, x) for y in range(height) for x in range(width)]
    count = grid.rows * grid.columns
    sums, members = np.zeros((count, channels)), np.zeros(count)
    for y, x in pixels:
        own = candidate_ids(y, x, (height, width), grid)[4]
        sums[own] += features[:, y, x]
        members[own] += 1
    centres = sums / np.maximum(members, 1)[:, None]
    for step in range(iterations):
        weights = np.zeros((9, height, width))
        for y, x in pixels:
            for n, candidate in enumerate(candidate_ids(y, x, (height, width), grid)):
                if candidate is not None:
                    weights[n, y, x] = np.exp(-((features[:, y, x] - centres[candidate]) ** 2).sum())
            weights[:, y, x] /= weights[:, y, x].sum()
        if step == iterations - 1:
            return weights
        sums, total = np.zeros((count, channels)), np.zeros(count)
        for y, x in pixels:
            for n, candidate in enumerate(candidate_ids(y, x, (height, width), grid)):
                if candidate is not None:
                    sums[candidate] += weights[n, y, x] * features[:, y, x]
                    total[candidate] += weights[n, y, x]
        centres = np.where(total[:, None] > 1e-8, sums / np.maximum(total, 1e-8)[:, None], centres)
    raise AssertionError


@pytest.mark.parametrize(
    ("size", "grid"), [((13, 11), (3, 4)), ((12, 12), (3, 3)), ((7, 5), (7, 1)), ((3, 4), (5, 2)), ((1, 1), (3, 3))]
)
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_slic_is_algorithm_1(size, grid, iterations):
    grid = Grid(*grid)
    rng = np.random.default_rng(0)
    ramp = np.stack(np.meshgrid(*(np.arange(n) * 0.4 for n in size), indexing="ij"))
    features = np.concatenate([np.stack([ramp, ramp[:, ::-1]]), rng.normal(0, 0.7, (2, 3, *size))], axis=1)
    tensor = torch.from_numpy(features.copy())
    scores = slic_scores(tensor, grid.double(), iterations)
    weights = grid.from_cells(scores.softmax(3), tensor)
    ids = grid.ids(scores, tensor)
    assert ids.dtype == torch.int32 and ids.shape == (2, *size)
    for b in range(2):
        truth = slic_by_loop(features[b], grid, iterations)
        np.testing.assert_allclose(weights[b].numpy(), truth, atol=1e-9)
        for y, x in np.ndindex(size):
            assert ids[b, y, x] == candidate_ids(y, x, size, grid)[truth[:, y, x].argmax()]


def test_slic_keeps_float32_far_from_the_origin():
    """Positions of a large image: squares of 1e3 must not hide differences of 1e-2."""
    grid = Grid(3, 4)
    near = torch.rand(1, 5, 13, 11, dtype=torch.float64)
    far = (near + 1000).float()
    truth = slic_scores(near, grid.double(), 4).softmax(3)
    torch.testing.assert_close(slic_scores(far, grid.float(), 4).softmax(3).double(), truth, atol=2e-3, rtol=0)


@pytest.mark.parametrize(("size", "shape"), [((13, 11), (3, 4)), ((3, 4), (5, 2)), ((97, 65), (13, 13))])
def test_cells_and_back(size, shape):
    grid, pixels = Grid(*shape), torch.randn(2, 3, *size)
    cells, filled = grid.to_cells(pixels)
    assert filled.sum() == size[0] * size[1]
    torch.testing.assert_close(grid.from_cells(cells, pixels), pixels, atol=0, rtol=0)
    numbered = torch.arange(shape[0] * shape[1]).reshape(1, -1, 1, 1).expand(1, -1, cells.shape[2], 1)
    own = grid.from_cells(numbered, pixels)[0, 0]
    for y, x in np.ndindex(size):
        assert own[y, x] == candidate_ids(y, x, size, grid)[4]


@pytest.mark.parametrize(
    ("superpixels", "aspect", "shape"),
    [(169, 1.0, (13, 13)), (1, 1.0, (1, 1)), (2, 0.01, (2, 1)), (3, 100.0, (1, 3)), (600, 1.5, (20, 30))],
)
def test_grid_shape(superpixels, aspect, shape):
    assert grid_shape(superpixels, aspect) == shape


@pytest.mark.parametrize("superpixels", [1, 7, 50, 500, 1999])
def test_any_number_of_superpixels(superpixels):
    rows, columns = grid_shape(superpixels, 4 / 3)
    assert abs(rows * columns - superpixels) <= columns / 2
    net = made(ssn, superpixels=superpixels, aspect=4 / 3, iterations=2)
    ids = net.superpixels(image(48, 64))
    assert ids.min() >= 0 and ids.max() < rows * columns
    if 7 <= superpixels <= 50:
        assert len(ids.unique()) > 0.7 * superpixels


def test_lab_is_scikit_images():
    levels = np.linspace(0, 1, 9)
    srgb = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(27, 27, 3)
    given = lab_from_srgb(torch.from_numpy(srgb).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(given.numpy(), skimage.color.rgb2lab(srgb), atol=0.02)


def test_xylab():
    net = ssn(superpixels=12, aspect=4 / 3)
    picture = skimage.data.astronaut()[:30, :44]
    normal = (torch.from_numpy(picture / 255.0) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    x = normal.permute(2, 0, 1)[None].float()
    torch.testing.assert_close(denormalised(x)[0].permute(1, 2, 0), torch.from_numpy(picture / 255.0).float())
    xylab = net.xylab(x)[0].numpy()
    assert net.grid.rows == 3 and net.grid.columns == 4
    scale = 2.5 * max(4 / 44, 3 / 30)
    np.testing.assert_allclose(xylab[0], np.broadcast_to(np.arange(44) * scale, (30, 44)), rtol=1e-5)
    np.testing.assert_allclose(xylab[1], np.broadcast_to(np.arange(30)[:, None] * scale, (30, 44)), rtol=1e-5)
    np.testing.assert_allclose(xylab[2:].transpose(1, 2, 0), 0.26 * skimage.color.rgb2lab(picture), atol=0.02)


def test_features_by_hand():
    """The network of SSN's release, in functional code with the same weights."""
    net = made(ssn)
    state = net.features.state_dict()

    def scale(x, key):
        for layer in range(2):
            x = F.conv2d(x, state[f"{key}.{layer}.0.weight"], padding=1)
            stats = [state[f"{key}.{layer}.1.{p}"] for p in ("running_mean", "running_var", "weight", "bias")]
            x = torch.relu(F.batch_norm(x, *stats))
        return x

    xylab = net.xylab(image())
    x1 = scale(xylab, "scale1")
    x2 = scale(F.max_pool2d(x1, 3, 2, 1), "scale2")
    x3 = scale(F.max_pool2d(x2, 3, 2, 1), "scale3")
    enlarged = [F.interpolate(x, size=(65, 97), mode="bilinear") for x in (x2, x3)]
    learned = F.conv2d(torch.cat([xylab, x1, *enlarged], 1), state["output.weight"], state["output.bias"], padding=1)
    given = net.features(xylab)
    assert given.shape == (1, 20, 65, 97)
    torch.testing.assert_close(given, torch.cat([xylab, learned.relu()], 1))


def test_hcssn_decodes_by_eq_3():
    """Each of the two coarse maps through its own chain of assignments to the pooled seeds."""
    net = made(hcssn, dim=16).features
    xylab = torch.randn(1, 5, 33, 47)
    x1 = net.scale1(xylab)
    x2 = net.scale2(F.max_pool2d(x1, 3, 2, 1))
    x3 = net.scale3(F.max_pool2d(x2, 3, 2, 1))
    to_1 = hc_assign(net.cluster1.feature(x1), net.cluster1.seed(F.max_pool2d(x1, 3, 2, 1)))
    to_2 = hc_assign(net.cluster2.feature(x2), net.cluster2.seed(F.max_pool2d(x2, 3, 2, 1)))
    coarse = [hc_decode(x2, to_1), hc_decode(hc_decode(x3, to_2), to_1)]
    torch.testing.assert_close(net(xylab)[:, 5:], net.output(torch.cat([xylab, x1, *coarse], 1)).relu())


def test_parameter_counts():
    """Counted from the layers that the SSN paper and release give: 3x3 convolutions 5-64, five 64-64, (3*64+5)-15.

    Six batch normalisations of 64 with scale and shift; HCSSN adds W and W~ (64 x 64 each) of two downsampling layers.
    """
    convolutions = 9 * (5 * 64 + 5 * 64 * 64) + 9 * 197 * 15 + 15
    expected = convolutions + 6 * 2 * 64
    assert expected == 214_578
    assert sum(p.numel() for p in ssn().parameters()) == expected
    assert sum(p.numel() for p in hcssn().parameters()) == expected + 2 * 2 * 64 * 64
    assert (ssn().grid.rows, ssn().grid.columns) == (13, 13), "169 superpixels (section 4.3)"
    assert hcssn().level == 2


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("size", SIZES)
def test_any_size_and_batch(builder, size):
    net = made(builder, iterations=2)
    x = image(*size, batch=3)
    with torch.no_grad():
        weights, ids = net(x), net.superpixels(x)
    assert weights.shape == (3, 9, *size) and ids.shape == (3, *size) and ids.dtype == torch.int32
    torch.testing.assert_close(weights.sum(1), torch.ones(3, *size))
    for b in range(3):
        torch.testing.assert_close(net(x[b : b + 1])[0], weights[b], atol=1e-2, rtol=0)
    for y, x in [(0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 3)]:
        assert ids[1, y, x] == candidate_ids(y, x, size, net.grid)[weights[1, :, y, x].argmax()]


def reconstruction_by_loop(weights, labels, grid, classes):
    _, height, width = weights.shape
    size, count = (height, width), grid.rows * grid.columns
    sums, total = np.zeros((count, classes)), np.zeros(count)
    candidates = {(y, x): candidate_ids(y, x, size, grid) for y, x in np.ndindex(size)}
    for (y, x), around in candidates.items():
        for n, candidate in enumerate(around):
            if candidate is not None and labels[y, x] != 255:
                sums[candidate, labels[y, x]] += weights[n, y, x]
                total[candidate] += weights[n, y, x]
    means = sums / np.maximum(total, 1e-8)[:, None]
    losses = []
    for (y, x), around in candidates.items():
        rebuilt = sum(weights[n, y, x] * means[c] for n, c in enumerate(around) if c is not None)
        if labels[y, x] != 255:
            losses.append(-np.log(rebuilt[labels[y, x]] / rebuilt.sum()))
    return np.mean(losses)


def soft_weights(grid, size, seed=0):
    features = torch.randn(1, 4, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return grid.from_cells(slic_scores(features, grid, 2).softmax(3), features)


@pytest.mark.parametrize("ignored", [0.0, 0.3])
def test_reconstruction_loss_is_its_definition(ignored):
    grid, size = Grid(3, 4).double(), (13, 11)
    weights = soft_weights(grid, size)
    rng = np.random.default_rng(0)
    labels = np.where(rng.random(size) < ignored, 255, rng.integers(0, 3, size))
    given = reconstruction_loss(weights, torch.from_numpy(labels)[None], grid, classes=3)
    assert given.item() == pytest.approx(reconstruction_by_loop(weights[0].numpy(), labels, grid, 3))


def test_compactness_loss_is_its_definition():
    grid, size = Grid(3, 4).double(), (13, 11)
    weights = soft_weights(grid, size)
    sums, total = np.zeros((12, 2)), np.zeros(12)
    for y, x in np.ndindex(size):
        for n, candidate in enumerate(candidate_ids(y, x, size, grid)):
            if candidate is not None:
                sums[candidate] += weights[0, n, y, x].item() * np.array([y, x])
                total[candidate] += weights[0, n, y, x].item()
    errors = []
    for y, x in np.ndindex(size):
        own = candidate_ids(y, x, size, grid)[weights[0, :, y, x].argmax()]
        errors.append(((sums[own] / total[own] - [y, x]) ** 2).mean())
    assert compactness_loss(weights, grid).item() == pytest.approx(np.mean(errors))


def test_losses_of_perfect_superpixels():
    """One label a superpixel reconstructs exactly; labels that cut through superpixels do not."""
    grid, size = Grid(2, 2), (8, 8)
    weights = torch.zeros(1, 9, *size)
    weights[:, 4] = 1
    quarters = torch.arange(4).reshape(1, 2, 2).repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert reconstruction_loss(weights, quarters, grid, classes=4) == pytest.approx(0, abs=1e-6)
    stripes = torch.arange(8).remainder(2).expand(1, 8, 8)
    assert reconstruction_loss(weights, stripes, grid, classes=2) == pytest.approx(np.log(2), abs=1e-6)
    assert reconstruction_loss(weights, torch.full((1, 8, 8), 255), grid, classes=2) == 0
    assert compactness_loss(weights, grid) == pytest.approx(1.25)  # variance of 0, 1, 2, 3


@pytest.mark.parametrize("builder", BUILDERS)
def test_gradient_reaches_every_parameter(builder):
    net = made(builder, iterations=3).train()
    labels = torch.randint(0, 4, (2, 33, 49), generator=torch.Generator().manual_seed(0))
    labels[:, :16] = 255
    ssn_loss(net(image(33, 49, batch=2)), labels, net.grid, classes=4).backward()
    without = [key for key, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize("builder", BUILDERS)
def test_training_lowers_the_loss(builder):
    torch.manual_seed(0)
    net = builder(**SMALL, iterations=3).train()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    labels = (torch.arange(56) // 11 % 2).expand(1, 40, 56)
    x = image(40, 56) * (0.2 + 0.8 * labels.unsqueeze(1))  # of one mean colour: only learned features tell them apart
    losses = []
    for _ in range(18):
        loss = ssn_loss(net(x), labels, net.grid, classes=2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.65 * losses[0]


@pytest.mark.parametrize("builder", BUILDERS)
def test_save_and_load(builder, tmp_path):
    net, other = made(builder), builder(**SMALL)
    save_checkpoint(tmp_path / "net.safetensors", net, CheckpointInfo(arch=builder.__name__, options=SMALL))
    load_state(other, read_checkpoint(tmp_path / "net.safetensors"), arch=builder.__name__)
    assert torch.equal(other.eval().superpixels(image()), net.superpixels(image()))
    assert set(net.state_dict()) == {key for key in net.state_dict() if key.startswith("features.")}, (
        "grid is no weight"
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """exported(builder, static) -> network, model, path; each made once."""
    models = {}

    def export(builder, static):
        if (builder, static) not in models:
            net = made(builder)
            fields = {"batch": 1, "height": 65, "width": 97} if static else {}
            spec = ModelSpec(
                arch=builder.__name__, classes=(), palette=(), task="superpixels", outputs=("superpixels",),
                level=getattr(net, "level", 0), **fields,
            )  # fmt: skip
            model = export_onnx(net, spec)
            path = tmp_path_factory.mktemp("ssn") / "model.onnx"
            save_onnx(model, path)
            models[builder, static] = net, model, path
        return models[builder, static]

    return export


def compare(net, model, path, size=(65, 97)):
    with OnnxUnderTest(model.proto, model.spec, path, open_session) as candidate:
        return measure_fidelity(Untouched(net, model.spec), candidate, parity_images(model.spec, size=size))


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("static", [True, False], ids=["static", "dynamic"])
def test_parity_with_onnx_runtime(builder, static, exported):
    fidelity = compare(*exported(builder, static))
    assert fidelity.failures() == [] and fidelity.images == 3


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 33), (128, 96)])
def test_dynamic_model_takes_any_size(builder, size, exported):
    assert compare(*exported(builder, False), size=size).failures() == []


@pytest.mark.parametrize("builder", BUILDERS)
def test_parity_would_see_the_network(builder, exported):
    """What is compared depends on the convolutions, and in HCSSN on the assignments."""
    net, _, _ = exported(builder, True)
    without = made(builder)
    torch.nn.init.zeros_(without.features.output.weight)
    assert (net.superpixels(image()) != without.superpixels(image())).float().mean() > 0.05
    if builder is hcssn:
        without = made(builder)
        without.features.cluster1.seed.weight.data.neg_()
        assert (net.superpixels(image()) != without.superpixels(image())).float().mean() > 0.01


@pytest.mark.parametrize("builder", BUILDERS)
def test_operators_that_tensorrt_has(builder, exported):
    refused = {"Unique", "Col2Im", "CenterCropPad", "Compress", "NonZero", "Loop", "If", "SequenceConstruct"}
    for static in (True, False):
        proto = exported(builder, static)[1].proto
        used = {node.op_type for node in proto.graph.node} | {n.op_type for f in proto.functions for n in f.node}
        assert not used & refused
        assert ("Resize" in used) == (builder is ssn)


def test_superpixels_of_a_photograph_follow_its_edges():
    """An untrained SSN is SLIC on XYLab: against segments of a photograph it must do far better than its grid."""
    picture = skimage.data.astronaut()[:256:2, 128:384:2]
    truth = skimage.segmentation.felzenszwalb(picture, scale=300, sigma=0.5, min_size=60)
    normal = (torch.from_numpy(picture / 255.0) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.manual_seed(0)
    net = ssn(superpixels=100, channels=16).eval()
    with torch.no_grad():
        ids = net.superpixels(normal.permute(2, 0, 1)[None].float())[0].numpy()
    given = enforce_connectivity(ids)
    grid = np.arange(100).reshape(10, 10)[np.arange(128) * 10 // 128][:, np.arange(128) * 10 // 128]
    assert 70 <= len(np.unique(given)) <= 220
    assert boundary_recall(given, truth, tolerance=1) > boundary_recall(grid, truth, tolerance=1) + 0.3
    assert achievable_segmentation_accuracy(given, truth) > achievable_segmentation_accuracy(grid, truth) + 0.05
    assert undersegmentation_error(given, truth) < 0.75 * undersegmentation_error(grid, truth)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"superpixels": 0}, "1 to 1000000"),
        ({"superpixels": 2.5}, "1 to 1000000"),
        ({"iterations": 0}, "1 to 1000"),
        ({"features": 5}, "6 to 4096"),
        ({"channels": True}, "1 to 4096"),
        ({"aspect": -1.0}, "0.01 to 100"),
        ({"aspect": float("nan")}, "0.01 to 100"),
        ({"aspect": "wide"}, "0.01 to 100"),
    ],
)
@pytest.mark.parametrize("builder", BUILDERS)
def test_bad_options_name_the_legal_ones(builder, options, named):
    with pytest.raises(UsageError, match=named):
        builder(**options)


@pytest.mark.parametrize(
    ("options", "named"),
    [({"dim": 0}, "1 to 4096"), ({"tau": 0.0}, "positive"), ({"similarity": "l2"}, "cosine, dot")],
)
def test_bad_cluster_options_name_the_legal_ones(options, named):
    with pytest.raises(UsageError, match=named):
        hcssn(**options)
