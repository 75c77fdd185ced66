// TensorRT's plugin registry for a program that does not know the major version when it is compiled: the class of 10
// (seen in 10.0 to 10.16) has four more virtual functions than that of 11.
#pragma once
#include <NvInferRuntime.h>

struct RegistryOf10 {
    virtual void registerV1() = 0;
    virtual void listV1() = 0;
    virtual void getV1() = 0;
    virtual ~RegistryOf10() = default;
    virtual void setErrorRecorder() = 0;
    virtual void getErrorRecorder() = 0;
    virtual void deregisterV1() = 0;
    virtual void isParentSearchEnabled() = 0;
    virtual void setParentSearchEnabled() = 0;
    virtual void* loadLibrary(const char* path) noexcept = 0;
    virtual void deregisterLibrary(void* handle) noexcept = 0;
    virtual bool registerCreator(nvinfer1::IPluginCreatorInterface& creator, const char* space) noexcept = 0;
    virtual void getAllCreators() = 0;
    virtual nvinfer1::IPluginCreatorInterface* getCreator(const char* name, const char* version,
                                                          const char* space) noexcept = 0;
};

struct RegistryOf11 {
    virtual ~RegistryOf11() = default;
    virtual void setErrorRecorder() = 0;
    virtual void getErrorRecorder() = 0;
    virtual void isParentSearchEnabled() = 0;
    virtual void setParentSearchEnabled() = 0;
    virtual void* loadLibrary(const char* path) noexcept = 0;
    virtual void deregisterLibrary(void* handle) noexcept = 0;
    virtual bool registerCreator(nvinfer1::IPluginCreatorInterface& creator, const char* space) noexcept = 0;
    virtual void getAllCreators() = 0;
    virtual nvinfer1::IPluginCreatorInterface* getCreator(const char* name, const char* version,
                                                          const char* space) noexcept = 0;
};

class Registry {
   public:
    Registry() = default;
    Registry(void* registry, int major) : registry_(registry), is_10_(major < 11) {}

    void* loadLibrary(const char* path) const {
        return is_10_ ? of_10()->loadLibrary(path) : of_11()->loadLibrary(path);
    }
    void deregisterLibrary(void* handle) const {
        is_10_ ? of_10()->deregisterLibrary(handle) : of_11()->deregisterLibrary(handle);
    }
    bool registerCreator(nvinfer1::IPluginCreatorInterface& creator, const char* space) const {
        return is_10_ ? of_10()->registerCreator(creator, space) : of_11()->registerCreator(creator, space);
    }
    nvinfer1::IPluginCreatorInterface* getCreator(const char* name, const char* version, const char* space) const {
        return is_10_ ? of_10()->getCreator(name, version, space) : of_11()->getCreator(name, version, space);
    }

   private:
    RegistryOf10* of_10() const { return static_cast<RegistryOf10*>(registry_); }
    RegistryOf11* of_11() const { return static_cast<RegistryOf11*>(registry_); }

    void* registry_ = nullptr;
    bool is_10_ = false;
};
