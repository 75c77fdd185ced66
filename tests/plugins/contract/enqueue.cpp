// enqueue: a plugin made and run as TensorRT's runtime does it, through the plugin registry of a real TensorRT, for
// callers of Python (benchmarks/kernels/plugin.py). Pointers are of the device that the plugin's kernels run on.
#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <cstring>
#include <vector>

#include "registry.h"

using namespace nvinfer1;

namespace {

Registry registry;

PluginTensorDesc described(const int64_t* sizes, int rank, DataType type) {
    PluginTensorDesc desc{{}, type, TensorFormat::kLINEAR, 1.0f};
    desc.dims.nbDims = rank;
    for (int i = 0; i < rank; ++i) desc.dims.d[i] = sizes[i];
    return desc;
}

PluginField text(const char* name, const char* value) {
    return PluginField(name, value, PluginFieldType::kCHAR, int32_t(std::strlen(value)));
}

}  // namespace

// TensorRT's library and the plugins' are opened; 0, or the step that failed.
extern "C" int hc_open(const char* tensorrt, const char* plugins) {
    void* library = dlopen(tensorrt, RTLD_NOW | RTLD_LOCAL);
    if (!library) return 1;
    auto version = reinterpret_cast<int32_t (*)()>(dlsym(library, "getInferLibMajorVersion"));
    auto found = reinterpret_cast<void* (*)()>(dlsym(library, "getPluginRegistry"));
    if (!version || !found) return 2;
    registry = Registry(found(), version());
    return registry.loadLibrary(plugins) ? 0 : 3;
}

// `shapes`: four sizes an input. The attributes are given where `tau` is not 0. 0, or the step that failed.
extern "C" int hc_enqueue(const char* op, int type, int inputs, const int64_t* shapes, const int64_t* out_shape,
                          int out_rank, float tau, const char* similarity, const char* border, const char* assignment,
                          const void* const* pointers, void* output, void* stream) {
    auto* creator = static_cast<IPluginCreatorV3One*>(registry.getCreator(op, "1", "hc_deploy"));
    if (!creator) return 1;
    std::vector<PluginField> fields;
    if (tau != 0.0f)
        fields = {PluginField("tau", &tau, PluginFieldType::kFLOAT32, 1), text("similarity", similarity),
                  text("border", border), text("assignment", assignment)};
    const PluginFieldCollection collection{int32_t(fields.size()), fields.data()};
    IPluginV3* made = creator->createPlugin("node", &collection, TensorRTPhase::kRUNTIME);
    if (!made) return 2;
    const auto runtime_of = [](IPluginV3* plugin) {
        return static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    };
    IPluginV3* attached = runtime_of(made)->attachToContext(nullptr);
    delete made;
    if (!attached) return 3;
    const auto element = static_cast<DataType>(type);
    std::vector<PluginTensorDesc> in;
    for (int i = 0; i < inputs; ++i) in.push_back(described(shapes + 4 * i, 4, element));
    const PluginTensorDesc out = described(out_shape, out_rank, out_rank == 3 ? DataType::kINT32 : element);
    IPluginV3OneRuntime* runtime = runtime_of(attached);
    int step = runtime->onShapeChange(in.data(), inputs, &out, 1) ? 4 : 0;
    void* outputs[] = {output};
    if (!step && runtime->enqueue(in.data(), &out, pointers, outputs, nullptr, static_cast<cudaStream_t>(stream)))
        step = 5;
    delete attached;
    return step;
}
