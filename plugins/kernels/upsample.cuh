// HCUpsample: coarse [B,C,h,w], features [B,K,H,W], seeds [B,K,h,w] -> [B,C,H,W]: HCDecode(coarse, HCAssign(features,
// seeds)) in one pass. The assignment stays in registers, in float32: it is neither written nor rounded.
//
// Bytes at K = 64, s an element: (80 + 1.25*C)*s a pixel, 208 in float16 at C = 19; two kernels move 18*s more.
// Operations: 666 + 9*C multiply-adds a pixel (assign.cuh, decode.cuh): 1.7 kFLOP, 8 a byte.
#pragma once
#include "assign.cuh"
#include "decode.cuh"

namespace hc {

// The image's own addresses are reckoned where they are needed: kept over the assignment, they cost it registers.
template <typename T, int FixedK, bool Paired, int Groups>
__device__ void upsample_image(const T* coarse, const T* features, const T* seeds, int b, int C, int K,
                               const Cell& cell, const ClusterOptions& options, Shared<Groups>& shared, Turn& turn,
                               T* decoded) {
    float weight[kPixels][kCandidates];
    assign_cell<T, FixedK, Paired, Groups>(features + b * (K * cell.fine_plane()),
                                           seeds + b * (K * cell.coarse_plane()), K, cell, options, shared, turn,
                                           weight);
    if constexpr (Groups > 1) share_weights<Groups>(weight, cell, shared);
    decode_cell<T, Paired, Groups>(coarse + b * (C * cell.coarse_plane()), C, cell, shared, turn, weight,
                                   decoded + b * (C * cell.fine_plane()));
}

// grid (ceil(w/32), ceil(h/4), min(B,65535)), block Groups*kThreads
template <typename T, int FixedK, int Groups>
__device__ void upsample(const T* coarse, const T* features, const T* seeds, int B, int C, int K, int H, int W,
                         ClusterOptions options, T* decoded) {
    __shared__ Shared<Groups> shared;
    const Cell cell(H, W);
    Turn turn;
    const bool pairs = paired<T>(features, W) && paired<T>(decoded, W);
    for (int b = blockIdx.z; b < B; b += gridDim.z) {
        if (pairs)
            upsample_image<T, FixedK, true, Groups>(coarse, features, seeds, b, C, K, cell, options, shared, turn,
                                                    decoded);
        else
            upsample_image<T, FixedK, false, Groups>(coarse, features, seeds, b, C, K, cell, options, shared, turn,
                                                     decoded);
    }
}

}  // namespace hc
