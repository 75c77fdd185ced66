#include "plugin.h"

#include <climits>
#include <new>

#include "log.h"

using namespace nvinfer1;

namespace hc {
namespace {

// The element type as launch.h counts it, or -1.
int element_type(DataType type) {
    switch (type) {
        case DataType::kFLOAT:
            return HC_FLOAT32;
        case DataType::kHALF:
            return HC_FLOAT16;
        case DataType::kBF16:
            return HC_BFLOAT16;
        default:
            return -1;
    }
}

}  // namespace

Plugin::Plugin(const Op& op, const ClusterAttributes& attributes, const char* node) noexcept
    : op_(op), attributes_(attributes), collection_{op.has_attributes ? kClusterFields : 0, fields_} {
    std::snprintf(node_, sizeof node_, "%s", node ? node : "");
    attributes_.write(fields_);
}

// Not the default: fields_ point into the object that they belong to.
Plugin::Plugin(const Plugin& other) noexcept : Plugin(other.op_, other.attributes_, other.node_) {}

IPluginV3* Plugin::clone() noexcept { return new (std::nothrow) Plugin(*this); }

IPluginCapability* Plugin::getCapabilityInterface(PluginCapabilityType type) noexcept {
    switch (type) {
        case PluginCapabilityType::kCORE:
            return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD:
            return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME:
            return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
}

bool Plugin::legal_counts(int32_t inputs, int32_t outputs) const noexcept {
    if (inputs == op_.inputs && outputs == 1) return true;
    log_error("%s \"%s\": %d inputs and %d outputs, expected %d and 1", op_.name, node_, inputs, outputs, op_.inputs);
    return false;
}

bool Plugin::legal_inputs(const Shape* in) const noexcept {
    for (int i = 0; i < op_.inputs; ++i) {
        if (in[i].rank != kMapRank) {
            log_error("%s \"%s\": %s is %s, expected 4 sizes (batch, channels, height, width)", op_.name, node_,
                      op_.input_names[i], ShapeText(in[i]).text);
            return false;
        }
        for (int64_t size : in[i].size)
            if (size > INT_MAX) {
                log_error("%s \"%s\": %s is %s, expected sizes below 2^31", op_.name, node_, op_.input_names[i],
                          ShapeText(in[i]).text);
                return false;
            }
    }
    Shape expected[kMaxInputs];
    op_.expect(in, expected);
    for (int i = 0; i < op_.inputs; ++i) {
        if (agrees(in[i], expected[i])) continue;
        log_error(
            "%s \"%s\": %s is %s, expected %s for the other inputs (coarse sizes are half the fine ones, rounded up)",
            op_.name, node_, op_.input_names[i], ShapeText(in[i]).text, ShapeText(expected[i]).text);
        return false;
    }
    return true;
}

bool Plugin::legal_height(const Shape& out) const noexcept {
    const int64_t height = out.rank == op_.output_rank ? out.size[out.rank - 2] : kUnknown;
    if (height <= op_.max_height) return true;
    log_error("%s \"%s\": height %lld, expected at most %lld", op_.name, node_, static_cast<long long>(height),
              static_cast<long long>(op_.max_height));
    return false;
}

// The output as the inputs make it, within the grid's limits, and no elements made of none.
bool Plugin::legal_output(const Shape* in, const Shape& out) const noexcept {
    Shape expected;
    expected.rank = op_.output_rank;
    for (int i = 0; i < op_.output_rank; ++i) {
        const Size& from = op_.output[i];
        expected.size[i] = from.input == kConstant ? from.axis : in[from.input].size[from.axis];
    }
    if (!agrees(out, expected)) {
        log_error("%s \"%s\": the output is %s, expected %s", op_.name, node_, ShapeText(out).text,
                  ShapeText(expected).text);
        return false;
    }
    const int read = op_.gives_labels ? op_.inputs - 1 : op_.inputs;
    for (int i = 0; i < read; ++i) {
        if (expected.empty() || !in[i].empty()) continue;
        log_error("%s \"%s\": %s is %s and the output %s, expected an input with elements", op_.name, node_,
                  op_.input_names[i], ShapeText(in[i]).text, ShapeText(expected).text);
        return false;
    }
    return legal_height(expected);
}

int32_t Plugin::getOutputDataTypes(DataType* outputs, int32_t output_count, const DataType* inputs,
                                   int32_t input_count) const noexcept {
    if (!legal_counts(input_count, output_count)) return 1;
    outputs[0] = op_.gives_labels ? DataType::kINT32 : inputs[0];
    return 0;
}

int32_t Plugin::getOutputShapes(const DimsExprs* inputs, int32_t input_count, const DimsExprs*, int32_t,
                                DimsExprs* outputs, int32_t output_count, IExprBuilder& builder) noexcept {
    if (!legal_counts(input_count, output_count)) return 1;
    Shape in[kMaxInputs];
    for (int i = 0; i < op_.inputs; ++i) in[i] = shape_of(inputs[i]);
    if (!legal_inputs(in)) return 1;
    outputs[0].nbDims = op_.output_rank;
    for (int i = 0; i < op_.output_rank; ++i) {
        const Size& from = op_.output[i];
        outputs[0].d[i] = from.input == kConstant ? builder.constant(from.axis) : inputs[from.input].d[from.axis];
    }
    return 0;
}

// Maps are contiguous, all of one element type. A tensor of which only the shape is read may lie as it likes: TensorRT
// need not convert it.
bool Plugin::supportsFormatCombination(int32_t position, const DynamicPluginTensorDesc* tensors, int32_t input_count,
                                       int32_t output_count) noexcept {
    if (!legal_counts(input_count, output_count) || position < 0 || position > op_.inputs) return false;
    if (op_.gives_labels && position == op_.inputs - 1) return true;
    const PluginTensorDesc& tensor = tensors[position].desc;
    if (tensor.format != TensorFormat::kLINEAR) return false;
    if (op_.gives_labels && position == op_.inputs) return tensor.type == DataType::kINT32;
    return position == 0 ? element_type(tensor.type) >= 0 : tensor.type == tensors[0].desc.type;
}

// With dynamic sizes `dims` holds what all runs share and `opt` what TensorRT times the plugin at; `max` bounds the
// grid.
int32_t Plugin::configurePlugin(const DynamicPluginTensorDesc* inputs, int32_t input_count,
                                const DynamicPluginTensorDesc* outputs, int32_t output_count) noexcept {
    if (!legal_counts(input_count, output_count)) return 1;
    Shape shared[kMaxInputs], timed[kMaxInputs];
    for (int i = 0; i < op_.inputs; ++i) {
        shared[i] = shape_of(inputs[i].desc.dims);
        timed[i] = shape_of(inputs[i].opt);
    }
    if (!legal_inputs(shared) || !legal_output(shared, shape_of(outputs[0].desc.dims))) return 1;
    if (!legal_inputs(timed) || !legal_output(timed, shape_of(outputs[0].opt))) return 1;
    return legal_height(shape_of(outputs[0].max)) ? 0 : 1;
}

int32_t Plugin::onShapeChange(const PluginTensorDesc* inputs, int32_t input_count, const PluginTensorDesc* outputs,
                              int32_t output_count) noexcept {
    if (!legal_counts(input_count, output_count)) return 1;
    Shape in[kMaxInputs];
    for (int i = 0; i < op_.inputs; ++i) in[i] = shape_of(inputs[i].dims);
    return legal_inputs(in) && legal_output(in, shape_of(outputs[0].dims)) ? 0 : 1;
}

int32_t Plugin::enqueue(const PluginTensorDesc* input_descs, const PluginTensorDesc* output_descs,
                        const void* const* inputs, void* const* outputs, void*, cudaStream_t stream) noexcept {
    Shape in[kMaxInputs];
    for (int i = 0; i < op_.inputs; ++i) in[i] = shape_of(input_descs[i].dims);
    const Shape out = shape_of(output_descs[0].dims);
    if (out.empty()) return 0;
    const int type = element_type(input_descs[0].type);
    const int error = op_.launch({in, out, inputs, outputs[0], type, attributes_.options, stream});
    if (!error) return 0;
    log_error("%s \"%s\": the kernel was not queued: %s", op_.name, node_, hc_error_string(error));
    return 1;
}

}  // namespace hc
