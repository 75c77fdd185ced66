/* Stand-ins for the libraries of the full TensorRT, so that its Python bindings load without them. The plugin registry
 * is real: it comes from libnvinfer_lean, which LIBNVINFER is linked to. Everything else is absent and says so: NULL.
 */
#include <stddef.h>

#if defined(LIBNVINFER)
extern void* getPluginRegistry(void);
void* getBuilderPluginRegistry(int capability) {
    (void)capability;
    return getPluginRegistry();
}
void* createInferBuilder_INTERNAL(void* logger, int version) {
    (void)logger, (void)version;
    return NULL;
}
#elif defined(LIBNVONNXPARSER)
void* createNvOnnxParser_INTERNAL(void* network, void* logger, int version) {
    (void)network, (void)logger, (void)version;
    return NULL;
}
void* createNvOnnxParserRefitter_INTERNAL(void* refitter, void* logger, int version) {
    (void)refitter, (void)logger, (void)version;
    return NULL;
}
int getNvOnnxParserVersion(void) { return 0; }
#else
_Bool initLibNvInferPlugins(void* logger, const char* space) {
    (void)logger, (void)space;
    return 1;
}
#endif
