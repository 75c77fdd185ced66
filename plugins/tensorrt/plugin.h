// One op as TensorRT sees it: checks, shapes, formats, and the call of its kernel.
#pragma once
#include "attributes.h"
#include "op.h"

namespace hc {

constexpr const char* kNamespace = "hc_deploy";
constexpr const char* kVersion = "1";

class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
   public:
    Plugin(const Op& op, const ClusterAttributes& attributes, const char* node) noexcept;
    Plugin(const Plugin& other) noexcept;

    nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
    nvinfer1::IPluginV3* clone() noexcept override;

    const char* getPluginName() const noexcept override { return op_.name; }
    const char* getPluginVersion() const noexcept override { return kVersion; }
    const char* getPluginNamespace() const noexcept override { return kNamespace; }

    int32_t getNbOutputs() const noexcept override { return 1; }
    int32_t getOutputDataTypes(nvinfer1::DataType* outputs, int32_t output_count, const nvinfer1::DataType* inputs,
                               int32_t input_count) const noexcept override;
    int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, int32_t input_count,
                            const nvinfer1::DimsExprs* shape_inputs, int32_t shape_input_count,
                            nvinfer1::DimsExprs* outputs, int32_t output_count,
                            nvinfer1::IExprBuilder& builder) noexcept override;
    bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                   int32_t input_count, int32_t output_count) noexcept override;
    int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, int32_t input_count,
                            const nvinfer1::DynamicPluginTensorDesc* outputs, int32_t output_count) noexcept override;

    int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, int32_t input_count,
                          const nvinfer1::PluginTensorDesc* outputs, int32_t output_count) noexcept override;
    int32_t enqueue(const nvinfer1::PluginTensorDesc* input_descs, const nvinfer1::PluginTensorDesc* output_descs,
                    const void* const* inputs, void* const* outputs, void* workspace,
                    cudaStream_t stream) noexcept override;
    nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override { return clone(); }
    const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return &collection_; }

   private:
    bool legal_counts(int32_t inputs, int32_t outputs) const noexcept;
    bool legal_height(const Shape& out) const noexcept;
    bool legal_inputs(const Shape* in) const noexcept;
    bool legal_output(const Shape* in, const Shape& out) const noexcept;

    const Op& op_;
    const ClusterAttributes attributes_;
    char node_[128];  // the node's name in the model, for messages
    nvinfer1::PluginField fields_[kClusterFields];
    nvinfer1::PluginFieldCollection collection_;
};

}  // namespace hc
