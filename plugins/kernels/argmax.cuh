// HCArgmax: logits [B,C,h,w] -> labels int32 [B,H,W]: the first largest class of the bilinear (half-pixel) enlargement,
// which is never written.
//
// A class that is the largest at all four corners is the largest of every mean of them. So a block finds the class of
// each source pixel of its tile once (C reads and compares a source pixel, a quarter of the output's count at twice the
// size), keeps these in shared memory, and interpolates only where the corners differ: along the borders of regions.
// These places are listed first, so that whole warps interpolate: one lane alone at a border costs as much as 32.
//
// Thread mapping: a block of 256 threads makes 128 x 16 labels, a thread four neighbours of a row at a time (a quad,
// one 16-byte store).
//
// Bytes, s an element: C*s a source pixel, 4 a label. At twice the size, float16, C = 19: 13.5 a label. Operations
// (compares and selects): 3*C a source pixel, 14 a label at twice the size; 60*C a quad that is interpolated.
#pragma once
#include "numeric.cuh"

namespace hc {

constexpr int kLabelColumns = 128;
constexpr int kLabelRows = 16;
constexpr int kLabelThreads = 256;
constexpr int kLabelsPerThread = 4;
constexpr int kQuadsPerRow = kLabelColumns / kLabelsPerThread;
constexpr int kQuads = kQuadsPerRow * kLabelRows;
// Sources of a tile when the map is enlarged: at most one a label, and one on either side.
constexpr int kSourceColumns = kLabelColumns + 2;
constexpr int kSourceRows = kLabelRows + 2;

// Where a label's centre lies between the source pixels of one axis.
struct Between {
    int low, high;
    float weight;  // of high

    __device__ Between(int position, float scale, int sources) {
        const float centre = fmaxf((position + 0.5f) * scale - 0.5f, 0.0f);
        low = min(int(centre), sources - 1);
        high = min(low + 1, sources - 1);
        weight = fminf(centre - low, 1.0f);
    }
};

// First largest of C values; a NaN is larger than every number.
template <typename Value>
__device__ int first_largest_or_nan(int C, Value value) {
    float top = value(0);
    int first = 0;
#pragma unroll 1
    for (int c = 1; c < C; ++c) {
        const float v = value(c);
        if (larger(v, top)) {
            top = v;
            first = c;
        }
    }
    return first;
}

// The same. Almost always all values are finite, for which one comparison is enough: 0 times anything else is no 0.
template <typename Value>
__device__ int first_largest(int C, Value value) {
    float top = -HC_INFINITY, zero = 0.0f;
    int first = 0;
#pragma unroll 8
    for (int c = 0; c < C; ++c) {
        const float v = value(c);
        zero += 0.0f * v;
        first = v > top ? c : first;
        top = fmaxf(v, top);
    }
    return zero == 0.0f ? first : first_largest_or_nan(C, value);
}

template <typename T>
__device__ int label_between(const T* logits, int C, int64 plane, int w, const Between& y, const Between& x) {
    const T* above = logits + int64(y.low) * w;
    const T* under = logits + int64(y.high) * w;
    const float left = 1.0f - x.weight, upper = 1.0f - y.weight;
    return first_largest_or_nan(C, [=](int c) {
        const T* a = above + c * plane;
        const T* u = under + c * plane;
        return upper * (left * to_float(a[x.low]) + x.weight * to_float(a[x.high])) +
               y.weight * (left * to_float(u[x.low]) + x.weight * to_float(u[x.high]));
    });
}

constexpr int kWindow = 4;  // columns of sources

// Four labels whose sources lie in a window of four columns: each of these is read, and brought to the labels' height,
// once for all four. False where a value is not finite: a weight of 0 beside it would make a NaN.
template <typename T>
__device__ bool labels_between(const T* logits, int C, int64 plane, int w, const Between& y,
                               const Between (&x)[kLabelsPerThread], int (&value)[kLabelsPerThread]) {
    const int start = min(x[0].low, w - kWindow);
    const T* above = logits + int64(y.low) * w + start;
    const int under = int(y.high - y.low) * w;
    float weight[kLabelsPerThread][kWindow], top[kLabelsPerThread];
#pragma unroll
    for (int i = 0; i < kLabelsPerThread; ++i) {
        top[i] = -HC_INFINITY;
        value[i] = 0;
#pragma unroll
        for (int j = 0; j < kWindow; ++j)
            weight[i][j] =
                (x[i].low - start == j ? 1.0f - x[i].weight : 0.0f) + (x[i].high - start == j ? x[i].weight : 0.0f);
    }
    float zero = 0.0f;
#pragma unroll 1
    for (int c = 0; c < C; ++c) {
        float column[kWindow];
#pragma unroll
        for (int j = 0; j < kWindow; ++j) {
            const float a = to_float(above[j]), u = to_float(above[j + under]);
            column[j] = a + y.weight * (u - a);
            zero += 0.0f * column[j];
        }
        above += plane;
#pragma unroll
        for (int i = 0; i < kLabelsPerThread; ++i) {
            float v = weight[i][0] * column[0];
#pragma unroll
            for (int j = 1; j < kWindow; ++j) v += weight[i][j] * column[j];
            value[i] = v > top[i] ? c : value[i];
            top[i] = fmaxf(v, top[i]);
        }
    }
    return zero == 0.0f;
}

__device__ __forceinline__ void store_labels(int* labels, const int (&value)[kLabelsPerThread], int count, bool whole) {
    if (whole) {
        *reinterpret_cast<int4*>(labels) = make_int4(value[0], value[1], value[2], value[3]);
        return;
    }
#pragma unroll
    for (int i = 0; i < kLabelsPerThread; ++i)
        if (i < count) labels[i] = value[i];
}

// What a block of labels lies over.
struct LabelTile {
    int H, W, h, w;
    float scale_y, scale_x;
    int x0, y0;                    // first label
    int left, right, top, bottom;  // its sources, ends included

