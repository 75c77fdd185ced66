// The list of our ops, and the function through which TensorRT asks for it (IPluginRegistry::loadLibrary, trtexec
// --dynamicPlugins). The library's other export, setLoggerFinder, is in log.cpp.
#include <new>

#include "log.h"
#include "plugin.h"

using namespace nvinfer1;

namespace {

class Creator final : public IPluginCreatorV3One {
   public:
    explicit Creator(const hc::Op& op) : op_(op), collection_{op.has_attributes ? hc::kClusterFields : 0, fields_} {
        hc::ClusterAttributes().write(fields_);
        for (PluginField& field : fields_) {  // names and types only
            field.data = nullptr;
            field.length = field.type == PluginFieldType::kCHAR ? 0 : 1;
        }
    }

    const char* getPluginName() const noexcept override { return op_.name; }
    const char* getPluginVersion() const noexcept override { return hc::kVersion; }
    const char* getPluginNamespace() const noexcept override { return hc::kNamespace; }
    const PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }

    IPluginV3* createPlugin(const char* name, const PluginFieldCollection* fields, TensorRTPhase) noexcept override {
        const char* node = name ? name : "";
        hc::ClusterAttributes attributes;
        if (op_.has_attributes && !attributes.read(fields, op_.name, node)) return nullptr;
        if (!op_.has_attributes && fields && fields->nbFields > 0) {
            const char* given = fields->fields[0].name;
            hc::log_error("%s \"%s\": attribute %s, expected none", op_.name, node, given ? given : "without a name");
            return nullptr;
        }
        return new (std::nothrow) hc::Plugin(op_, attributes, node);
    }

   private:
    const hc::Op& op_;
    PluginField fields_[hc::kClusterFields];
    PluginFieldCollection collection_;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) IPluginCreatorInterface* const* getCreators(int32_t& count) {
    static Creator assign(hc::kAssign), decode(hc::kDecode), upsample(hc::kUpsample), argmax(hc::kArgmax);
    static IPluginCreatorInterface* const creators[] = {&assign, &decode, &upsample, &argmax};
    count = sizeof creators / sizeof *creators;
    return creators;
}
