// HCArgmax: logits [B,C,h,w] -> labels int32 [B,H,W]: the first largest class of the bilinear (half-pixel) enlargement,
// which is never written.
//
// A class that is the largest at all four corners is the largest of every mean of them. So a block finds the class of
// each source pixel of its tile once (C reads and compares a source pixel, a quarter of the output's count at twice the
// size), keeps these in shared memory, and interpolates only where the corners differ: along the borders of regions.
//
// Thread mapping: a block of 256 threads makes 128 x 16 labels, a thread four of a row (one 16-byte store) in rows
// ty and ty + 8.
//
// Bytes, s an element: C*s a source pixel, 4 a label. At twice the size, float16, C = 19: 13.5 a label. Operations
// (compares and selects): 3*C a source pixel, 14 a label at twice the size; 10*C a label whose corners differ.
#pragma once
#include "numeric.cuh"

namespace hc {

constexpr int kLabelColumns = 128;
constexpr int kLabelRows = 16;
constexpr int kLabelThreads = 256;
constexpr int kLabelsPerThread = 4;
constexpr int kLabelThreadRows = kLabelThreads * kLabelsPerThread / kLabelColumns;
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

// First largest of C values that lie `plane` apart.
template <typename Value>
__device__ int first_largest(int C, Value value) {
    float top = value(0);
    int first = 0;
#pragma unroll 4
    for (int c = 1; c < C; ++c) {
        const float v = value(c);
        if (larger(v, top)) {
            top = v;
            first = c;
        }
    }
    return first;
}

template <typename T>
__device__ int label_between(const T* logits, int C, int64 plane, int w, const Between& y, const Between& x) {
    const T* above = logits + int64(y.low) * w;
    const T* under = logits + int64(y.high) * w;
    const float left = 1.0f - x.weight, upper = 1.0f - y.weight;
    return first_largest(C, [=](int c) {
        const T* a = above + c * plane;
        const T* u = under + c * plane;
        return upper * (left * to_float(a[x.low]) + x.weight * to_float(a[x.high])) +
               y.weight * (left * to_float(u[x.low]) + x.weight * to_float(u[x.high]));
    });
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

template <typename T>
__device__ void argmax_image(const T* logits, int C, int h, int w, int H, int W, bool wide, int* labels) {
    __shared__ int source[kSourceRows * kSourceColumns];
    const int64 plane = int64(h) * w;
    const float scale_y = float(h) / H, scale_x = float(w) / W;
    const int x0 = blockIdx.x * kLabelColumns, y0 = blockIdx.y * kLabelRows;
    const int left = Between(x0, scale_x, w).low, right = Between(min(x0 + kLabelColumns, W) - 1, scale_x, w).high;
    const int top = Between(y0, scale_y, h).low, bottom = Between(min(y0 + kLabelRows, H) - 1, scale_y, h).high;
    const int columns = right - left + 1, rows = bottom - top + 1;
    const bool enlarged = h <= H && w <= W;
    const bool copied = h == H && w == W;  // as torch does: a weight of 0 beside an infinity or NaN would make a NaN

    if (enlarged) {
        for (int i = threadIdx.x; i < rows * columns; i += kLabelThreads) {
            const T* pixel = logits + int64(top + i / columns) * w + left + i % columns;
            source[i] = first_largest(C, [=](int c) { return to_float(pixel[c * plane]); });
        }
        __syncthreads();
    }

    const int x = x0 + int(threadIdx.x) % (kLabelColumns / kLabelsPerThread) * kLabelsPerThread;
    for (int r = threadIdx.x / (kLabelColumns / kLabelsPerThread); r < kLabelRows; r += kLabelThreadRows) {
        const int y = y0 + r;
        if (y >= H || x >= W) continue;
        const Between vertical(y, scale_y, h);
        int value[kLabelsPerThread];
#pragma unroll
        for (int i = 0; i < kLabelsPerThread; ++i) {
            const Between horizontal(min(x + i, W - 1), scale_x, w);
            bool same = false;
            if (enlarged) {
                const int* above = source + (vertical.low - top) * columns - left;
                const int* under = source + (vertical.high - top) * columns - left;
                value[i] = above[horizontal.low];
                same = copied || (value[i] == above[horizontal.high] && value[i] == under[horizontal.low] &&
                                  value[i] == under[horizontal.high]);
            }
            if (!same) value[i] = label_between(logits, C, plane, w, vertical, horizontal);
        }
        store_labels(labels + int64(y) * W + x, value, W - x, wide);
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
