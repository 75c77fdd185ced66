// Plays TensorRT's builder towards a plugin from Python, through the C++ interfaces that the real builder uses: looks
// the creator up in the real registry, creates, asks for types, symbolic sizes, formats, launch and kernel, then
// evaluates the symbols at several sizes, as an engine does at run time.
//
// What it does not do: parse ONNX, time, load PTX, launch.
#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../plugins/contract/registry.h"
#include "NvInferRuntime.h"
#include "impl/NvInferPythonPlugin.h"

namespace nv = nvinfer1;

extern "C" nv::IPluginRegistry* getPluginRegistry() noexcept;  // of libnvinfer_lean

namespace {

constexpr int kMostSizes = 8, kMostExtra = 16, kMostCombinations = 256, kLaunchValues = 7;

// A dimension: a constant, a size that is known at run time only (`at`), or an operation on two others.
struct Expression;

struct ExpressionImpl : nv::apiv::VDimensionExpr {
    const Expression* of = nullptr;
    bool isConstant() const override;
    int64_t getConstantValue() const override;
    bool isSizeTensor() const override { return false; }
};

struct Expression : nv::IDimensionExpr {
    ExpressionImpl implementation;
    int64_t constant = 0;
    const int64_t* at = nullptr;
    const Expression *left = nullptr, *right = nullptr;
    nv::DimensionOperation operation{};

    Expression() {
        implementation.of = this;
        mImpl = &implementation;
    }
    ~Expression() noexcept override = default;

    bool dynamic() const { return left ? left->dynamic() || right->dynamic() : at != nullptr; }

    int64_t value() const {
        if (!left) return at ? *at : constant;
        const int64_t a = left->value(), b = right->value();
        switch (operation) {
            case nv::DimensionOperation::kSUM:
                return a + b;
            case nv::DimensionOperation::kPROD:
                return a * b;
            case nv::DimensionOperation::kMAX:
                return a > b ? a : b;
            case nv::DimensionOperation::kMIN:
                return a < b ? a : b;
            case nv::DimensionOperation::kSUB:
                return a - b;
            case nv::DimensionOperation::kEQUAL:
                return a == b;
            case nv::DimensionOperation::kLESS:
                return a < b;
            case nv::DimensionOperation::kFLOOR_DIV:
                return a / b;
            case nv::DimensionOperation::kCEIL_DIV:
                return (a + b - 1) / b;
        }
        return -1;
    }
};

bool ExpressionImpl::isConstant() const { return !of->dynamic(); }
int64_t ExpressionImpl::getConstantValue() const { return of->dynamic() ? 0 : of->value(); }

struct BuilderImpl : nv::apiv::VExprBuilder {
    std::vector<std::unique_ptr<Expression>> all;

    Expression* add() {
        all.push_back(std::make_unique<Expression>());
        return all.back().get();
    }
    const nv::IDimensionExpr* constant(int64_t value) override {
        Expression* made = add();
        made->constant = value;
        return made;
    }
    const nv::IDimensionExpr* operation(nv::DimensionOperation op, const nv::IDimensionExpr& first,
                                        const nv::IDimensionExpr& second) override {
        Expression* made = add();
        made->operation = op;
        made->left = static_cast<const Expression*>(&first);
        made->right = static_cast<const Expression*>(&second);
        return made;
    }
    const nv::IDimensionExpr* declareSizeTensor(int32_t, const nv::IDimensionExpr&,
                                                const nv::IDimensionExpr&) override {
        return nullptr;
    }
};

struct Builder : nv::IExprBuilder {
    BuilderImpl implementation;
    Builder() { mImpl = &implementation; }
    ~Builder() noexcept override = default;
};

struct LaunchImpl : nv::IKernelLaunchParamsImpl {
    nv::ISymExpr* values[kLaunchValues] = {};
#define HC_LAUNCH_VALUE(NAME, INDEX)                                      \
    nv::ISymExpr* get##NAME() noexcept override { return values[INDEX]; } \
    bool set##NAME(nv::ISymExpr* value) noexcept override {               \
        values[INDEX] = value;                                            \
        return true;                                                      \
    }
    HC_LAUNCH_VALUE(GridX, 0)
    HC_LAUNCH_VALUE(GridY, 1)
    HC_LAUNCH_VALUE(GridZ, 2)
    HC_LAUNCH_VALUE(BlockX, 3)
    HC_LAUNCH_VALUE(BlockY, 4)
    HC_LAUNCH_VALUE(BlockZ, 5)
    HC_LAUNCH_VALUE(SharedMem, 6)
};

struct Launch : nv::IKernelLaunchParams {
    LaunchImpl implementation;
    Launch() { mImpl = &implementation; }
    ~Launch() noexcept override = default;
};

