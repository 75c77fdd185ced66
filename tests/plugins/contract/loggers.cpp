// Written without TensorRT's headers, after those of 10.0 (the same up to 10.16) and 11.0.
#include "loggers.h"

#include <cstdint>

namespace nvinfer1 {

class ILogger {
   public:
    virtual void log(int32_t severity, const char* message) noexcept = 0;
    virtual ~ILogger() = default;
};

class ILoggerFinder {
   public:
    virtual ILogger* findLogger() = 0;

   protected:
    virtual ~ILoggerFinder() = default;
};

namespace v_1_0 {

struct InterfaceInfo {
    const char* kind;
    int32_t major, minor;
};

class IVersionedInterface {
   public:
    virtual int32_t getAPILanguage() const noexcept { return 0; }
    virtual InterfaceInfo getInterfaceInfo() const noexcept = 0;
    virtual ~IVersionedInterface() noexcept = default;
};

class ILogger : public IVersionedInterface {
   public:
    InterfaceInfo getInterfaceInfo() const noexcept override { return {"ILogger", 1, 0}; }
    virtual void log(int32_t severity, const char* message) noexcept = 0;
};

class ILoggerFinder : public IVersionedInterface {
   public:
    InterfaceInfo getInterfaceInfo() const noexcept override { return {"ILoggerFinder", 1, 0}; }
    virtual ILogger* findLogger() = 0;
};

}  // namespace v_1_0
}  // namespace nvinfer1

namespace {

template <typename ILogger>
struct Logger final : ILogger {
    explicit Logger(std::string& to) : messages(to) {}
    void log(int32_t severity, const char* message) noexcept override {
        messages += std::to_string(severity) + " " + message + "\n";
    }
    std::string& messages;
};

template <typename ILoggerFinder, typename ILogger>
struct Finder final : ILoggerFinder {
    explicit Finder(std::string& to) : logger(to) {}
    ILogger* findLogger() override { return &logger; }
    Logger<ILogger> logger;
};

}  // namespace

void* make_logger_finder(int major, std::string& messages) {
    using namespace nvinfer1;
    if (major >= 11) return new Finder<v_1_0::ILoggerFinder, v_1_0::ILogger>(messages);
    return new Finder<ILoggerFinder, ILogger>(messages);
}
