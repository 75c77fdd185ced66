// TensorRT hands its logger over through setLoggerFinder when it loads the library.
//
// The two interfaces on that way are not the same in all versions: in TensorRT 10 their first virtual function is the
// one we need; since TensorRT 11 (and in TensorRT-RTX 1.7) they are versioned interfaces with others before it. The
// headers know one of the two, and a call through the wrong one is a crash. So both are written down here, and the
// class name in the finder's run-time type says which it is. A finder of neither kind is not called.
#include "log.h"

#include <NvInferRuntime.h>
#include <cxxabi.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <typeinfo>

// Not in the unnamed namespace: of a type that nobody else can derive from, and nobody here does, the compiler
// concludes that its virtual functions are never called.
namespace hc::interfaces {

struct LoggerOf10 {
    virtual void log(int severity, const char* message) noexcept = 0;
};
struct FinderOf10 {
    virtual LoggerOf10* findLogger() = 0;
};
struct LoggerOf11 : nvinfer1::IVersionedInterface {
    virtual void log(int severity, const char* message) noexcept = 0;
};
struct FinderOf11 : nvinfer1::IVersionedInterface {
    virtual LoggerOf11* findLogger() = 0;
};

}  // namespace hc::interfaces

namespace {

using hc::interfaces::FinderOf10;
using hc::interfaces::FinderOf11;

constexpr int kErrorSeverity = 1;  // ILogger::Severity::kERROR

std::atomic<FinderOf10*> finder_of_10{nullptr};
std::atomic<FinderOf11*> finder_of_11{nullptr};

bool derives_from(const std::type_info& type, const char* name) {
    if (std::strcmp(type.name(), name) == 0) return true;
    auto* derived = dynamic_cast<const abi::__si_class_type_info*>(&type);
    return derived && derives_from(*derived->__base_type, name);
}

template <typename Finder>
bool logged(Finder* finder, const char* message) noexcept {
    if (!finder) return false;
    try {
        auto* logger = finder->findLogger();
        if (logger) logger->log(kErrorSeverity, message);
        return logger;
    } catch (...) {
        return false;
    }
}

}  // namespace

void hc::log_error(const char* format, ...) noexcept {
    char message[1024] = "hc_deploy: ";
    const size_t start = std::strlen(message);
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(message + start, sizeof message - start, format, arguments);
    va_end(arguments);
    if (logged(finder_of_10.load(), message) || logged(finder_of_11.load(), message)) return;
    std::fprintf(stderr, "%s\n", message);
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
    finder_of_10 = nullptr;
    finder_of_11 = nullptr;
    if (!finder) return;
    const std::type_info& type = typeid(*reinterpret_cast<FinderOf10*>(finder));
    if (derives_from(type, "N8nvinfer113ILoggerFinderE")) finder_of_10 = reinterpret_cast<FinderOf10*>(finder);
    if (derives_from(type, "N8nvinfer15v_1_013ILoggerFinderE")) finder_of_11 = reinterpret_cast<FinderOf11*>(finder);
}
