// HCArgmax: logits [C,h,w] -> labels int32 [H,W]: the first largest class of the bilinear (half-pixel) enlargement,
// which is never written.
//
// The labels are made in strips of kStrip columns, so that two rows of all classes lie in the first cache. A coarse row
// is enlarged to the strip's columns once; then a label's row costs two loads, a product, a multiply-add, a comparison
// and two selections a class, with the largest so far and its class in registers.
//
// An interpolation by differences makes infinity minus infinity where the two sums of products of torch do not. So
// strips with anything but finite numbers, which are rare, are made label by label.
#pragma once
#include "cells.h"

namespace hc_cpu {
namespace HC_SET {

constexpr int kStrip = 128;   // 19 classes: 2 * 19 * 128 * 4 = 19 KB
constexpr int kTogether = 4;  // vectors of labels whose largest are kept in registers
constexpr int kBlock = kTogether * kLanes;
static_assert(kStrip % kBlock == 0, "a strip is made of whole blocks");

// Where a label's centre lies between the source pixels of one axis.
struct Between {
    int low, high;
    float weight;  // of high

    Between(int position, float scale, int sources) {
        const float centre = (position + 0.5f) * scale - 0.5f, inside = centre > 0.0f ? centre : 0.0f;
        low = least(int(inside), sources - 1);
        high = least(low + 1, sources - 1);
        weight = inside - low < 1.0f ? inside - low : 1.0f;
    }
};

inline float one(const float* at) { return *at; }
template <typename T>
inline float one(const T* at) {
    T lanes[kLanes] = {*at};
    return load(lanes)[0];
}

// One label: the first largest, and a NaN is larger than every number. Labels of the logits' own size are read where
// they lie, as in torch: 0 times the NaN beside them would be one too.
template <typename T>
inline int label_between(const T* logits, const Labels& l, const Between& y, const Between& x) {
    const float left = 1.0f - x.weight, upper = 1.0f - y.weight;
    const bool same = l.h == l.H && l.w == l.W;
    float top = 0.0f;
    int first = 0;
    for (int c = 0; c < l.C; ++c) {
        const T* above = logits + c * plane(l.h, l.w) + long(y.low) * l.w;
        const T* under = logits + c * plane(l.h, l.w) + long(y.high) * l.w;
        const float value = same ? one(above + x.low)
                                 : upper * (left * one(above + x.low) + x.weight * one(above + x.high)) +
                                       y.weight * (left * one(under + x.low) + x.weight * one(under + x.high));
        if (c > 0 && !(value > top || (value != value && top == top))) continue;
        top = value;
        first = c;
    }
    return first;
}

// The columns of a strip and their sources; past the map the last column again.
struct Columns {
    int start, count;   // labels
    int left, right;    // sources, ends included
    int low[kStrip];    // from `left`
    int place[kStrip];  // from the low of a vector's first
    float weight[kStrip];
    bool close;  // the sources of each vector lie within a vector

    Columns(int start, const Labels& l, float scale) : start(start), count(least(kStrip, l.W - start)), close(true) {
        for (int i = 0; i < kStrip; ++i) {
            const Between between(least(start + i, l.W - 1), scale, l.w);
            if (i == 0) left = between.low;
            right = between.high;
            low[i] = between.low - left;
            weight[i] = between.weight;
            place[i] = low[i] - low[i / kLanes * kLanes];
            close = close && place[i] < kLanes;
        }
    }

    // The vector of columns that begins at i, of a row of sources. What lies right of the last source equals it.
    Floats enlarged(const float* source, int i) const {
        Floats a, b;
        if (close) {
            Ints places;
            memcpy(&places, place + i, sizeof places);
            a = permuted(load(source + low[i]), places);
            b = permuted(load(source + low[i] + 1), places);
        } else {
            for (int j = 0; j < kLanes; ++j) {
                a[j] = source[low[i + j]];
                b[j] = source[low[i + j] + 1];
            }
        }
        return a + load(weight + i) * (b - a);
    }
};

inline const float* as_they_lie(const float* row) { return row; }
template <typename T>
inline const float* as_they_lie(const T*) {
    return nullptr;
}

// Two rows of sources enlarged to a strip, [C][kStrip] each. (Their difference in a third buffer saves a product a
// class, but with it they did not fit into 32 KB: 256x512 to twice that, 19 classes, one core: 3.3 ms so, HC_TWO
// without.)
template <typename T>
struct StripRows {
    const T* logits;
    const Labels& l;
    const Columns& columns;
    float *upper, *lower, *source;
    int upper_row, lower_row;
    bool upper_finite, lower_finite;

