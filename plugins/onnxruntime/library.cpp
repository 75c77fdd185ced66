// What ONNX Runtime calls when the library is registered: the ops of the domain hc_deploy join the session's options.
#include <cstdlib>
#include <string>

#include "../cpu/hc_cpu.h"
#include "ops.h"

namespace {

// The version of an interface is the minor number of the text: 20 of "1.20.1".
uint32_t version_of(const char* text) {
    char* end = nullptr;
    std::strtoul(text, &end, 10);
    return *end == '.' ? uint32_t(std::strtoul(end + 1, nullptr, 10)) : 0;
}

}  // namespace

extern "C" HC_API ort::Status* RegisterCustomOps(ort::SessionOptions* options, const ort::ApiBase* base) {
    const uint32_t theirs = version_of(base->version_text());
    if (theirs < ort::kVersion) {
        const std::string said = std::string("ONNX Runtime ") + base->version_text() + ", expected 1.17 or newer";
        return ort::Api(base->table(1)).error(ort::kFail, said.c_str());
    }
    const ort::Api api(base->table(ort::kVersion));
    static ort::Domain* domain = nullptr;  // one for all sessions, which keep a pointer to it
    static ort::Status* const failed = [&]() -> ort::Status* {
        if (ort::Status* status = api.create_domain("hc_deploy", &domain)) return status;
        for (const ort::CustomOp* op : hc_onnxruntime::ops())
            if (ort::Status* status = api.add_op(domain, op)) return status;
        return nullptr;
    }();
    if (failed) return api.error(ort::kFail, "the ops of hc_deploy cannot be registered");
    return api.add_domain(options, domain);
}
