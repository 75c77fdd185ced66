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
    const long step = plane(c.H, c.W);
    const size_t for_seeds = Seeds<T>::floats(c.K, w);
    Scratch scratch(for_seeds + CoarseRows<T>::floats(c.C, w));
    if (!scratch.memory) return HC_CPU_NO_MEMORY;
    Seeds<T> seeds(static_cast<const T*>(given_seeds), c, scratch.memory);
    CoarseRows<T> coarse(static_cast<const T*>(given_coarse), c.C, coarse_size(c.H), w, c.first,
                         scratch.memory + for_seeds);
    for (int y = c.first; y < c.last; ++y) {
        seeds.advance(y + 1);
        coarse.advance(y + 1, [](int) {});
        for_fine_rows(y, c.H, [&](int row) {
            for (int x = 0; x < w; x += kLanes) {
                const Strip strip = strip_at(x, c.W);
                const long at = long(row) * c.W + 2 * x;
                Weights weights;
                weigh(static_cast<const T*>(features) + at, step, seeds, y, strip, c.options, weights);
                decode_strip(coarse, y, strip, weights, static_cast<T*>(decoded) + at, step);
            }
        });
    }
    return HC_CPU_DONE;
}

}  // namespace HC_SET
}  // namespace hc_cpu
