// A plugin library without plugins that tells what kind of logger finder the TensorRT that loaded it hands over.
#include <NvInferRuntime.h>
#include <cxxabi.h>

#include <typeinfo>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace {

const std::type_info* type = nullptr;

}  // namespace

EXPORT void setLoggerFinder(nvinfer1::IVersionedInterface* finder) {  // any class with virtual functions will do
    type = finder ? &typeid(*finder) : nullptr;
}

EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) {
    count = 0;
    return nullptr;
}

// Name of the class that the finder's class derives from; empty where none was set.
EXPORT const char* finder_interface() {
    auto* derived = dynamic_cast<const abi::__si_class_type_info*>(type);
    return derived ? derived->__base_type->name() : "";
}