struct ExtraImpl : nv::ISymExprsImpl {
    std::vector<nv::ISymExpr*> values;
    nv::ISymExpr* getSymExpr(int32_t index) const noexcept override { return values.at(index); }
    bool setSymExpr(int32_t index, nv::ISymExpr* value) noexcept override {
        if (index >= int(values.size())) return false;
        values[index] = value;
        return true;
    }
    int32_t getNbSymExprs() const noexcept override { return int(values.size()); }
    bool setNbSymExprs(int32_t count) noexcept override {
        values.assign(count, nullptr);
        return true;
    }
};

struct Extra : nv::ISymExprs {
    ExtraImpl implementation;
    Extra() { mImpl = &implementation; }
    ~Extra() noexcept override = default;
};

bool evaluate(nv::ISymExpr* symbol, int64_t* value) {
    if (!symbol || symbol->getDataType() != nv::PluginArgDataType::kINT32) return false;
    *value = static_cast<const Expression*>(symbol->getExpr())->value();
    return true;
}

struct ForeignCreator : nv::IPluginCreatorV3One {
    std::string name, space;
    nv::PluginFieldCollection none{};
    const char* getPluginName() const noexcept override { return name.c_str(); }
    const char* getPluginVersion() const noexcept override { return "1"; }
    const char* getPluginNamespace() const noexcept override { return space.c_str(); }
    const nv::PluginFieldCollection* getFieldNames() noexcept override { return &none; }
    nv::IPluginV3* createPlugin(const char*, const nv::PluginFieldCollection*, nv::TensorRTPhase) noexcept override {
        return nullptr;
    }
};

}  // namespace

