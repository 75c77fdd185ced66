// launches: the plugin's own code with launchers that write down what they are called with, so that enqueue is checked
// down to the order of the sizes; no GPU, no TensorRT library.
#include <NvInferRuntime.h>

#include <cstring>
#include <string>
#include <vector>

#include "checks.h"
#include "kernels/launch.h"

using namespace nvinfer1;

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace {

std::string call;
int answer = 0;

template <typename... Numbers>
int record(const char* name, std::vector<const void*> pointers, Numbers... numbers) {
    call = name;
    for (const void* pointer : pointers) call += " @" + std::to_string(reinterpret_cast<size_t>(pointer));
    ((call += " " + std::to_string(numbers)), ...);
    return answer;
}

IPluginV3* create(const char* op, std::vector<PluginField> fields) {
    int32_t count = 0;
    IPluginCreatorInterface* const* creators = getCreators(count);
    const PluginFieldCollection collection{static_cast<int32_t>(fields.size()), fields.data()};
    for (int i = 0; i < count; ++i) {
        auto* creator = static_cast<IPluginCreatorV3One*>(creators[i]);
        if (!std::strcmp(creator->getPluginName(), op))
            return creator->createPlugin("node", &collection, TensorRTPhase::kRUNTIME);
    }
    return nullptr;
}

PluginTensorDesc tensor(std::vector<int64_t> sizes, DataType type) {
    PluginTensorDesc desc{{}, type, TensorFormat::kLINEAR, 1.0f};
    for (int64_t size : sizes) desc.dims.d[desc.dims.nbDims++] = size;
    return desc;
}

void* at(size_t address) { return reinterpret_cast<void*>(address); }

// Inputs lie at 1, 2, 3, the output at 9, the stream at 77.
int32_t enqueue(const char* op, std::vector<PluginField> fields, std::vector<PluginTensorDesc> in,
                PluginTensorDesc out) {
    IPluginV3* plugin = create(op, std::move(fields));
    auto* runtime = static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    IPluginV3* attached = runtime->attachToContext(nullptr);
    delete plugin;
    runtime = static_cast<IPluginV3OneRuntime*>(attached->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
    const void* inputs[] = {at(1), at(2), at(3)};
    void* outputs[] = {at(9)};
    call.clear();
    const int32_t result =
        runtime->enqueue(in.data(), &out, inputs, outputs, nullptr, reinterpret_cast<cudaStream_t>(at(77)));
    delete attached;
    return result;
}

}  // namespace

int hc_assign(const void* features, const void* seeds, void* assignment, int type, int B, int K, int H, int W,
              hc_cluster_options o, void* stream) {
    return record("assign", {features, seeds, assignment, stream}, type, B, K, H, W, o.tau, o.dot, o.exclude, o.hard);
}
int hc_decode(const void* coarse, const void* assignment, void* decoded, int type, int B, int C, int H, int W,
              void* stream) {
    return record("decode", {coarse, assignment, decoded, stream}, type, B, C, H, W);
}
int hc_upsample(const void* coarse, const void* features, const void* seeds, void* decoded, int type, int B, int C,
                int K, int H, int W, hc_cluster_options o, void* stream) {
    return record("upsample", {coarse, features, seeds, decoded, stream}, type, B, C, K, H, W, o.tau, o.dot, o.exclude,
                  o.hard);
}
int hc_argmax(const void* logits, int* labels, int type, int B, int C, int h, int w, int H, int W, void* stream) {
    return record("argmax", {logits, labels, stream}, type, B, C, h, w, H, W);
}
const char* hc_error_string(int) { return "the reason"; }

int main() {
    constexpr DataType kFloat = DataType::kFLOAT, kHalf = DataType::kHALF, kBfloat = DataType::kBF16;
    const float tau = 0.25f;
    const PluginField tau_field("tau", &tau, PluginFieldType::kFLOAT32, 1);
    const PluginField dot("similarity", "dot", PluginFieldType::kCHAR, 3);
    const PluginField exclude("border", "exclude", PluginFieldType::kCHAR, 7);
    const PluginField hard("assignment", "hard", PluginFieldType::kCHAR, 4);

    CHECK(enqueue("HCAssign", {}, {tensor({2, 13, 11, 37}, kHalf), tensor({2, 13, 6, 19}, kHalf)},
                  tensor({2, 9, 11, 37}, kHalf)) == 0);
    CHECK(call == "assign @1 @2 @9 @77 1 2 13 11 37 0.070000 0 0 0");
    CHECK(enqueue("HCAssign", {tau_field, dot}, {tensor({2, 13, 11, 37}, kBfloat), tensor({2, 13, 6, 19}, kBfloat)},
                  tensor({2, 9, 11, 37}, kBfloat)) == 0);
    CHECK(call == "assign @1 @2 @9 @77 2 2 13 11 37 0.250000 1 0 0");
    CHECK(enqueue("HCDecode", {}, {tensor({2, 19, 6, 20}, kFloat), tensor({2, 9, 11, 39}, kFloat)},
                  tensor({2, 19, 11, 39}, kFloat)) == 0);
    CHECK(call == "decode @1 @2 @9 @77 0 2 19 11 39");
    const std::vector<PluginTensorDesc> three = {tensor({2, 19, 6, 20}, kFloat), tensor({2, 13, 11, 39}, kFloat),
                                                 tensor({2, 13, 6, 20}, kFloat)};
    CHECK(enqueue("HCUpsample", {exclude}, three, tensor({2, 19, 11, 39}, kFloat)) == 0);
    CHECK(call == "upsample @1 @2 @3 @9 @77 0 2 19 13 11 39 0.070000 0 1 0");
    CHECK(enqueue("HCUpsample", {hard, tau_field}, three, tensor({2, 19, 11, 39}, kFloat)) == 0);
    CHECK(call == "upsample @1 @2 @3 @9 @77 0 2 19 13 11 39 0.250000 0 0 1");
    CHECK(enqueue("HCArgmax", {}, {tensor({2, 19, 6, 20}, kHalf), tensor({2, 3, 41, 97}, kFloat)},
                  tensor({2, 41, 97}, DataType::kINT32)) == 0);
    CHECK(call == "argmax @1 @9 @77 1 2 19 6 20 41 97");

    // Nothing to do: no kernel. A kernel that was not queued: TensorRT hears of it (and stderr, as no logger is set).
    CHECK(enqueue("HCDecode", {}, {tensor({0, 19, 6, 20}, kFloat), tensor({0, 9, 11, 39}, kFloat)},
                  tensor({0, 19, 11, 39}, kFloat)) == 0);
    CHECK(call.empty());
    answer = 1;
    CHECK(enqueue("HCDecode", {}, {tensor({2, 19, 6, 20}, kFloat), tensor({2, 9, 11, 39}, kFloat)},
                  tensor({2, 19, 11, 39}, kFloat)) != 0);
    return verdict();
}
