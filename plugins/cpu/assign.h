// HCAssign: features [K,H,W] and seeds [K,h,w] -> assignment [9,H,W] (Eq. 4; Eq. 1 when hard).
//
// A strip keeps its products in registers while the channels go by, for one row of three candidates at a time: 12 sums
// of the four pixels of each cell and their four norms where there are 32 registers, half of them where there are 16.
// So a strip's pixels and one row of seeds stay in the first cache, and a channel costs 12 multiply-adds and 7 loads.
//
// The two rows of the fine map below a row of cells come by segments, taken apart and converted on the way. Channels
// lie a power of two apart in most networks: read strip by strip, their lines would push each other out of the caches
// before the next strip comes (256x512, K = 64, one core: 11.4 ms so, 7.5 ms by segments).
#pragma once
#include "cells.h"

namespace hc_cpu {
namespace HC_SET {

constexpr float kNormFloor = 1e-6f;
constexpr int kPixels = 2 * kParities;  // of a cell
// Of these, how many are summed at once.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kPixelsTogether = kPixels;
#else
constexpr int kPixelsTogether = kPixels / 2;
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

// The pixels of up to kCells cells, float32: [K][four pixels of a cell][kCells], zeros outside the map.
struct Segment {
    static constexpr int kCells = 128;
    static constexpr int kStride = kPixels * kCells + 16;  // no power of two
    float* memory;

    static size_t floats(int K) { return size_t(K) * kStride; }

    // Cells [first, last) of row y. The lines of a channel are asked for two channels ahead: it begins where no
    // prefetcher looks.
    template <typename T>
    void read(const T* features, const Cluster& c, int y, int first, int last) {
        const long step = plane(c.H, c.W);
        for (int row = 0; row < 2; ++row) {
            const T* from = features + (2L * y + row) * c.W;
            for (int k = 0; k < c.K; ++k, from += step) {
                float* to = memory + size_t(k) * kStride + row * kParities * kCells;
                for (int x = first; x < last; x += kLanes, to += kLanes) {
                    Floats even = {}, odd = {};
                    if (2 * y + row < c.H) {
                        __builtin_prefetch(from + 2 * step + 2 * x);
                        __builtin_prefetch(from + 2 * step + 2 * x + kLanes);
                        load_strip(from + 2 * x, strip_at(x, c.W), even, odd);
                    }
                    store(to, even);
                    store(to + kCells, odd);
                }
            }
        }
    }
};

struct Sums {
    Floats product[kPixels][kCandidates], square[kPixels];
};

// Sums over all channels of the products with the three candidates of one row, and of squares where that is the middle
// one; of kPixelsTogether of a cell's pixels, from the one given.
template <int Row, typename T>
inline void sum_row(const float* pixels, const Seeds<T>& seeds, int y, int x, int from, Sums& sums) {
    Floats product[kPixelsTogether][3] = {}, square[kPixelsTogether] = {};
    const float* seed = seeds.rows.row(y + Row - 1) + x;
    pixels += from * Segment::kCells;
    for (int k = 0; k < seeds.rows.channels; ++k) {
        Floats pixel[kPixelsTogether];
        for (int p = 0; p < kPixelsTogether; ++p) pixel[p] = pinned(load(pixels + p * Segment::kCells));
        for (int n = 0; n < 3; ++n) {
            const Floats value = pinned(load(seed + n - 1));
            for (int p = 0; p < kPixelsTogether; ++p) product[p][n] += pixel[p] * value;
        }
        for (int p = 0; p < kPixelsTogether; ++p)
            if (Row == 1) square[p] += pixel[p] * pixel[p];
        pixels += Segment::kStride;
        seed += seeds.rows.stride;
    }
    for (int p = 0; p < kPixelsTogether; ++p) {
        for (int n = 0; n < 3; ++n) sums.product[from + p][3 * Row + n] = product[p][n];
        if (Row == 1) sums.square[from + p] = square[p];
    }
}

template <typename T>
inline void sum_strip(const float* pixels, const Seeds<T>& seeds, int y, int x, Sums& sums) {
    for (int from = 0; from < kPixels; from += kPixelsTogether) {
        sum_row<0>(pixels, seeds, y, x, from, sums);
        sum_row<1>(pixels, seeds, y, x, from, sums);
        sum_row<2>(pixels, seeds, y, x, from, sums);
    }
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

// From sums to the weights of the pixels in one of the two fine rows.
template <typename T>
inline void weigh(const Sums& sums, int row, const Seeds<T>& seeds, int y, int x, const hc_cpu_options& options,
                  Weights& weights) {
    for (int parity = 0; parity < kParities; ++parity) {
        Floats(&logit)[kCandidates] = weights.of[parity];
        const int pixel = row * kParities + parity;
        const Floats scale = seeds.cosine ? inverse_length(sums.square[pixel]) : all(seeds.inverse_tau);
        for (int n = 0; n < kCandidates; ++n) {
            logit[n] = sums.product[pixel][n] * scale;
            if (seeds.cosine) logit[n] *= load(seeds.scale(y + n / 3 - 1) + x + n % 3 - 1);
            if (options.exclude)
                logit[n] =
                    select(outside(n, y, x, seeds.rows.height, seeds.rows.width), all(-__builtin_inff()), logit[n]);
        }
        options.hard ? harden(logit) : soften(logit);
    }
}

// Calls WORK(y, strip, place of its first pixel in a channel, weights) for each strip of the fine rows.
template <typename T, typename Advance, typename Work>
inline void for_weighed_strips(const T* features, Seeds<T>& seeds, Segment segment, const Cluster& c, Advance advance,
                               Work work) {
    const int w = coarse_size(c.W);
    for (int y = c.first; y < c.last; ++y) {
        seeds.advance(y + 1);
        advance(y + 1);
        for (int x = 0; x < w; x += kLanes) {
            const int start = x / Segment::kCells * Segment::kCells;
            if (x == start) segment.read(features, c, y, start, least(start + Segment::kCells, w));
            Sums sums;
            sum_strip(segment.memory + x - start, seeds, y, x, sums);
            for (int row = 0; row < least(2, c.H - 2 * y); ++row) {
                Weights weights;
                weigh(sums, row, seeds, y, x, c.options, weights);
                work(y, strip_at(x, c.W), (2L * y + row) * c.W + 2 * x, weights);
            }
        }
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
