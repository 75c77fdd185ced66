"""A process with TensorRT's plugin layer in it: a node a line in (JSON), what TensorRT would write into an engine out.

`python -m tests.engine.quick_planner MAJOR FOLDER`; TensorRT's log goes to stderr.
"""

import base64
import ctypes
import json
import os
import struct
import sys
from pathlib import Path

from tests.engine import tensorrt_stub

SPACE = "hc_deploy"
MOST_SIZES, MOST_EXTRA, MOST_COMBINATIONS, LAUNCH_VALUES, MOST_DIMENSIONS = 8, 16, 256, 7, 8
CODE_BYTES = 1 << 21


class Field(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("type", ctypes.c_int),
        ("length", ctypes.c_int),
    )


class Node(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("space", ctypes.c_char_p),
        ("fields", ctypes.POINTER(Field)),
        *(
            (name, ctypes.c_int)
            for name in ("field_count", "request", "input_count", "rank", "dynamic", "size_count", "major")
        ),
        ("types", ctypes.POINTER(ctypes.c_int)),
        ("sizes", ctypes.POINTER(ctypes.c_int64)),
    )


class Plan(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int)
            for name in ("output_type", "output_rank", "combination_count", "extra_count", "kernel_bytes")
        ),
        ("combinations", ctypes.c_int * MOST_COMBINATIONS),
        ("output", ctypes.c_int64 * MOST_DIMENSIONS * MOST_SIZES),
        ("launch", ctypes.c_int64 * LAUNCH_VALUES * MOST_SIZES),
        ("extra", ctypes.c_int64 * MOST_EXTRA * MOST_SIZES),
        ("kernel", ctypes.c_char * 256),
    )


class Planner:
    """The real layer, and the host that plays TensorRT's builder towards it."""

    def __init__(self, major, folder):
        self.major = major
        self.trt = tensorrt_stub.install(major, folder)
        self.host = ctypes.CDLL(str(folder / "host.so"))
        self.host.hc_host_plan.restype = ctypes.c_char_p
        self.host.hc_host_register_foreign.restype = ctypes.c_bool
        self.code = ctypes.create_string_buffer(CODE_BYTES)

    def answer(self, request):
        return getattr(self, request.pop("do"))(**request)

    def register(self):
        from hc_deploy.engine import quick_plugins

        quick_plugins.register(self.trt)

    def register_foreign(self, name):
        assert self.host.hc_host_register_foreign(self.major, name.encode(), SPACE.encode())

    def creators(self):
        """Registered names, each with its fields."""
        found = {}
        for creator in self.trt.get_plugin_registry().all_creators:
            if creator.plugin_namespace == SPACE:
                fields = {field.name: field.type.name for field in creator.field_names}
                found[creator.name] = {"version": creator.plugin_version, "fields": fields}
        return found

    def plan(self, op, types, sizes, fields=(), dynamic=0):
        """`sizes`: for each moment the sizes of each input; `fields`: (name, kind, value) as a parser passes them."""
        kept = [self.field(*field) for field in fields]
        rank = len(sizes[0][0])
        flat = [value for moment in sizes for shape in moment for value in shape]
        node = Node(
            op.encode(), SPACE.encode(), (Field * len(kept))(*(field for field, _ in kept)), len(kept),
            int(self.trt.QuickPluginCreationRequest.UNKNOWN), len(types), rank, dynamic, len(sizes), self.major,
            (ctypes.c_int * len(types))(*(int(getattr(self.trt.DataType, name)) for name in types)),
            (ctypes.c_int64 * len(flat))(*flat),
        )  # fmt: skip
        plan = Plan()
        failed = self.host.hc_host_plan(ctypes.byref(node), ctypes.byref(plan), self.code, CODE_BYTES)
        return {"failed": failed.decode()} if failed else self.as_json(plan, len(types) + 1, len(sizes))

    def field(self, name, kind, value):
        data = value.encode() if kind == "CHAR" else struct.pack("<f" if kind == "FLOAT32" else "<d", value)
        kept = ctypes.create_string_buffer(data, max(len(data), 1))
        length = len(data) if kind == "CHAR" else 1
        kind = int(getattr(self.trt.PluginFieldType, kind))
        return Field(name.encode(), ctypes.addressof(kept), kind, length), kept

    def as_json(self, plan, tensors, moments):
        names = {int(member): name for name, member in self.trt.DataType.__members__.items()}
        types = [names[number] for number in plan.combinations[: plan.combination_count * tensors]]
        return {
            "output_type": names[plan.output_type],
            "combinations": [types[i : i + tensors] for i in range(0, len(types), tensors)],
            "output": [plan.output[i][: plan.output_rank] for i in range(moments)],
            "launch": [list(plan.launch[i]) for i in range(moments)],
            "extra": [plan.extra[i][: plan.extra_count] for i in range(moments)],
            "kernel": plan.kernel.decode(),
            "ptx": base64.b64encode(self.code.raw[: plan.kernel_bytes]).decode(),
        }


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # TensorRT logs on both
    planner = Planner(int(sys.argv[1]), Path(sys.argv[2]))
    for line in sys.stdin:
        try:
            answer = {"value": planner.answer(json.loads(line))}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    answers.close()
    os._exit(0)  # the registry outlives Python: its creators must not be taken down after the interpreter


if __name__ == "__main__":
    main()