    static size_t floats(const Labels& l) { return size_t(2) * l.C * kStrip + l.w + 3 * kLanes; }

    StripRows(const T* logits, const Labels& l, const Columns& columns, float* memory)
        : logits(logits),
          l(l),
          columns(columns),
          upper(memory),
          lower(upper + size_t(l.C) * kStrip),
          source(lower + size_t(l.C) * kStrip),
          upper_row(-1),
          lower_row(-1),
          upper_finite(false),
          lower_finite(false) {}

    bool finite() const { return upper_finite && lower_finite; }

    void move_to(const Between& y) {
        if (y.low == upper_row && y.high == lower_row) return;
        if (y.low != lower_row) enlarge(y.low);
        float* old = upper;
        upper = lower;
        lower = old;
        upper_row = y.low;
        upper_finite = lower_finite;
        enlarge(y.high);
    }

    // A row into `lower`. 0 times a finite number is 0, times anything else NaN.
    void enlarge(int row) {
        Floats zero = {};
        for (int c = 0; c < l.C; ++c) {
            const float* sources = read(logits + c * plane(l.h, l.w) + long(row) * l.w);
            for (int i = 0; i < columns.count; i += kLanes) {
                const Floats value = columns.enlarged(sources, i);
                store(lower + size_t(c) * kStrip + i, value);
                zero += 0.0f * value;
            }
        }
        lower_row = row;
        lower_finite = true;
        for (int i = 0; i < kLanes; ++i) lower_finite = lower_finite && zero[i] == 0.0f;
    }

    // The sources of the strip in one row: where they lie, or converted. Vectors reach past the last one where the row
    // goes on.
    const float* read(const T* row) {
        if (columns.right + kLanes < l.w)
            if (const float* there = as_they_lie(row)) return there + columns.left;
        int i = columns.left;
        for (; i <= columns.right && i + kLanes <= l.w; i += kLanes) store(source + i - columns.left, load(row + i));
        for (; i <= columns.right; ++i) source[i - columns.left] = one(row + i);
        if (columns.right == l.w - 1) source[l.w - columns.left] = source[l.w - 1 - columns.left];
        return source;
    }
};

// The labels of one block of a row.
inline void label_block(const float* upper, const float* lower, int C, float weight, int* labels) {
    const float rest = 1.0f - weight;
    Floats top[kTogether];
    Ints first[kTogether] = {};
    for (int v = 0; v < kTogether; ++v) top[v] = rest * load(upper + v * kLanes) + weight * load(lower + v * kLanes);
    for (int c = 1; c < C; ++c) {
        upper += kStrip;
        lower += kStrip;
        for (int v = 0; v < kTogether; ++v) {
            const Floats value = rest * load(upper + v * kLanes) + weight * load(lower + v * kLanes);
            const Ints better = value > top[v];
            first[v] = select(better, all(c), first[v]);
            top[v] = select(better, value, top[v]);
        }
    }
    memcpy(labels, first, sizeof first);
}

template <typename T>
inline void label_row(const StripRows<T>& rows, const Between& y, float scale_x, int* labels) {
    const Columns& columns = rows.columns;
    if (!rows.finite()) {
        for (int i = 0; i < columns.count; ++i)
            labels[i] = label_between(rows.logits, rows.l, y, Between(columns.start + i, scale_x, rows.l.w));
        return;
    }
    for (int i = 0; i < columns.count; i += kBlock) {
        int block[kBlock];
        const bool whole = i + kBlock <= columns.count;
        label_block(rows.upper + i, rows.lower + i, rows.l.C, y.weight, whole ? labels + i : block);
        if (!whole) memcpy(labels + i, block, (columns.count - i) * sizeof(int));
    }
}

template <typename T>
int argmax(const void* given_logits, int* labels, const Labels& l) {
    Scratch scratch(StripRows<T>::floats(l));
    if (!scratch.memory) return HC_CPU_NO_MEMORY;
    const float scale_y = float(l.h) / l.H, scale_x = float(l.w) / l.W;
    for (int start = 0; start < l.W; start += kStrip) {
        const Columns columns(start, l, scale_x);
        StripRows<T> rows(static_cast<const T*>(given_logits), l, columns, scratch.memory);
        for (int row = l.first; row < l.last; ++row) {
            const Between y(row, scale_y, l.h);
            rows.move_to(y);
            label_row(rows, y, scale_x, labels + long(row) * l.W + start);
        }
    }
    return HC_CPU_DONE;
}

}  // namespace HC_SET
}  // namespace hc_cpu
