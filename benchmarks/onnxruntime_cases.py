"""Models, inputs, right answers for `benchmarks.onnxruntime_versions`: every op, whole networks, the doctor's model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

FINE, LARGE, EMBEDDING, CLASSES = (7, 11), (53, 101), 13, 5
NETWORK_SIZE = (65, 97)
NETWORKS: dict[str, tuple[str, dict[str, Any], tuple[str, ...] | None]] = {
    "HCPSPNet": ("hcpspnet_resnet18", {"width": 4}, ("labels", "logits")),
    "HCFCN-32, superpixels": ("hcfcn32_resnet18", {"width": 4}, ("labels", "logits", "superpixels")),
    "HCFPN": ("hcfpn_resnet18", {"width": 4}, ("labels", "logits")),
    "HCDeepLabv3": ("hcdeeplabv3_resnet18", {"width": 4}, ("labels", "logits")),
    "HCSSN": ("hcssn", {"superpixels": 12, "iterations": 2, "channels": 8}, None),
    "HCDORN": ("hcdorn", {"backbone": "resnet18", "width": 8, "intervals": 6, "dim": 8}, None),
    "DCNv2 as DeformConv": (
        "hcpspnet_resnet18", {"width": 4, "downsample": "dcnv2", "deform": "operator"}, ("labels", "logits"),
    ),
}  # fmt: skip
Case = tuple[str, str, bytes, dict[str, Any], dict[str, Any]]
"""Its name, its column, the model, inputs and right outputs."""


def write_cases(folder: Path) -> None:
    """Models, inputs and right answers into `folder`, with `cases.json`, which a version's environment reads."""
    cases: list[dict[str, Any]] = []
    for name, group, model, feeds, truth in itertools.chain(
        _op_cases(), _variants_case(), _doctor_case(), _network_cases()
    ):
        stem = f"{len(cases)}"
        (folder / f"{stem}.onnx").write_bytes(model)
        np.savez(folder / f"{stem}_in.npz", **feeds)
        np.savez(folder / f"{stem}_out.npz", **truth)
        cases.append({"name": name, "group": group, "stem": stem, "fp16": "fp16" in group})
    (folder / "cases.json").write_text(json.dumps(cases))


@dataclass(frozen=True)
class _Maps:
    """Random maps in one type, as torch has them in float64: what each input of an op is made of."""

    kind: int
    dtype: Any
    arrays: dict[str, Any]

    def case(self, op: str, names: dict[str, Any], shape: Any, truth: Any, given: dict[str, Any] | None = None) -> Case:
        from onnx import TensorProto

        from hc_deploy.graph.functions import single_op_model

        out = TensorProto.INT32 if op == "HCArgmax" else self.kind
        model = single_op_model(op, [(name, self.kind, sizes) for name, sizes in names.items()], (out, shape), given)
        feeds = {name: self.arrays[name].numpy().astype(self.dtype) for name in names}
        group = "four ops" if self.dtype == np.float32 else "fp16 ops"
        return f"{op} {given or ''}".strip(), group, model.SerializeToString(), feeds, {"out": truth.numpy()}


def _op_cases() -> Iterator[Case]:
    import torch

    from hc_deploy.ops import hc_argmax, hc_assign, hc_decode, hc_upsample

    fine, coarse = ("B", EMBEDDING, "H", "W"), ("B", EMBEDDING, "h", "w")
    low, nine = ("B", CLASSES, "h", "w"), ("B", 9, "H", "W")
    choices = list(itertools.product(("cosine", "dot"), ("zero", "exclude"), ("soft", "hard")))
    for maps in _maps():
        features, seeds, values = (maps.arrays[name] for name in ("features", "seeds", "coarse"))
        for similarity, border, assignment in choices:
            given: dict[str, Any] = {"tau": 0.5, "similarity": similarity, "border": border, "assignment": assignment}
            names: dict[str, Any] = {"features": fine, "seeds": coarse}
            yield maps.case("HCAssign", names, nine, hc_assign(features, seeds, **given), given)
            upsampled = hc_upsample(values, features, seeds, **given)
            yield maps.case("HCUpsample", {"coarse": low, **names}, ("B", CLASSES, "H", "W"), upsampled, given)
        decoded = hc_decode(values, maps.arrays["assignment"])
        yield maps.case("HCDecode", {"coarse": low, "assignment": nine}, ("B", CLASSES, "H", "W"), decoded)
        names = {"logits": ("B", CLASSES, "H", "W"), "like": ("B", 3, "Y", "X")}
        labels = hc_argmax(maps.arrays["logits"].to(torch.float32), LARGE)
        yield maps.case("HCArgmax", names, ("B", "Y", "X"), labels)


