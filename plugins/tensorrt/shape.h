// Sizes of a tensor as far as they are known: at run time all, while a model with dynamic sizes is parsed few.
#pragma once
#include <NvInferRuntime.h>

#include <cstdint>
#include <cstdio>

namespace hc {

constexpr int64_t kUnknown = -1;
constexpr int kMaxRank = nvinfer1::Dims::MAX_DIMS;

struct Shape {
    int rank = 0;
    int64_t size[kMaxRank] = {};

    bool empty() const {
        for (int i = 0; i < rank; ++i)
            if (size[i] == 0) return true;
        return false;
    }
};

inline Shape shape_of(const nvinfer1::Dims& dims) {
    Shape shape;
    shape.rank = dims.nbDims;
    for (int i = 0; i < shape.rank && i < kMaxRank; ++i) shape.size[i] = dims.d[i] < 0 ? kUnknown : dims.d[i];
    return shape;
}

inline Shape shape_of(const nvinfer1::DimsExprs& dims) {
    Shape shape;
    shape.rank = dims.nbDims;
    for (int i = 0; i < shape.rank && i < kMaxRank; ++i)
        shape.size[i] = dims.d[i]->isConstant() ? dims.d[i]->getConstantValue() : kUnknown;
    return shape;
}

// h of H, w of W
inline int64_t coarse(int64_t fine) { return fine == kUnknown ? kUnknown : fine / 2 + fine % 2; }

// Whether `shape` may be `expected`, in which kUnknown stands for any size.
inline bool agrees(const Shape& shape, const Shape& expected) {
    if (shape.rank != expected.rank) return false;
    for (int i = 0; i < shape.rank; ++i)
        if (shape.size[i] != expected.size[i] && shape.size[i] != kUnknown && expected.size[i] != kUnknown)
            return false;
    return true;
}

// "[2,64,?,?]"
struct ShapeText {
    char text[8 * 22 + 3];

    explicit ShapeText(const Shape& shape) {
        int used = std::snprintf(text, sizeof text, "[");
        for (int i = 0; i < shape.rank && i < kMaxRank; ++i) {
            if (i) text[used++] = ',';
            if (shape.size[i] == kUnknown)
                text[used++] = '?';
            else
                used += std::snprintf(text + used, sizeof text - used, "%lld", static_cast<long long>(shape.size[i]));
        }
        std::snprintf(text + used, sizeof text - used, "]");
    }
};

}  // namespace hc
