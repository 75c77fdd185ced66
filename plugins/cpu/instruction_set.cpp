// The four ops for one instruction set: build.py compiles this file once a set, with the set's flags, HC_SET its name.
#include "argmax.h"
#include "upsample.h"

#define HC_TEXT_OF(NAME) #NAME
#define HC_TEXT(NAME) HC_TEXT_OF(NAME)
#define HC_JOINED(A, B) A##B
#define HC_JOIN(A, B) HC_JOINED(A, B)

namespace hc_cpu {
namespace HC_SET {

// Calls WORK<T> for the element type `type`, which the dispatch has checked.
#define HC_FOR_TYPE(TYPE, WORK, ...)                      \
    TYPE == HC_CPU_FLOAT32   ? WORK<float>(__VA_ARGS__)   \
    : TYPE == HC_CPU_FLOAT16 ? WORK<Float16>(__VA_ARGS__) \
                             : WORK<BFloat16>(__VA_ARGS__)

static int assign_any(const void* features, const void* seeds, void* assignment, const Cluster& c) {
    return HC_FOR_TYPE(c.type, assign, features, seeds, assignment, c);
}

static int decode_any(const void* coarse, const void* assignment, void* decoded, const Cluster& c) {
    return HC_FOR_TYPE(c.type, decode, coarse, assignment, decoded, c);
}

static int upsample_any(const void* coarse, const void* features, const void* seeds, void* decoded, const Cluster& c) {
    return HC_FOR_TYPE(c.type, upsample, coarse, features, seeds, decoded, c);
}

static int argmax_any(const void* logits, int* labels, const Labels& l) {
    return HC_FOR_TYPE(l.type, argmax, logits, labels, l);
}

}  // namespace HC_SET

const Kernels HC_JOIN(kernels_, HC_SET) = {HC_TEXT(HC_SET), HC_SET::assign_any, HC_SET::decode_any,
                                           HC_SET::upsample_any, HC_SET::argmax_any};

}  // namespace hc_cpu