    __device__ LabelTile(int h, int w, int H, int W)
        : H(H),
          W(W),
          h(h),
          w(w),
          scale_y(float(h) / H),
          scale_x(float(w) / W),
          x0(blockIdx.x * kLabelColumns),
          y0(blockIdx.y * kLabelRows),
          left(Between(x0, scale_x, w).low),
          right(Between(min(x0 + kLabelColumns, W) - 1, scale_x, w).high),
          top(Between(y0, scale_y, h).low),
          bottom(Between(min(y0 + kLabelRows, H) - 1, scale_y, h).high) {}

    __device__ int columns() const { return right - left + 1; }
    __device__ int rows() const { return bottom - top + 1; }

    // The label in the source pixel's own place, of the classes in shared memory.
    __device__ int at(const int* source, int row, int column) const {
        return source[(row - top) * columns() + column - left];
    }

    // A quad's first label.
    __device__ int quad_x(int quad) const { return x0 + quad % kQuadsPerRow * kLabelsPerThread; }
    __device__ int quad_y(int quad) const { return y0 + quad / kQuadsPerRow; }
};

__device__ __forceinline__ Between label_place(const LabelTile& tile, int x) {
    return Between(min(x, tile.W - 1), tile.scale_x, tile.w);
}

// Labels of a quad from the classes of the sources; false where the sources around it differ.
__device__ __forceinline__ bool settled(const LabelTile& tile, const int* source, int quad,
                                        int (&value)[kLabelsPerThread]) {
    const int x = tile.quad_x(quad), y = tile.quad_y(quad);
    if (tile.h == tile.H && tile.w == tile.W) {
#pragma unroll
        for (int i = 0; i < kLabelsPerThread; ++i) value[i] = tile.at(source, y, min(x + i, tile.W - 1));
        return true;
    }
    const Between rows(y, tile.scale_y, tile.h);
    const int start = label_place(tile, x).low, end = label_place(tile, x + kLabelsPerThread - 1).high;
    const int own = tile.at(source, rows.low, start);
    bool same = true;
    for (int column = start; column <= end; ++column)
        same = same && tile.at(source, rows.low, column) == own && tile.at(source, rows.high, column) == own;
#pragma unroll
    for (int i = 0; i < kLabelsPerThread; ++i) value[i] = own;
    return same;
}

// Labels of a quad, interpolated.
template <typename T>
__device__ void interpolate(const T* logits, int C, const LabelTile& tile, int quad, int (&value)[kLabelsPerThread]) {
    const int64 plane = int64(tile.h) * tile.w;
    const int x = tile.quad_x(quad);
    const Between y(tile.quad_y(quad), tile.scale_y, tile.h);
    const Between place[kLabelsPerThread] = {label_place(tile, x), label_place(tile, x + 1), label_place(tile, x + 2),
                                             label_place(tile, x + 3)};
    if (tile.w >= kWindow && place[kLabelsPerThread - 1].high - place[0].low < kWindow &&
        labels_between(logits, C, plane, tile.w, y, place, value))
        return;
#pragma unroll 1
    for (int i = 0; i < kLabelsPerThread; ++i) {
        const int label = label_between(logits, C, plane, tile.w, y, label_place(tile, x + i));
#pragma unroll
        for (int j = 0; j < kLabelsPerThread; ++j) value[j] = i == j ? label : value[j];
    }
}

template <typename T>
__device__ void argmax_image(const T* logits, int C, int h, int w, int H, int W, bool wide, int* labels) {
    __shared__ int source[kSourceRows * kSourceColumns];
    __shared__ unsigned short open[kQuads];  // quads to be interpolated
    __shared__ int open_count;
    const LabelTile tile(h, w, H, W);
    const bool enlarged = h <= H && w <= W;

    if (threadIdx.x == 0) open_count = 0;
    if (enlarged) {
        const int64 plane = int64(h) * w;
        const int columns = tile.columns();
        for (int i = threadIdx.x; i < tile.rows() * columns; i += kLabelThreads) {
            const T* pixel = logits + int64(tile.top + i / columns) * w + tile.left + i % columns;
            source[i] = first_largest(C, [=](int c) { return to_float(pixel[c * plane]); });
        }
    }
    __syncthreads();
    int value[kLabelsPerThread];
    for (int quad = threadIdx.x; quad < kQuads; quad += kLabelThreads) {
        const int x = tile.quad_x(quad), y = tile.quad_y(quad);
        if (y >= H || x >= W) continue;
        if (enlarged && settled(tile, source, quad, value))
            store_labels(labels + int64(y) * W + x, value, W - x, wide);
        else
            open[atomicAdd(&open_count, 1)] = quad;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < open_count; i += kLabelThreads) {
        const int quad = open[i], x = tile.quad_x(quad);
        interpolate(logits, C, tile, quad, value);
        store_labels(labels + int64(tile.quad_y(quad)) * W + x, value, W - x, wide);
    }
}

// grid (ceil(W/128), ceil(H/16), min(B,65535)), block kLabelThreads
template <typename T>
__device__ void argmax(const T* logits, int B, int C, int h, int w, int H, int W, int* labels) {
    const bool wide = W % kLabelsPerThread == 0 && reinterpret_cast<unsigned long long>(labels) % sizeof(int4) == 0;
    for (int b = blockIdx.z; b < B; b += gridDim.z) {
        argmax_image(logits + b * (C * int64(h) * w), C, h, w, H, W, wide, labels + b * (int64(H) * W));
        __syncthreads();
    }
}

}  // namespace hc
