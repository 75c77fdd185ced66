// contract LIBNVINFER LIBHC_PLUGINS LIBFINDER: the plugin library through the plugin registry of a real TensorRT, as
// the builder and the runtime use it; no GPU. TensorRT's library is opened by name, so one program serves 10 and 11.
#include <NvInferRuntime.h>
#include <dlfcn.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>

#include "checks.h"
#include "host.h"
#include "loggers.h"

using namespace nvinfer1;

// What is freed is wiped, in the plugin library as well: a copy that points into its original is found out.
void operator delete(void* memory) noexcept {
    if (memory) explicit_bzero(memory, malloc_usable_size(memory));
    std::free(memory);
}
void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace {

void check_names(const char* op) {
    IPluginCreatorInterface* found = registry.getCreator(op, "1", "hc_deploy");
    CHECK(found && !std::strcmp(found->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE"));
    if (!found) return;
    CHECK(!registry.getCreator(op, "1", "") && !registry.getCreator(op, "2", "hc_deploy"));
    IPluginV3* plugin = create(op, {});
    auto* core = capability<IPluginV3OneCore>(plugin, PluginCapabilityType::kCORE);
    CHECK(!std::strcmp(core->getPluginName(), op) && !std::strcmp(core->getPluginVersion(), "1"));
    CHECK(!std::strcmp(core->getPluginNamespace(), "hc_deploy"));
    CHECK(!plugin->getCapabilityInterface(static_cast<PluginCapabilityType>(7)));
    CHECK(build(plugin)->getNbOutputs() == 1 && build(plugin)->getNbTactics() == 0);
    CHECK(build(plugin)->getWorkspaceSize(nullptr, 2, nullptr, 1) == 0);
    delete plugin;
}

template <typename Function>
Function symbol(void* library, const char* name) {
    auto function = reinterpret_cast<Function>(dlsym(library, name));
    if (!function) std::printf("no %s: %s\n", name, dlerror());
    return function;
}

// Which finder this TensorRT hands over, and that messages arrive through both kinds. (The real finder has no logger
// until a builder or a runtime exists, which needs a GPU; messages go to stderr until then.)
void check_finders(int major, const char* finder_library, const char* plugin_library) {
    void* probe = dlopen(finder_library, RTLD_NOW);
    registry.loadLibrary(finder_library);
    const std::string_view interface = symbol<const char* (*)()>(probe, "finder_interface")();
    CHECK(interface == (major >= 11 ? "N8nvinfer15v_1_013ILoggerFinderE" : "N8nvinfer113ILoggerFinderE"));

    void* plugins = dlopen(plugin_library, RTLD_NOW | RTLD_NOLOAD);
    auto set = symbol<void (*)(void*)>(plugins, "setLoggerFinder");
    const float bad = -1.0f;
    CHECK(!create("HCAssign", {tau_field(bad)}) && messages.empty());  // through the real finder: no crash
    for (int kind : {21 - major, major}) {
        set(make_logger_finder(kind, messages));
        CHECK(!create("HCAssign", {tau_field(bad)}) && logged("1 hc_deploy: HCAssign"));
    }
    set(nullptr);
    CHECK(!create("HCAssign", {tau_field(bad)}) && messages.empty());
    set(make_logger_finder(major, messages));
}

}  // namespace

int main(int count, char** arguments) {
    if (count != 4) return 2;
    std::setbuf(stdout, nullptr);
    void* tensorrt = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
    if (!tensorrt) return std::printf("%s\n", dlerror()), 2;
    std::printf("TensorRT %d\n", symbol<int32_t (*)()>(tensorrt, "getInferLibVersion")());
    const int major = symbol<int32_t (*)()>(tensorrt, "getInferLibMajorVersion")();
    registry = Registry(symbol<void* (*)()>(tensorrt, "getPluginRegistry")(), major);
    void* handle = registry.loadLibrary(arguments[2]);
    CHECK(handle);
    check_finders(major, arguments[3], arguments[2]);
    for (const char* op : {"HCAssign", "HCDecode", "HCUpsample", "HCArgmax"}) check_names(op);
    check_attributes();
    check_shapes();
    check_formats();
    registry.deregisterLibrary(handle);
    for (const char* op : {"HCAssign", "HCDecode", "HCUpsample", "HCArgmax"})
        CHECK(!registry.getCreator(op, "1", "hc_deploy"));
    return verdict();
}
