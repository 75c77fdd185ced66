// The geometry that assign, decode and upsample share: rows of the coarse map as vectors want them, and strips of
// cells.
//
// A cell is one pixel of the coarse map [h,w] and the 2x2 pixels of the fine map [H,W] below it. Its nine candidates
// are the 3x3 cells around it, n = 3*(dy+1) + (dx+1).
//
//        a strip: kLanes cells of a row            the fine row below them, 2*kLanes pixels
//      +---+---+---+---+                         +---+---+---+---+---+---+---+---+
//      | 0 | 1 | 2 | 3 |                         | 0e| 0o| 1e| 1o| 2e| 2o| 3e| 3o|
//      +---+---+---+---+                         +---+---+---+---+---+---+---+---+
//
// A lane is a cell. The pixels of a fine row are taken apart into a vector of even and one of odd columns; all pixels
// of a cell have the same candidates, so the nine candidates of a strip are nine plain loads (from three rows, each
// shifted by a cell to either side), which serve both vectors.
#pragma once
#include "kernels.h"
#include "vector.h"

namespace hc_cpu {
namespace HC_SET {

constexpr int kCandidates = 9;
constexpr int kParities = 2;  // even and odd columns

inline int coarse_size(int fine) { return (fine + 1) / 2; }

// Elements of one channel of a whole map.
inline long plane(int height, int width) { return long(height) * width; }

// Three rows of a coarse map [channels,height,width] in float32, zeros outside the map: the row of the cells and its
// neighbours. Each row of the map is read and converted once, while the rows of cells go by: 1 of 36 memory operations
// at K = 64.
template <typename T>
struct CoarseRows {
    const T* map;
    int channels, height, width, stride;
    float* rows;
    int next;  // the first row that is not here yet

    static int stride_of(int width) { return kLanes + round_up(width) + kLanes; }
    static size_t floats(int channels, int width) { return size_t(3) * channels * stride_of(width); }

    CoarseRows(const T* given, int channels, int height, int width, int first, float* memory)
        : map(given),
          channels(channels),
          height(height),
          width(width),
          stride(stride_of(width)),
          rows(memory),
          next(first - 1) {}

    // Of row y, from -1 to height: its first cell in channel 0.
    float* row(int y) const { return rows + size_t((y + 3) % 3) * channels * stride + kLanes; }

    // Brings the rows up to y; each new one is handed to `seen`.
    template <typename Seen>
    void advance(int y, Seen seen) {
        for (; next <= y; ++next) {
            for (int c = 0; c < channels; ++c) copy(row(next) + size_t(c) * stride, c);
            seen(next);
        }
    }

    void copy(float* to, int c) const {
        memset(to - kLanes, 0, stride * sizeof(float));
        if (next < 0 || next >= height) return;
        const T* from = map + c * plane(height, width) + long(next) * width;
        int x = 0;
        for (; x + kLanes <= width; x += kLanes) store(to + x, load(from + x));
        T rest[kLanes] = {};
        memcpy(rest, from + x, (width - x) * sizeof(T));
        store(to + x, load(rest));
        for (int i = width; i < x + kLanes; ++i) to[i] = 0.0f;
    }
};

// Where a strip lies in a fine row.
struct Strip {
    int x;       // first cell
    int pixels;  // of the row that lie in it, at most 2*kLanes
    bool whole() const { return pixels == 2 * kLanes; }
};

inline Strip strip_at(int x, int W) { return {x, least(2 * kLanes, W - 2 * x)}; }

// The pixels of a strip, from its first one in a channel's row; zeros outside the map.
template <typename T>
inline void load_strip(const T* from, const Strip& strip, Floats& even, Floats& odd) {
    if (strip.whole()) return load_pairs(from, even, odd);
    T part[2 * kLanes] = {};
    memcpy(part, from, strip.pixels * sizeof(T));
    load_pairs(part, even, odd);
}

template <typename T>
inline void store_strip(T* to, const Strip& strip, Floats even, Floats odd) {
    if (strip.whole()) return store_pairs(to, even, odd);
    T part[2 * kLanes];
    store_pairs(part, even, odd);
    memcpy(to, part, strip.pixels * sizeof(T));
}

// Weights of the candidates of a strip's pixels in one fine row.
struct Weights {
    Floats of[kParities][kCandidates];
};

}  // namespace HC_SET
}  // namespace hc_cpu
