// The four ops: a node's attributes and tensors in, the kernels of cpu/ on the session's own threads.
//
// A model names a node after its op, or, where it has nodes of several kinds, with the attributes behind it
// (HCAssign_dot_exclude_hard; graph/functions.py says why). All these names are registered; the attributes themselves
// are on the node in any case.
#include "ops.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "../cpu/hc_cpu.h"

namespace hc_onnxruntime {
namespace {

using ort::Api;
using ort::CustomOp;
using ort::ElementType;
using ort::KernelContext;
using ort::KernelInfo;
using ort::Status;

enum class Kind { kAssign, kDecode, kUpsample, kArgmax };

// A CustomOp is what ONNX Runtime reads of it; the functions below get it back and read the rest.
struct Op : CustomOp {
    std::string full_name;
    Kind kind;
    ElementType type;
};

const Op& as_op(const CustomOp* op) { return *static_cast<const Op*>(op); }

struct Shape {
    int64_t size[4];
    bool operator==(const Shape& other) const { return std::equal(size, size + 4, other.size); }
};

// A tensor of a run.
struct Map {
    Shape shape;
    void* data;
};

// A Status is handed on at once.
#define HC_RETURN_IF_ERROR(CALL) \
    if (Status* status = CALL) return status

Status* read_map(const Api& api, const ort::Value* value, const std::string& what, Map* map) {
    ort::TensorInfo* info = nullptr;
    HC_RETURN_IF_ERROR(api.info(value, &info));
    size_t rank = 0;
    Status* status = api.rank(info, &rank);
    if (!status && rank == 4) status = api.shape(info, map->shape.size, 4);
    api.release(info);
    HC_RETURN_IF_ERROR(status);
    if (rank != 4)
        return api.error(ort::kInvalidArgument,
                         (what + " has rank " + std::to_string(rank) + ", expected a 4-D map").c_str());
    return api.data(value, &map->data);
}

int hc_type(ElementType type) {
    return type == ort::kFloat32 ? HC_CPU_FLOAT32 : type == ort::kFloat16 ? HC_CPU_FLOAT16 : HC_CPU_BFLOAT16;
}

// What the kernels are called with, whichever op it is.
struct Call {
    Kind kind;
    int type;
    hc_cpu_options options;
    const void* input[3];
    void* output;
    int C, K, h, w, H, W;

    int work(int image, int first, int last) const {
        switch (kind) {
            case Kind::kAssign:
                return hc_cpu_assign(input[0], input[1], output, type, K, H, W, options, image, first, last);
            case Kind::kDecode:
                return hc_cpu_decode(input[0], input[1], output, type, C, H, W, image, first, last);
            case Kind::kUpsample:
                return hc_cpu_upsample(input[0], input[1], input[2], output, type, C, K, H, W, options, image, first,
                                       last);
            case Kind::kArgmax:
                return hc_cpu_argmax(input[0], static_cast<int*>(output), type, C, h, w, H, W, image, first, last);
        }
        return HC_CPU_INVALID_VALUE;
    }

    int rows() const { return kind == Kind::kArgmax ? H : h; }

    // Multiply-adds of a row, about.
    double row_work() const {
        const double pixels = kind == Kind::kArgmax ? W : 4.0 * w;
        return pixels * (kind == Kind::kArgmax ? C : 9 * C + 10 * K);
    }
};

// The rows of all images in parts that the session's threads take one by one. Handing a part over costs a few
// microseconds. A part of cells takes some 200: its first row reads three rows of the coarse maps where the next ones
// read one, so a part of one row spends as much on them as on the features (256x512, K = 64). A part of labels takes
// some 100.
struct Parts {
    const Call& call;
    int rows, rows_a_part, parts_an_image;
    int error = HC_CPU_DONE;

    explicit Parts(const Call& call) : call(call), rows(call.rows()) {
        const double least = call.kind == Kind::kArgmax ? 1e6 : 4e6;
        const int wanted = std::max(1, int(std::min(double(rows), rows * call.row_work() / least)));
        rows_a_part = (rows + wanted - 1) / wanted;
        parts_an_image = (rows + rows_a_part - 1) / rows_a_part;
    }

    static void work(void* data, size_t index) {
        Parts& parts = *static_cast<Parts*>(data);
        const int image = int(index / parts.parts_an_image), part = int(index % parts.parts_an_image);
        const int first = part * parts.rows_a_part, last = std::min(parts.rows, first + parts.rows_a_part);
        const int error = parts.call.work(image, first, last);
        if (error) __atomic_store_n(&parts.error, error, __ATOMIC_RELAXED);
    }
};

struct Kernel {
    Api api;
    const Op& op;
    hc_cpu_options options;

