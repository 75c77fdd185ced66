// HCAssign: features [K,H,W] and seeds [K,h,w] -> assignment [9,H,W] (Eq. 4; Eq. 1 when hard).
//
// A strip of a fine row keeps its products in registers while the channels go by. With 32 registers these are 18 sums
// (9 candidates of even and of odd pixels) and two norms, for which a channel costs 20 multiply-adds and 11 loads. With
// 16 registers even and odd pixels go by one after the other: 9 sums each.
//
// A row of the fine map comes by segments, taken apart and converted on the way. Channels lie a power of two apart in
// most networks: read strip by strip, their lines would push each other out of the caches before the next strip comes
// (256x512, K = 64, one core: 11.4 ms so, HC_SEGMENTED by segments).
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

// The pixels of up to kSegment cells in one fine row, float32: [K][even, odd][kSegment], zeros outside the map.
struct Segment {
    static constexpr int kCells = 128;
    static constexpr int kStride = 2 * kCells + 16;  // no power of two
    float* memory;

    static size_t floats(int K) { return size_t(K) * kStride; }
    const float* pixels(int x) const { return memory + x; }

    template <typename T>
    void read(const T* row, long step, int K, int first, int last, int W) {
        for (int k = 0; k < K; ++k) {
            float* to = memory + size_t(k) * kStride;
            const T* from = row + k * step;
            for (int x = first; x < last; x += kLanes, to += kLanes) {
                Floats even, odd;
                load_strip(from + 2 * x, strip_at(x, W), even, odd);
                store(to, even);
                store(to + kCells, odd);
            }
        }
    }
};

struct Sums {
    Floats product[kCandidates], square;
};

// Sums over all channels: of the even pixels, the odd ones, or (Parity 2) both at once.
template <int Parity, typename T>
inline void sum_channels(const float* pixels, const Seeds<T>& seeds, int y, int x, Sums (&sums)[kParities]) {
    Sums even = {}, odd = {};
    const float* row[3];
    for (int dy = 0; dy < 3; ++dy) row[dy] = seeds.rows.row(y + dy - 1) + x;
    for (int k = 0; k < seeds.rows.channels; ++k) {
        const Floats left = load(pixels), right = load(pixels + Segment::kCells);
        for (int n = 0; n < kCandidates; ++n) {
            const Floats seed = Parity == 2 ? pinned(load(row[n / 3] + n % 3 - 1)) : load(row[n / 3] + n % 3 - 1);
            if (Parity != 1) even.product[n] += left * seed;
            if (Parity != 0) odd.product[n] += right * seed;
        }
        if (Parity != 1) even.square += left * left;
        if (Parity != 0) odd.square += right * right;
        pixels += Segment::kStride;
        for (int dy = 0; dy < 3; ++dy) row[dy] += seeds.rows.stride;
    }
    if (Parity != 1) sums[0] = even;
    if (Parity != 0) sums[1] = odd;
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

// The weights of the pixels of a strip that begins at cell x, at `pixels` in a segment.
template <typename T>
inline void weigh(const float* pixels, const Seeds<T>& seeds, int y, int x, const hc_cpu_options& options,
                  Weights& weights) {
    Sums sums[kParities];
    if (kManyRegisters) {
        sum_channels<2>(pixels, seeds, y, x, sums);
    } else {
        sum_channels<0>(pixels, seeds, y, x, sums);
        sum_channels<1>(pixels, seeds, y, x, sums);
    }
    for (int parity = 0; parity < kParities; ++parity) {
        Floats(&logit)[kCandidates] = weights.of[parity];
        const Floats scale = seeds.cosine ? inverse_length(sums[parity].square) : all(seeds.inverse_tau);
        for (int n = 0; n < kCandidates; ++n) {
            logit[n] = sums[parity].product[n] * scale;
            if (seeds.cosine) logit[n] *= load(seeds.scale(y + n / 3 - 1) + x + n % 3 - 1);
            if (options.exclude)
                logit[n] =
                    select(outside(n, y, x, seeds.rows.height, seeds.rows.width), all(-__builtin_inff()), logit[n]);
        }
        options.hard ? harden(logit) : soften(logit);
    }
}

// Calls WORK(y, strip, place of its first pixel in a channel, weights) for each strip of the rows.
template <typename T, typename Advance, typename Work>
inline void for_weighed_strips(const T* features, Seeds<T>& seeds, Segment segment, const Cluster& c, Advance advance,
                               Work work) {
    const int w = coarse_size(c.W);
    for (int y = c.first; y < c.last; ++y) {
        seeds.advance(y + 1);
        advance(y + 1);
        for_fine_rows(y, c.H, [&](int row) {
            for (int x = 0; x < w; x += kLanes) {
                const int start = x / Segment::kCells * Segment::kCells;
                if (x == start)
                    segment.read(features + long(row) * c.W, plane(c.H, c.W), c.K, start,
                                 least(start + Segment::kCells, w), c.W);
                Weights weights;
                weigh(segment.pixels(x - start), seeds, y, x, c.options, weights);
                work(y, strip_at(x, c.W), long(row) * c.W + 2 * x, weights);
            }
        });
    }
}

template <typename T>
int assign(const void* features, const void* given_seeds, void* assignment, const Cluster& c) {
    const size_t for_seeds = Seeds<T>::floats(c.K, coarse_size(c.W));
    Scratch scratch(for_seeds + Segment::floats(c.K));
    if (!scratch.memory) return HC_CPU_NO_MEMORY;
    Seeds<T> seeds(static_cast<const T*>(given_seeds), c, scratch.memory);
    for_weighed_strips(
        static_cast<const T*>(features), seeds, Segment{scratch.memory + for_seeds}, c, [](int) {},
        [&](int, const Strip& strip, long at, const Weights& weights) {
            T* out = static_cast<T*>(assignment) + at;
            for (int n = 0; n < kCandidates; ++n)
                store_strip(out + n * plane(c.H, c.W), strip, weights.of[0][n], weights.of[1][n]);
        });
    return HC_CPU_DONE;
}

}  // namespace HC_SET
}  // namespace hc_cpu