extern "C" {

struct HostField {
    const char* name;
    const void* data;
    int type, length;
};

// A node of a network. `sizes`: for each of `size_count` moments, `rank` sizes of each input; the first is the one the
// builder times. `dynamic`: bit i set where axis i is known at run time only.
struct HostNode {
    const char *name, *space;
    const HostField* fields;
    int field_count, request, input_count, rank, dynamic, size_count, major;
    const int* types;
    const int64_t* sizes;
};

struct HostPlan {
    int output_type, output_rank, combination_count, extra_count, kernel_bytes;
    int combinations[kMostCombinations];  // types of all tensors, one combination after the other
    int64_t output[kMostSizes][nvinfer1::Dims::MAX_DIMS], launch[kMostSizes][kLaunchValues];
    int64_t extra[kMostSizes][kMostExtra];
    char kernel[256];
};

// The step that failed, or null. The kernel's code goes to `code`, of `capacity` bytes.
const char* hc_host_plan(const HostNode* node, HostPlan* plan, char* code, int capacity) {
#define HC_STEP(NAME, OK) \
    if (!(OK)) return NAME
    auto* found = Registry(getPluginRegistry(), node->major).getCreator(node->name, "1", node->space);
    HC_STEP("lookup", found && !strcmp(found->getInterfaceInfo().kind, "PLUGIN CREATOR_V3QUICK"));
    auto* creator = static_cast<nv::IPluginCreatorV3Quick*>(found);

    std::vector<nv::PluginField> fields;
    for (int i = 0; i < node->field_count; ++i) {
        const HostField& f = node->fields[i];
        fields.push_back({f.name, f.data, static_cast<nv::PluginFieldType>(f.type), f.length});
    }
    const nv::PluginFieldCollection collection{int32_t(fields.size()), fields.data()};
    std::unique_ptr<nv::IPluginV3> plugin(
        creator->createPlugin(node->name, node->space, &collection, nv::TensorRTPhase::kBUILD,
                              static_cast<nv::QuickPluginCreationRequest>(node->request)));
    HC_STEP("creation", plugin);
    auto* core = static_cast<nv::IPluginV3QuickCore*>(plugin->getCapabilityInterface(nv::PluginCapabilityType::kCORE));
    HC_STEP("core", core && !strcmp(core->getPluginName(), node->name) && !strcmp(core->getPluginVersion(), "1") &&
                        !strcmp(core->getPluginNamespace(), node->space));
    auto* capability = plugin->getCapabilityInterface(nv::PluginCapabilityType::kBUILD);
    HC_STEP("capability", capability && !strcmp(capability->getInterfaceInfo().kind, "PLUGIN_V3QUICKAOT_BUILD"));
    auto* build = static_cast<nv::IPluginV3QuickAOTBuild*>(capability);
    HC_STEP("outputs", build->getNbOutputs() == 1);

    const int inputs = node->input_count, rank = node->rank, tensors = inputs + 1;
    std::vector<nv::DataType> types(tensors);
    for (int i = 0; i < inputs; ++i) types[i] = static_cast<nv::DataType>(node->types[i]);
    const std::vector<int32_t> ranks(inputs, rank);
    HC_STEP("output types", !build->getOutputDataTypes(&types[inputs], 1, types.data(), ranks.data(), inputs));
    plan->output_type = int(types[inputs]);

    Builder builder;
    std::vector<int64_t> now(node->sizes, node->sizes + inputs * rank);  // what the symbols stand for
    std::vector<nv::DimsExprs> symbols(inputs);
    for (int i = 0; i < inputs; ++i) {
        symbols[i].nbDims = rank;
        for (int d = 0; d < rank; ++d) {
            Expression* size = builder.implementation.add();
            size->constant = now[i * rank + d];
            if (node->dynamic >> d & 1) size->at = &now[i * rank + d];
            symbols[i].d[d] = size;
        }
    }
    nv::DimsExprs output{};
    HC_STEP("output sizes", !build->getOutputShapes(symbols.data(), inputs, nullptr, 0, &output, 1, builder));
    plan->output_rank = output.nbDims;

    std::vector<nv::DynamicPluginTensorDesc> planned(tensors);
    for (int i = 0; i < tensors; ++i) {
        auto& tensor = planned[i];
        const nv::DimsExprs& sizes = i < inputs ? symbols[i] : output;
        tensor.desc.type = types[i];
        tensor.desc.format = nv::TensorFormat::kLINEAR;
        tensor.desc.scale = 1.0f;
        tensor.desc.dims.nbDims = tensor.opt.nbDims = sizes.nbDims;
        for (int d = 0; d < sizes.nbDims; ++d) {
            auto* size = static_cast<const Expression*>(sizes.d[d]);
            tensor.opt.d[d] = size->value();
            tensor.desc.dims.d[d] = size->dynamic() ? -1 : size->value();
        }
        tensor.min = tensor.max = tensor.opt;
    }
    const int count = build->getNbSupportedFormatCombinations(planned.data(), inputs, 1);
    HC_STEP("formats", count > 0 && count * tensors <= kMostCombinations);
    std::vector<nv::PluginTensorDesc> combinations(count * tensors);
    HC_STEP("formats", !build->getSupportedFormatCombinations(planned.data(), inputs, 1, combinations.data(), count));
    plan->combination_count = count;
    bool supported = false;
    for (int c = 0; c < count; ++c) {
        bool same = true;
        for (int i = 0; i < tensors; ++i) {
            const nv::PluginTensorDesc& tensor = combinations[c * tensors + i];
            HC_STEP("linear", tensor.format == nv::TensorFormat::kLINEAR);
            plan->combinations[c * tensors + i] = int(tensor.type);
            same = same && tensor.type == types[i];
        }
        supported = supported || same;
    }
    HC_STEP("supported types", supported);
    HC_STEP("configuration", !build->configurePlugin(planned.data(), inputs, planned.data() + inputs, 1));

    std::unique_ptr<nv::IPluginV3> copy(plugin->clone());
    HC_STEP("clone", copy);
    build = static_cast<nv::IPluginV3QuickAOTBuild*>(copy->getCapabilityInterface(nv::PluginCapabilityType::kBUILD));
    HC_STEP("tactic", build && build->setTactic(0) == 0);
    Launch launch;
    Extra extra;
    HC_STEP("launch", !build->getLaunchParams(symbols.data(), planned.data(), inputs, 1, &launch, &extra, builder));

    std::vector<nv::PluginTensorDesc> chosen;
    for (const auto& tensor : planned) {
        chosen.push_back(tensor.desc);
        chosen.back().dims = tensor.opt;
    }
    const char* kernel = nullptr;
    char* compiled = nullptr;
    HC_STEP("kernel", !build->getKernel(chosen.data(), inputs, chosen.data() + inputs, 1, &kernel, &compiled,
                                        &plan->kernel_bytes));
    HC_STEP("kernel", kernel && compiled && strlen(kernel) < sizeof plan->kernel && plan->kernel_bytes > 0 &&
                          plan->kernel_bytes <= capacity);
    strcpy(plan->kernel, kernel);
    memcpy(code, compiled, plan->kernel_bytes);

    plan->extra_count = int(extra.implementation.values.size());
    HC_STEP("room", plan->extra_count <= kMostExtra && node->size_count <= kMostSizes);
    for (int moment = 0; moment < node->size_count; ++moment) {
        std::copy_n(node->sizes + moment * inputs * rank, inputs * rank, now.begin());
        for (int d = 0; d < output.nbDims; ++d)
            plan->output[moment][d] = static_cast<const Expression*>(output.d[d])->value();
        for (int i = 0; i < kLaunchValues; ++i)
            HC_STEP("launch values", evaluate(launch.implementation.values[i], &plan->launch[moment][i]));
        for (int i = 0; i < plan->extra_count; ++i)
            HC_STEP("extra values", evaluate(extra.implementation.values[i], &plan->extra[moment][i]));
    }
    return nullptr;
}

// Registers a creator of the kind that C++ libraries have; it creates nothing.
bool hc_host_register_foreign(int major, const char* name, const char* space) {
    auto* creator = new ForeignCreator;  // the registry keeps it until the process ends
    creator->name = name;
    creator->space = space;
    return Registry(getPluginRegistry(), major).registerCreator(*creator, space);
}
}
