// Output shapes and types, sizes that fit and sizes that do not, formats.
#include <cstring>

#include "checks.h"
#include "expressions.h"
#include "host.h"

using namespace nvinfer1;

namespace {

using Sizes = std::vector<std::vector<int64_t>>;

// What getOutputShapes answers; empty where it refuses. Channels and the ninth size are always known.
std::vector<int64_t> output_shape(IPluginV3* plugin, const Sizes& inputs, bool known) {
    Builder builder;
    DimsExprs in[4], out{};
    for (size_t i = 0; i < inputs.size(); ++i) in[i] = builder.dims(inputs[i], known);
    messages.clear();
    if (build(plugin)->getOutputShapes(in, static_cast<int32_t>(inputs.size()), nullptr, 0, &out, 1, builder))
        return {};
    std::vector<int64_t> sizes;
    for (int i = 0; i < out.nbDims; ++i) {
        CHECK(out.d[i]);
        if (out.d[i]) sizes.push_back(static_cast<const Expression*>(out.d[i])->value());
    }
    return sizes;
}

Dims dims_of(const std::vector<int64_t>& sizes) {
    Dims dims{};
    for (int64_t size : sizes) dims.d[dims.nbDims++] = size;
    return dims;
}

PluginTensorDesc tensor(const std::vector<int64_t>& sizes, DataType type = DataType::kFLOAT) {
    return {dims_of(sizes), type, TensorFormat::kLINEAR, 1.0f};
}

int32_t shape_change(IPluginV3* plugin, const Sizes& inputs, const std::vector<int64_t>& output) {
    std::vector<PluginTensorDesc> in;
    for (const auto& sizes : inputs) in.push_back(tensor(sizes));
    const PluginTensorDesc out = tensor(output);
    messages.clear();
    return runtime(plugin)->onShapeChange(in.data(), static_cast<int32_t>(in.size()), &out, 1);
}

// `dynamic`: batch, height and width are -1 in `desc` and stand in opt and max.
int32_t configure(IPluginV3* plugin, const Sizes& inputs, const std::vector<int64_t>& output, bool dynamic) {
    std::vector<DynamicPluginTensorDesc> all;
    auto add = [&](const std::vector<int64_t>& sizes) {
        const Dims dims = dims_of(sizes);
        PluginTensorDesc desc = tensor(sizes);
        for (int i = 0; dynamic && i < dims.nbDims; ++i)
            if (i != 1) desc.dims.d[i] = -1;
        all.push_back({desc, dims, dims, dims});
    };
    for (const auto& sizes : inputs) add(sizes);
    add(output);
    messages.clear();
    return build(plugin)->configurePlugin(all.data(), static_cast<int32_t>(inputs.size()), &all.back(), 1);
}

struct Case {
    const char* op;
    Sizes inputs;
    std::vector<int64_t> output;
};

const Case kLegal[] = {
    {"HCAssign", {{2, 13, 11, 37}, {2, 13, 6, 19}}, {2, 9, 11, 37}},
    {"HCAssign", {{1, 64, 1, 1}, {1, 64, 1, 1}}, {1, 9, 1, 1}},
    {"HCAssign", {{70000, 1, 2, 4}, {70000, 1, 1, 2}}, {70000, 9, 2, 4}},
    {"HCAssign", {{0, 13, 11, 37}, {0, 13, 6, 19}}, {0, 9, 11, 37}},
    {"HCDecode", {{2, 19, 6, 19}, {2, 9, 11, 37}}, {2, 19, 11, 37}},
    {"HCUpsample", {{2, 19, 6, 19}, {2, 13, 11, 37}, {2, 13, 6, 19}}, {2, 19, 11, 37}},
    {"HCUpsample", {{2, 19, 6, 0}, {2, 13, 11, 0}, {2, 13, 6, 0}}, {2, 19, 11, 0}},
    {"HCArgmax", {{2, 19, 6, 19}, {2, 3, 41, 97}}, {2, 41, 97}},
    {"HCArgmax", {{2, 19, 6, 19}, {2, 0, 3, 5}}, {2, 3, 5}},
};

struct Illegal {
    const char* op;
    Sizes inputs;
    std::vector<int64_t> output;
    const char* message;
};

const Illegal kIllegalInputs[] = {
    {"HCAssign", {{2, 13, 11}, {2, 13, 6, 19}}, {2, 9, 11, 37}, "features is [2,13,11], expected 4 sizes"},
    {"HCAssign", {{2, 13, 11, 37}, {2, 13, 5, 19}}, {2, 9, 11, 37}, "seeds is [2,13,5,19], expected [2,13,6,19]"},
    {"HCAssign", {{2, 13, 11, 37}, {2, 13, 6, 18}}, {2, 9, 11, 37}, "seeds is [2,13,6,18], expected [2,13,6,19]"},
    {"HCAssign", {{2, 13, 11, 37}, {2, 12, 6, 19}}, {2, 9, 11, 37}, "seeds is [2,12,6,19], expected [2,13,6,19]"},
    {"HCAssign", {{2, 13, 11, 37}, {1, 13, 6, 19}}, {2, 9, 11, 37}, "seeds is [1,13,6,19], expected [2,13,6,19]"},
    {"HCAssign", {{2, 1ll << 31, 11, 37}, {2, 1ll << 31, 6, 19}}, {2, 9, 11, 37}, "expected sizes below 2^31"},
    {"HCDecode", {{2, 19, 6, 19}, {2, 8, 11, 37}}, {2, 19, 11, 37}, "assignment is [2,8,11,37], expected [?,9,?,?]"},
    {"HCDecode", {{2, 19, 6, 18}, {2, 9, 11, 37}}, {2, 19, 11, 37}, "coarse is [2,19,6,18], expected [2,?,6,19]"},
    {"HCUpsample", {{2, 19, 6, 18}, {2, 13, 11, 37}, {2, 13, 6, 19}}, {2, 19, 11, 37}, "coarse is [2,19,6,18]"},
    {"HCUpsample", {{2, 19, 6, 19}, {2, 13, 11, 37}, {2, 13, 6, 20}}, {2, 19, 11, 37}, "seeds is [2,13,6,20]"},
    {"HCUpsample", {{2, 19, 6, 19}, {2, 13, 11, 37}}, {2, 19, 11, 37}, "2 inputs and 1 outputs, expected 3 and 1"},
    {"HCArgmax", {{1, 19, 6, 19}, {2, 3, 41, 97}}, {2, 41, 97}, "logits is [1,19,6,19], expected [2,?,?,?]"},
    {"HCArgmax", {{2, 19, 6, 19}, {2, 41, 97}}, {2, 41, 97}, "like is [2,41,97], expected 4 sizes"},
};

// Legal while sizes are not known, or of no interest while a model is parsed.
const Illegal kIllegalOutputs[] = {
    {"HCAssign", {{2, 13, 11, 37}, {2, 13, 6, 19}}, {2, 9, 12, 37}, "the output is [2,9,12,37], expected [2,9,11,37]"},
    {"HCAssign", {{2, 13, 524281, 1}, {2, 13, 262141, 1}}, {2, 9, 524281, 1}, "height 524281, expected at most 524280"},
    {"HCAssign", {{2, 0, 11, 37}, {2, 0, 6, 19}}, {2, 9, 11, 37}, "features is [2,0,11,37] and the output"},
    {"HCArgmax", {{2, 19, 6, 19}, {2, 3, 1048561, 1}}, {2, 1048561, 1}, "height 1048561, expected at most 1048560"},
    {"HCArgmax", {{2, 0, 6, 19}, {2, 3, 41, 97}}, {2, 41, 97}, "logits is [2,0,6,19] and the output"},
};

constexpr DataType kTypes[] = {DataType::kFLOAT, DataType::kHALF, DataType::kINT8, DataType::kINT32, DataType::kBOOL,
                               DataType::kUINT8, DataType::kBF16, DataType::kFP8,  DataType::kINT64};

bool is_float(DataType type) { return type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16; }

// Every pair of types for the first tensor and another, each in a contiguous and in other formats.
void check_formats_of(const char* op, int inputs) {
    const bool labels = !std::strcmp(op, "HCArgmax");
    IPluginV3* plugin = create(op, {});
    DynamicPluginTensorDesc tensors[4]{};
    auto supported = [&](int position) {
        return build(plugin)->supportsFormatCombination(position, tensors, inputs, 1);
    };
    for (DataType first : kTypes)
        for (DataType other : kTypes)
            for (TensorFormat format : {TensorFormat::kLINEAR, TensorFormat::kHWC8, TensorFormat::kCHW32}) {
                const bool linear = format == TensorFormat::kLINEAR;
                tensors[0].desc = {{}, first, format, 1.0f};
                CHECK(supported(0) == (is_float(first) && linear));
                if (!is_float(first)) continue;
                tensors[0].desc.format = TensorFormat::kLINEAR;
                for (int i = 1; i <= inputs; ++i) {
                    tensors[i].desc = {{}, other, format, 1.0f};
                    const bool shape_only = labels && i == inputs - 1;
                    const DataType wanted = labels && i == inputs ? DataType::kINT32 : first;
                    CHECK(supported(i) == (shape_only || (linear && other == wanted)));
                }
            }
    CHECK(!supported(-1) && !supported(inputs + 1));
    for (DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
        const DataType in[] = {type, type, type};
        DataType out = DataType::kFP8;
        CHECK(build(plugin)->getOutputDataTypes(&out, 1, in, inputs) == 0);
        CHECK(out == (labels ? DataType::kINT32 : type));
    }
    delete plugin;
}

}  // namespace

