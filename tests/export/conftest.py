"""Small exported models, shared by the tests of this folder."""

from dataclasses import replace

import pytest

from hc_deploy.export.onnx import export_onnx
from models.load import new_network


@pytest.fixture(scope="session")
def export_small():
    """export_small(arch, options, **spec fields) -> (network, ExportedModel); each distinct call is exported once."""
    made = {}

    def export(arch, options=(), **fields):
        key = (arch, tuple(options), tuple(sorted(fields.items())))
        if key not in made:
            net, spec = new_network(arch, dict(options))
            made[key] = net, export_onnx(net, replace(spec, **fields))
        return made[key]

    return export
