// HCAssign: features [K,H,W] and seeds [K,h,w] -> assignment [9,H,W] (Eq. 4; Eq. 1 when hard).
//
// A strip of a fine row keeps its products in registers while the channels go by. With 32 registers these are 18 sums
// (9 candidates of even and of odd pixels) and two norms, for which a channel costs 20 multiply-adds, 9 loads of
// candidates and one pair of pixels. With 16 registers even and odd pixels go by one after the other: 9 sums each.
//
// Each channel of the features is another plane of memory, more of them than the processor's prefetcher follows; so the
// strip after this one is fetched by hand.
#pragma once
#include "cells.h"

namespace hc_cpu {
namespace HC_SET {

constexpr float kNormFloor = 1e-6f;
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;
#else
constexpr bool kManyRegisters = false;
#endif

inline Floats inverse_length(Floats square_sum) { return 1.0f / larger_of(square_root(square_sum), all(kNormFloor)); }

// Seeds and the scale of each one's products, row by row.
template <typename T>
struct Seeds {
    CoarseRows<T> rows;
    float* scales;  // three rows, as in `rows`
    bool cosine;
    float inverse_tau;

    static size_t floats(int K, int w) { return CoarseRows<T>::floats(K + 1, w); }

    Seeds(const T* seeds, const Cluster& c, float* memory)
        : rows(seeds, c.K, coarse_size(c.H), coarse_size(c.W), c.first, memory),
          scales(memory + CoarseRows<T>::floats(c.K, coarse_size(c.W))),
          cosine(!c.options.dot),
          inverse_tau(1.0f / c.options.tau) {}

    float* scale(int y) const { return scales + size_t((y + 3) % 3) * rows.stride + kLanes; }

    void advance(int y) {
        rows.advance(y, [this](int row) { measure(row); });
    }