def _variants_case() -> Iterator[Case]:
    """Two bodies of one op in a model."""
    from onnx import helper

    from hc_deploy.graph.functions import IR_VERSION, add_function_bodies
    from hc_deploy.graph.onnx_op import DOMAIN, DOMAIN_VERSION, OPSET, PLUGIN_ATTRIBUTES
    from hc_deploy.ops import hc_assign

    maps = next(_maps())
    given: dict[str, dict[str, Any]] = {
        "soft": {"tau": 0.5, "similarity": "cosine", "border": "zero", "assignment": "soft"},
        "hard": {"tau": 0.5, "similarity": "dot", "border": "exclude", "assignment": "hard"},
    }
    names = ("features", "seeds")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("HCAssign", names, [out], domain=DOMAIN, **options, **PLUGIN_ATTRIBUTES)
            for out, options in given.items()
        ],
        "variants",
        [value(name, maps.kind, [None] * 4) for name in names],
        [value(out, maps.kind, [None] * 4) for out in given],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    add_function_bodies(model)
    features, seeds = (maps.arrays[name] for name in names)
    truth = {out: hc_assign(features, seeds, **options).numpy() for out, options in given.items()}
    feeds = {name: maps.arrays[name].numpy().astype(maps.dtype) for name in names}
    yield "HCAssign twice", "four ops", model.SerializeToString(), feeds, truth


def _maps() -> Iterator[_Maps]:
    import torch
    from onnx import TensorProto

    from hc_deploy.ops import hc_assign

    generator = torch.Generator().manual_seed(0)
    half = (-(-FINE[0] // 2), -(-FINE[1] // 2))
    shapes = {"features": (EMBEDDING, FINE), "seeds": (EMBEDDING, half), "coarse": (CLASSES, half),
              "logits": (CLASSES, FINE), "like": (3, LARGE)}  # fmt: skip
    for kind, dtype, stored in (
        (TensorProto.FLOAT, np.float32, torch.float32),
        (TensorProto.FLOAT16, np.float16, torch.float16),
    ):
        arrays = {
            name: torch.randn(2, channels, *size, generator=generator).to(stored).double()
            for name, (channels, size) in shapes.items()
        }
        arrays["assignment"] = hc_assign(arrays["features"], arrays["seeds"]).to(stored).double()
        yield _Maps(kind, dtype, arrays)


def _doctor_case() -> Iterator[Case]:
    from hc_deploy.doctor import probe

    yield "doctor", "doctor", probe.model(), probe.inputs(), probe.answers()


def _network_cases() -> Iterator[Case]:
    """Dynamic models; float16 is compared with torch's float32."""
    from hc_deploy.export.deployed import DeployedNet
    from hc_deploy.export.onnx import export_onnx
    from hc_deploy.graph.precision import with_precision
    from hc_deploy.parity.images import parity_images
    from hc_deploy.runtime.torch import TorchSession
    from models.calibrate import calibrate
    from models.load import new_network

    for title, (arch, options, outputs) in NETWORKS.items():
        net, spec = new_network(arch, options)
        spec = replace(spec, outputs=outputs) if outputs else spec  # type: ignore[arg-type]
        net = calibrate(net, spec)
        model = export_onnx(net, spec).proto
        image = next(parity_images(spec, size=NETWORK_SIZE))
        truth = TorchSession(DeployedNet(net, spec), spec, name="torch").run(image)
        yield title, title, model.SerializeToString(), {"image": image}, truth
        if "DeformConv" not in title:
            typed = with_precision(model, "fp16")
            yield f"{title} fp16", "networks in fp16", typed.SerializeToString(), {"image": image}, truth
