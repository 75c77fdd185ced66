// The attributes of HCAssign and HCUpsample: plugin fields -> hc_cluster_options, and back for the engine file.
#pragma once
#include <NvInferRuntime.h>

#include "../kernels/launch.h"

namespace hc {

constexpr int kClusterFields = 4;

// What a field that is not given means: tau 0.07, similarity cosine, border zero, assignment soft. The exporter gives
// all four.
struct ClusterAttributes {
    hc_cluster_options options{0.07f, 0, 0, 0};

    // Takes the values over from `fields`; false, after a message that names `op` and `node`, where one is not legal:
    // another name, another type, a value that the ops do not know.
    bool read(const nvinfer1::PluginFieldCollection* fields, const char* op, const char* node) noexcept;

    // The fields as the engine stores them; their data live as long as this object stays where it is.
    void write(nvinfer1::PluginField (&fields)[kClusterFields]) const noexcept;
};

}  // namespace hc
