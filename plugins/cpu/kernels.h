// What each instruction set gives to the dispatch: the ops of one image, sizes checked.
#pragma once
#include "hc_cpu.h"

namespace hc_cpu {

// Coarse rows [first, last) of an image, whose maps begin at the pointers.
struct Cluster {
    int type, C, K, H, W, first, last;
    hc_cpu_options options;
};

// Rows [first, last) of the labels of an image.
struct Labels {
    int type, C, h, w, H, W, first, last;
};

struct Kernels {
    const char* name;
    int (*assign)(const void* features, const void* seeds, void* assignment, const Cluster&);
    int (*decode)(const void* coarse, const void* assignment, void* decoded, const Cluster&);
    int (*upsample)(const void* coarse, const void* features, const void* seeds, void* decoded, const Cluster&);
    int (*argmax)(const void* logits, int* labels, const Labels&);
};

extern const Kernels kernels_serial;
#if defined(__x86_64__)
extern const Kernels kernels_avx2, kernels_avx512;
#elif defined(__aarch64__)
extern const Kernels kernels_neon;
#endif

}  // namespace hc_cpu
