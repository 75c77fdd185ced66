// What the checks share: the registry, the logger's messages, and plugins made as TensorRT makes them.
#pragma once
#include <NvInferRuntime.h>

#include <string>
#include <string_view>
#include <vector>

#include "registry.h"

inline std::string messages;
inline Registry registry;

inline bool logged(std::string_view part) { return messages.find(part) != std::string::npos; }

inline nvinfer1::IPluginCreatorV3One* creator(const char* op) {
    return static_cast<nvinfer1::IPluginCreatorV3One*>(registry.getCreator(op, "1", "hc_deploy"));
}

inline nvinfer1::PluginField text_field(const char* name, std::string_view value) {
    return nvinfer1::PluginField(name, value.data(), nvinfer1::PluginFieldType::kCHAR,
                                 static_cast<int32_t>(value.size()));
}

inline nvinfer1::PluginField tau_field(const float& tau) {
    return nvinfer1::PluginField("tau", &tau, nvinfer1::PluginFieldType::kFLOAT32, 1);
}

inline nvinfer1::IPluginV3* create(const char* op, const std::vector<nvinfer1::PluginField>& fields,
                                   nvinfer1::TensorRTPhase phase = nvinfer1::TensorRTPhase::kBUILD) {
    const nvinfer1::PluginFieldCollection collection{static_cast<int32_t>(fields.size()), fields.data()};
    messages.clear();
    return creator(op)->createPlugin("node_7", &collection, phase);
}

template <typename Capability>
Capability* capability(nvinfer1::IPluginV3* plugin, nvinfer1::PluginCapabilityType type) {
    return static_cast<Capability*>(plugin->getCapabilityInterface(type));
}
inline nvinfer1::IPluginV3OneBuild* build(nvinfer1::IPluginV3* plugin) {
    return capability<nvinfer1::IPluginV3OneBuild>(plugin, nvinfer1::PluginCapabilityType::kBUILD);
}
inline nvinfer1::IPluginV3OneRuntime* runtime(nvinfer1::IPluginV3* plugin) {
    return capability<nvinfer1::IPluginV3OneRuntime>(plugin, nvinfer1::PluginCapabilityType::kRUNTIME);
}

void check_attributes();  // of HCAssign and HCUpsample; those of the others are refused
void check_shapes();
void check_formats();