    Status* refuse(const std::string& what) const {
        return api.error(ort::kInvalidArgument, (op.full_name + ": " + what).c_str());
    }

    Status* run(KernelContext* context) const;
    Status* sizes(const Map (&map)[3], Call* call, Shape* shape) const;
    Status* check(const char* what, const Shape& received, const Shape& expected) const;
};

Status* Kernel::check(const char* what, const Shape& received, const Shape& expected) const {
    if (received == expected) return nullptr;
    const auto text = [](const Shape& shape) {
        std::string all;
        for (int64_t size : shape.size) all += (all.empty() ? "(" : ", ") + std::to_string(size);
        return all + ")";
    };
    return refuse(std::string(what) + " is " + text(received) + ", expected " + text(expected));
}

size_t input_count(const CustomOp* op) { return as_op(op).kind == Kind::kUpsample ? 3 : 2; }

// The sizes that all inputs agree on, and the output's shape.
Status* Kernel::sizes(const Map (&map)[3], Call* call, Shape* shape) const {
    const int64_t* first = map[0].shape.size;
    const int64_t* fine = map[op.kind == Kind::kAssign ? 0 : 1].shape.size;  // of HCArgmax: `like`
    const int64_t B = fine[0], H = fine[2], W = fine[3], h = (H + 1) / 2, w = (W + 1) / 2;
    for (int i = 0; i < int(input_count(&op)); ++i)
        for (int64_t size : map[i].shape.size)
            if (size > (1 << 30)) return refuse("a size of " + std::to_string(size) + ", expected at most 2^30");
    call->C = int(first[1]), call->K = int(fine[1]), call->H = int(H), call->W = int(W), call->h = int(h),
    call->w = int(w);
    *shape = {{B, op.kind == Kind::kAssign ? 9 : first[1], H, W}};
    switch (op.kind) {
        case Kind::kAssign:
            call->C = 1;
            return check("seeds", map[1].shape, {{B, fine[1], h, w}});
        case Kind::kDecode:
            call->K = 1;
            HC_RETURN_IF_ERROR(check("assignment", map[1].shape, {{B, 9, H, W}}));
            return check("coarse", map[0].shape, {{B, first[1], h, w}});
        case Kind::kUpsample:
            HC_RETURN_IF_ERROR(check("coarse", map[0].shape, {{B, first[1], h, w}}));
            return check("seeds", map[2].shape, {{B, fine[1], h, w}});
        case Kind::kArgmax:
            call->K = 1, call->h = int(first[2]), call->w = int(first[3]);
            return check("logits", map[0].shape, {{B, first[1], first[2], first[3]}});
    }
    return nullptr;
}

Status* Kernel::run(KernelContext* context) const {
    Map map[3];
    Call call = {op.kind, hc_type(op.type), options, {}, nullptr, 0, 0, 0, 0, 0, 0};
    for (size_t i = 0; i < input_count(&op); ++i) {
        const ort::Value* value = nullptr;
        HC_RETURN_IF_ERROR(api.input(context, i, &value));
        HC_RETURN_IF_ERROR(read_map(api, value, op.full_name + ": input " + std::to_string(i), &map[i]));
        call.input[i] = map[i].data;
    }
    Shape shape;
    HC_RETURN_IF_ERROR(sizes(map, &call, &shape));
    const int64_t labels[3] = {shape.size[0], shape.size[2], shape.size[3]};
    const bool flat = op.kind == Kind::kArgmax;
    ort::Value* out = nullptr;
    HC_RETURN_IF_ERROR(api.output(context, 0, flat ? labels : shape.size, flat ? 3 : 4, &out));
    HC_RETURN_IF_ERROR(api.data(out, &call.output));
    const bool empty = std::count(shape.size, shape.size + 4, 0) > 0;
    if (empty && !(flat && shape.size[1] == 0)) return nullptr;
    Parts parts(call);
    const size_t count = size_t(shape.size[0]) * parts.parts_an_image;
    HC_RETURN_IF_ERROR(api.parallel_for(context, Parts::work, count, count, &parts));
    return parts.error ? refuse(hc_cpu_error_string(parts.error)) : nullptr;
}

// Whether the node's text attribute is `value`; where the node has none, it is not.
Status* is_text(const Api& api, const KernelInfo* info, const char* name, const char* usual, const char* other,
                int* is_other) {
    char text[16] = {};
    size_t size = sizeof text;
    Status* status = api.attribute(info, name, text, &size);
    if (status && size == sizeof text) {  // the node has none
        api.release(status);
        *is_other = 0;
        return nullptr;
    }
    HC_RETURN_IF_ERROR(status);
    *is_other = std::strcmp(text, other) == 0;
    if (*is_other || std::strcmp(text, usual) == 0) return nullptr;
    const std::string said = std::string(name) + "='" + text + "', expected '" + usual + "' or '" + other + "'";
    return api.error(ort::kInvalidArgument, said.c_str());
}

Status* read_options(const Api& api, const KernelInfo* info, hc_cpu_options* options) {
    if (Status* status = api.attribute(info, "tau", &options->tau)) {
        api.release(status);
        options->tau = 0.07f;
    }
    if (!(options->tau >= HC_CPU_LEAST_TAU && options->tau <= HC_CPU_MOST_TAU))
        return api.error(ort::kInvalidArgument,
                         ("tau=" + std::to_string(options->tau) + ", expected 3e-33 to 3e38").c_str());
    HC_RETURN_IF_ERROR(is_text(api, info, "similarity", "cosine", "dot", &options->dot));
    HC_RETURN_IF_ERROR(is_text(api, info, "border", "zero", "exclude", &options->exclude));
    return is_text(api, info, "assignment", "soft", "hard", &options->hard);
}

Status* create(const CustomOp* op, const void* const* table, const KernelInfo* info, void** kernel) {
    const Api api(table);
    hc_cpu_options options = {0.07f, 0, 0, 0};
    if (as_op(op).kind == Kind::kAssign || as_op(op).kind == Kind::kUpsample)
        HC_RETURN_IF_ERROR(read_options(api, info, &options));
    *kernel = new (std::nothrow) Kernel{api, as_op(op), options};
    return *kernel ? nullptr : api.error(ort::kFail, "out of memory");
}

Status* run(void* kernel, KernelContext* context) {
    const Kernel& own = *static_cast<const Kernel*>(kernel);
    try {
        return own.run(context);
    } catch (const std::bad_alloc&) {
        return own.api.error(ort::kFail, "out of memory");
    }
}

ElementType input_type(const CustomOp* op, size_t index) {
    return as_op(op).kind == Kind::kArgmax && index == 1 ? ort::kAnyType : as_op(op).type;
}

ElementType output_type(const CustomOp* op, size_t) {
    return as_op(op).kind == Kind::kArgmax ? ort::kInt32 : as_op(op).type;
}

Op* new_op(const std::string& name, Kind kind, ElementType type) {
    Op* op = new Op{};
    op->full_name = name, op->kind = kind, op->type = type;
    op->version = ort::kVersion;
    op->name = [](const CustomOp* op) { return as_op(op).full_name.c_str(); };
    op->provider = [](const CustomOp*) -> const char* { return nullptr; };
    op->input_type = input_type;
    op->input_count = input_count;
    op->output_type = output_type;
    op->output_count = [](const CustomOp*) -> size_t { return 1; };
    op->destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    op->input_presence = [](const CustomOp*, size_t) { return ort::kRequired; };
    op->output_presence = [](const CustomOp*, size_t) { return ort::kRequired; };
    op->input_memory = [](const CustomOp*, size_t) { return ort::kDefaultMemory; };
    op->variadic_input_least = op->variadic_output_least = [](const CustomOp*) { return 1; };
    op->variadic_input_same_types = op->variadic_output_same_types = [](const CustomOp*) { return 1; };
    op->create = create;
    op->run = run;
    op->first_opset = op->last_opset = [](const CustomOp*) { return 1; };
    return op;
}

std::vector<std::string> names_of(const std::string& op, bool cluster) {
    std::vector<std::string> names = {op};
    if (!cluster) return names;
    for (const char* similarity : {"_cosine", "_dot"})
        for (const char* border : {"_zero", "_exclude"})
            for (const char* assignment : {"_soft", "_hard"}) names.push_back(op + similarity + border + assignment);
    return names;
}

}  // namespace

const std::vector<const CustomOp*>& ops() {
    static const std::vector<const CustomOp*> all = [] {
        std::vector<const CustomOp*> made;
        for (ElementType type : {ort::kFloat32, ort::kFloat16, ort::kBFloat16}) {
            for (const std::string& name : names_of("HCAssign", true))
                made.push_back(new_op(name, Kind::kAssign, type));
            for (const std::string& name : names_of("HCUpsample", true))
                made.push_back(new_op(name, Kind::kUpsample, type));
            made.push_back(new_op("HCDecode", Kind::kDecode, type));
            made.push_back(new_op("HCArgmax", Kind::kArgmax, type));
        }
        return made;
    }();
    return all;
}

}  // namespace hc_onnxruntime
