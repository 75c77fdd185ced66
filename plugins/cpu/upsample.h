// HCUpsample: coarse [C,h,w], features [K,H,W] and seeds [K,h,w] -> decoded [C,H,W].
//
// HCAssign and HCDecode strip by strip: the weights of a strip are decoded while they are in registers and the first
// cache, and the assignment is never written.
#pragma once
#include "assign.h"
#include "decode.h"

namespace hc_cpu {
namespace HC_SET {

template <typename T>
int upsample(const void* given_coarse, const void* features, const void* given_seeds, void* decoded, const Cluster& c) {
    const int w = coarse_size(c.W);
    const size_t for_seeds = Seeds<T>::floats(c.K, w), for_features = Segment::floats(c.K);
    Scratch scratch(for_seeds + for_features + CoarseRows<T>::floats(c.C, w));
    if (!scratch.memory) return HC_CPU_NO_MEMORY;
    Seeds<T> seeds(static_cast<const T*>(given_seeds), c, scratch.memory);
    CoarseRows<T> coarse(static_cast<const T*>(given_coarse), c.C, coarse_size(c.H), w, c.first,
                         scratch.memory + for_seeds + for_features);
    for_weighed_strips(
        static_cast<const T*>(features), seeds, Segment{scratch.memory + for_seeds}, c,
        [&](int y) { coarse.advance(y, [](int) {}); },
        [&](int y, const Strip& strip, long at, const Weights& weights) {
            decode_strip(coarse, y, strip, weights, static_cast<T*>(decoded) + at, plane(c.H, c.W));
        });
    return HC_CPU_DONE;
}

}  // namespace HC_SET
}  // namespace hc_cpu
