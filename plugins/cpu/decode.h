// HCDecode: coarse [C,h,w] and assignment [9,H,W] -> decoded [C,H,W] (Eq. 2).
//
// A strip's 18 vectors of weights serve all classes; a class costs 9 loads, 18 multiply-adds and two stores.
#pragma once
#include "cells.h"

namespace hc_cpu {
namespace HC_SET {

// All classes of a strip's pixels in the fine row whose results begin at `out`.
template <typename T>
inline void decode_strip(const CoarseRows<T>& coarse, int y, const Strip& strip, const Weights& weights, T* out,
                         long step) {
    const float* row[3];
    for (int dy = 0; dy < 3; ++dy) row[dy] = coarse.row(y + dy - 1) + strip.x;
    for (int c = 0; c < coarse.channels; ++c) {
        Floats even = {}, odd = {};
        for (int n = 0; n < kCandidates; ++n) {
            const Floats value = pinned(load(row[n / 3] + n % 3 - 1));
            even += weights.of[0][n] * value;
            odd += weights.of[1][n] * value;
        }
        store_strip(out, strip, even, odd);
        out += step;
        for (int dy = 0; dy < 3; ++dy) row[dy] += coarse.stride;
    }
}

template <typename T>
int decode(const void* given_coarse, const void* assignment, void* decoded, const Cluster& c) {
    const int w = coarse_size(c.W);
    const long step = plane(c.H, c.W);
    Scratch scratch(CoarseRows<T>::floats(c.C, w));
    if (!scratch.memory) return HC_CPU_NO_MEMORY;
    CoarseRows<T> coarse(static_cast<const T*>(given_coarse), c.C, coarse_size(c.H), w, c.first, scratch.memory);
    for (int y = c.first; y < c.last; ++y) {
        coarse.advance(y + 1, [](int) {});
        for (int row = 2 * y; row < least(2 * y + 2, c.H); ++row) {
            for (int x = 0; x < w; x += kLanes) {
                const Strip strip = strip_at(x, c.W);
                const long at = long(row) * c.W + 2 * x;
                Weights weights;
                for (int n = 0; n < kCandidates; ++n)
                    load_strip(static_cast<const T*>(assignment) + n * step + at, strip, weights.of[0][n],
                               weights.of[1][n]);
                decode_strip(coarse, y, strip, weights, static_cast<T*>(decoded) + at, step);
            }
        }
    }
    return HC_CPU_DONE;
}

}  // namespace HC_SET
}  // namespace hc_cpu