void check_shapes() {
    for (const Case& c : kLegal) {
        IPluginV3* plugin = create(c.op, {});
        CHECK(output_shape(plugin, c.inputs, true) == c.output);
        CHECK(output_shape(plugin, c.inputs, false) == c.output);
        CHECK(shape_change(plugin, c.inputs, c.output) == 0);
        CHECK(configure(plugin, c.inputs, c.output, false) == 0);
        CHECK(configure(plugin, c.inputs, c.output, true) == 0);
        CHECK(messages.empty());
        delete plugin;
    }
    for (const Illegal& c : kIllegalInputs) {
        IPluginV3* plugin = create(c.op, {});
        CHECK(output_shape(plugin, c.inputs, true).empty() && logged(c.message));
        CHECK(shape_change(plugin, c.inputs, c.output) != 0 && logged(c.message));
        CHECK(configure(plugin, c.inputs, c.output, false) != 0 && logged(c.message));
        CHECK(configure(plugin, c.inputs, c.output, true) != 0 && logged("hc_deploy: "));
        delete plugin;
    }
    for (const Illegal& c : kIllegalOutputs) {
        IPluginV3* plugin = create(c.op, {});
        CHECK(shape_change(plugin, c.inputs, c.output) != 0 && logged(c.message));
        CHECK(configure(plugin, c.inputs, c.output, false) != 0 && logged(c.message));
        CHECK(configure(plugin, c.inputs, c.output, true) != 0 && logged("hc_deploy: "));
        delete plugin;
    }
}

void check_formats() {
    check_formats_of("HCAssign", 2);
    check_formats_of("HCDecode", 2);
    check_formats_of("HCUpsample", 3);
    check_formats_of("HCArgmax", 2);
}
