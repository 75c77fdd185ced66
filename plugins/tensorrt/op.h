// What TensorRT must know of an op; one constant an op, in the file of its name.
#pragma once
#include "../kernels/launch.h"
#include "shape.h"

namespace hc {

constexpr int kMaxInputs = 3;
constexpr int kMapRank = 4;

// A size of the output: that of an input's axis, or a number.
struct Size {
    int input;  // kConstant: `axis` is the number
    int axis;
};
constexpr int kConstant = -1;

struct Launch {
    const Shape* in;
    const Shape& out;
    const void* const* inputs;
    void* output;
    int type;  // hc_type
    hc_cluster_options options;
    void* stream;

    int size(int input, int axis) const { return static_cast<int>(in[input].size[axis]); }
};

struct Op {
    const char* name;
    int inputs;
    const char* input_names[kMaxInputs];  // each a map of rank 4
    bool has_attributes;                  // ClusterAttributes
    bool gives_labels;                    // int32 out, and of the last input only the shape is read
    int output_rank;
    Size output[kMapRank];
    int64_t max_height;  // of the output, by the limits of launch.h

    // The shapes that `in` must have for one another: kUnknown where any size will do.
    void (*expect)(const Shape* in, Shape* expected);

    // Queues the kernel; 0 or the error of launch.h.
    int (*launch)(const Launch& launch);
};

extern const Op kAssign, kDecode, kUpsample, kArgmax;

constexpr int64_t kMaxClusterHeight = 2 * 262140;
constexpr int64_t kMaxLabelHeight = 1048560;

inline Shape map(int64_t B, int64_t channels, int64_t height, int64_t width) {
    return Shape{kMapRank, {B, channels, height, width}};
}

}  // namespace hc