    // 1 / (length * tau) of each seed of a row; of a dot product, whose scale is one number, nothing.
    void measure(int y) {
        if (!cosine) return;
        for (int x = -kLanes; x < rows.stride - kLanes; x += kLanes) {
            Floats sum = {};
            for (int k = 0; k < rows.channels; ++k) {
                const Floats value = load(rows.row(y) + size_t(k) * rows.stride + x);
                sum += value * value;
            }
            store(scale(y) + x, inverse_length(sum) * inverse_tau);
        }
    }
};

struct Sums {
    Floats product[kCandidates], square;
};

inline void add(Sums& sums, Floats pixel, const float* const (&row)[3]) {
    for (int n = 0; n < kCandidates; ++n) sums.product[n] += pixel * load(row[n / 3] + n % 3 - 1);
    sums.square += pixel * pixel;
}

// Sums over all channels: of the even pixels, the odd ones, or (Parity 2) both at once.
template <int Parity, bool Whole, typename T>
inline void sum_channels(const T* pixels, long step, const Seeds<T>& seeds, int y, const Strip& strip,
                         Sums (&sums)[2]) {
    Sums even = {}, odd = {};
    const float* row[3];
    for (int dy = 0; dy < 3; ++dy) row[dy] = seeds.rows.row(y + dy - 1) + strip.x;
    for (int k = 0; k < seeds.rows.channels; ++k) {
        Floats left, right;
        if (Whole) {
            __builtin_prefetch(pixels + 2 * kLanes);
            load_pairs(pixels, left, right);
        } else {
            load_strip(pixels, strip, left, right);
        }
        if (Parity != 1) add(even, left, row);
        if (Parity != 0) add(odd, right, row);
        pixels += step;
        for (int dy = 0; dy < 3; ++dy) row[dy] += seeds.rows.stride;
    }
    if (Parity != 1) sums[0] = even;
    if (Parity != 0) sums[1] = odd;
}

template <bool Whole, typename T>
inline void sum_strip(const T* pixels, long step, const Seeds<T>& seeds, int y, const Strip& strip, Sums (&sums)[2]) {
    if (kManyRegisters) return sum_channels<2, Whole>(pixels, step, seeds, y, strip, sums);
    sum_channels<0, Whole>(pixels, step, seeds, y, strip, sums);
    sum_channels<1, Whole>(pixels, step, seeds, y, strip, sums);
}

// Softmax, its largest subtracted first.
inline void soften(Floats (&logit)[kCandidates]) {
    Floats top = logit[0], sum = {};
    for (int n = 1; n < kCandidates; ++n) top = larger_of(top, logit[n]);
    for (int n = 0; n < kCandidates; ++n) sum += logit[n] = exponential(logit[n] - top);
    const Floats scale = 1.0f / sum;
    for (int n = 0; n < kCandidates; ++n) logit[n] *= scale;
}

// 1 on the first largest; a NaN is larger than every number.
inline void harden(Floats (&logit)[kCandidates]) {
    Floats top = logit[0];
    Ints first = {};
    for (int n = 1; n < kCandidates; ++n) {
        const Ints better = (logit[n] > top) | ((logit[n] != logit[n]) & (top == top));
        top = select(better, logit[n], top);
        first = select(better, all(n), first);
    }
    for (int n = 0; n < kCandidates; ++n) logit[n] = select(first == n, all(1.0f), Floats{});
}

// -1 where a lane's candidate n lies outside the map.
inline Ints outside(int n, int y, int x, int h, int w) {
    Ints lane;
    for (int i = 0; i < kLanes; ++i) lane[i] = i;
    const Ints cell = lane + (x + n % 3 - 1);
    const int row = y + n / 3 - 1;
    return (row < 0 || row >= h) ? all(-1) : (cell < 0) | (cell >= w);
}

// The weights of a strip's pixels in the fine row whose features begin at `pixels`.
template <typename T>
inline void weigh(const T* pixels, long step, const Seeds<T>& seeds, int y, const Strip& strip,
                  const hc_cpu_options& options, Weights& weights) {
    Sums sums[kParities];
    if (strip.whole())
        sum_strip<true>(pixels, step, seeds, y, strip, sums);
    else
        sum_strip<false>(pixels, step, seeds, y, strip, sums);
    for (int parity = 0; parity < kParities; ++parity) {
        Floats(&logit)[kCandidates] = weights.of[parity];
        const Floats scale = seeds.cosine ? inverse_length(sums[parity].square) : all(seeds.inverse_tau);
        for (int n = 0; n < kCandidates; ++n) {
            logit[n] = sums[parity].product[n] * scale;
            if (seeds.cosine) logit[n] *= load(seeds.scale(y + n / 3 - 1) + strip.x + n % 3 - 1);
            if (options.exclude)
                logit[n] = select(outside(n, y, strip.x, seeds.rows.height, seeds.rows.width), all(-__builtin_inff()),
                                  logit[n]);
        }
        options.hard ? harden(logit) : soften(logit);
    }
}

template <typename T>
int assign(const void* features, const void* given_seeds, void* assignment, const Cluster& c) {
    const int w = coarse_size(c.W);
    const long step = plane(c.H, c.W);
    Scratch scratch(Seeds<T>::floats(c.K, w));
    if (!scratch.memory) return HC_CPU_NO_MEMORY;
    Seeds<T> seeds(static_cast<const T*>(given_seeds), c, scratch.memory);
    for (int y = c.first; y < c.last; ++y) {
        seeds.advance(y + 1);
        for_fine_rows(y, c.H, [&](int row) {
            for (int x = 0; x < w; x += kLanes) {
                const Strip strip = strip_at(x, c.W);
                const long at = long(row) * c.W + 2 * x;
                Weights weights;
                weigh(static_cast<const T*>(features) + at, step, seeds, y, strip, c.options, weights);
                for (int n = 0; n < kCandidates; ++n)
                    store_strip(static_cast<T*>(assignment) + n * step + at, strip, weights.of[0][n], weights.of[1][n]);
            }
        });
    }
    return HC_CPU_DONE;
}

}  // namespace HC_SET
}  // namespace hc_cpu
