// HCAssign: features [B,K,H,W] and seeds [B,K,h,w] -> assignment [B,9,H,W] (Eq. 4; Eq. 1 when hard).
//
// Bytes at K = 64, s bytes an element: read 64*s a pixel and 64*s a cell (16*s a pixel), write 9*s a pixel: 89*s in
// all, 178 bytes in float16. Operations: 9*64 multiply-adds a pixel for the products, 64 for its norm, 1.6*64/4 for
// the seeds' norms: 666, 1.3 kFLOP. At 178 bytes a pixel a device needs 7.5 FLOP a byte to stay memory-bound; an H200
// has 14, an RTX 4090 80, an Orin 26.
#pragma once
#include "cells.cuh"

namespace hc {

struct ClusterOptions {
    float inverse_tau;
    bool cosine, exclude, hard;

    // As launch arguments: TensorRT's ahead-of-time kernels take 32-bit integers only.
    static constexpr int kDot = 1, kExclude = 2, kHard = 4;
    // No initialiser list: nvcc compiles that one for the host too, where __int_as_float is unknown.
    __device__ ClusterOptions(int inverse_tau_bits, int flags) {
        inverse_tau = __int_as_float(inverse_tau_bits);
        cosine = !(flags & kDot);
        exclude = flags & kExclude;
        hard = flags & kHard;
    }
};

constexpr float kNormFloor = 1e-6f;

__device__ __forceinline__ float inverse_length(float square_sum) {
    return 1.0f / fmaxf(sqrtf(square_sum), kNormFloor);
}

// Soft: softmax in place, its largest subtracted first. Hard: 1 on the first largest.
__device__ __forceinline__ void weigh(float (&logit)[kCandidates], bool hard) {
    float top = logit[0];
    if (hard) {
        int first = 0;
#pragma unroll
        for (int n = 1; n < kCandidates; ++n) {
            const bool better = larger(logit[n], top);
            top = better ? logit[n] : top;
            first = better ? n : first;
        }
#pragma unroll
        for (int n = 0; n < kCandidates; ++n) logit[n] = n == first ? 1.0f : 0.0f;
        return;
    }
#pragma unroll
    for (int n = 1; n < kCandidates; ++n) top = fmaxf(top, logit[n]);
    float sum = 0.0f;
#pragma unroll
    for (int n = 0; n < kCandidates; ++n) {
        logit[n] = __expf(logit[n] - top);
        sum += logit[n];
    }
    const float scale = 1.0f / sum;
#pragma unroll
    for (int n = 0; n < kCandidates; ++n) logit[n] *= scale;
}

// Adds the groups' sums; group 0 has them then. Every thread of the block calls it.
template <int Groups>
__device__ __forceinline__ void add_groups(float (&weight)[kPixels][kCandidates], float (&square)[kPixels],
                                           const Cell& cell, Shared<Groups>& shared) {
    const int thread = threadIdx.x % kThreads;
#pragma unroll
    for (int half = Groups / 2; half; half /= 2) {
        __syncthreads();
        if (cell.group >= half && cell.group < 2 * half) {
            auto& mine = shared.sums[cell.group - half];
#pragma unroll
            for (int p = 0; p < kPixels; ++p) {
#pragma unroll
                for (int n = 0; n < kCandidates; ++n) mine[p * kCandidates + n][thread] = weight[p][n];
                mine[kPixels * kCandidates + p][thread] = square[p];
            }
        }
        __syncthreads();
        if (cell.group < half) {
            const auto& other = shared.sums[cell.group];
#pragma unroll
            for (int p = 0; p < kPixels; ++p) {
#pragma unroll
                for (int n = 0; n < kCandidates; ++n) weight[p][n] += other[p * kCandidates + n][thread];
                square[p] += other[kPixels * kCandidates + p][thread];
            }
        }
    }
}

// Gives the weights of group 0 to all groups. Every thread of the block calls it.
template <int Groups>
__device__ __forceinline__ void share_weights(float (&weight)[kPixels][kCandidates], const Cell& cell,
                                              Shared<Groups>& shared) {
    const int thread = threadIdx.x % kThreads;
    __syncthreads();
#pragma unroll
    for (int p = 0; p < kPixels; ++p)
#pragma unroll
        for (int n = 0; n < kCandidates; ++n)
            if (cell.group == 0) shared.sums[0][p * kCandidates + n][thread] = weight[p][n];
    __syncthreads();
#pragma unroll
    for (int p = 0; p < kPixels; ++p)
#pragma unroll
        for (int n = 0; n < kCandidates; ++n) weight[p][n] = shared.sums[0][p * kCandidates + n][thread];
    __syncthreads();  // tiles come next in their place
}

// The weights of a thread's four pixels, in group 0. Every thread of the block calls it. `FixedK` is K, or 0 where K is
// not known at compile time.
template <typename T, int FixedK, bool Paired, int Groups>
__device__ void assign_cell(const T* features, const T* seeds, int runtime_k, const Cell& cell,
                            const ClusterOptions& options, Shared<Groups>& shared, Turn& turn,
                            float (&weight)[kPixels][kCandidates]) {
    constexpr int kStride = Groups * kDepth;
    const int K = FixedK ? FixedK : runtime_k;
    const int64 plane = cell.fine_plane();

    float pixel_square[kPixels] = {};
#pragma unroll
    for (int p = 0; p < kPixels; ++p)
#pragma unroll
        for (int n = 0; n < kCandidates; ++n) weight[p][n] = 0.0f;

    CoarseTile<T, Groups> mover(cell);
    FinePixels<T, Paired> pixels[kDepth] = {};
    const unsigned mine = Groups > 1 ? unsigned(cell.group * kDepth) * unsigned(plane) : 0u;
    int left = K - cell.group * kDepth;  // channels from this group's next step on
    mover.fetch(seeds, left);
#pragma unroll
    for (int c = 0; c < kDepth; ++c)
        if (c < left) pixels[c].load(features + c * plane, mine, cell);

#pragma unroll 1
    for (int k = 0; k < K; k += kStride) {
        Tile* tiles = shared.tiles[cell.group].set[turn.next()];
        mover.put(tiles);
        mover.add_squares();
        __syncthreads();
        left -= kStride;
        features += kStride * plane;
        seeds += kStride * cell.coarse_plane();
        const bool more = k + kStride < K;
        if (more) mover.fetch(seeds, FixedK ? int(kDepth) : left);
        const T* channel = features;
#pragma unroll
        for (int c = 0; c < kDepth; ++c) {
            float value[kPixels], seed[kCandidates];
            pixels[c].get(value);
            if (!FixedK) pixels[c] = {};
            if (FixedK ? more : c < left) pixels[c].load(channel, mine, cell);
            channel += plane;
            candidates(tiles[c], cell, seed);
#pragma unroll
            for (int p = 0; p < kPixels; ++p) {
                pixel_square[p] += value[p] * value[p];
#pragma unroll
                for (int n = 0; n < kCandidates; ++n) weight[p][n] += value[p] * seed[n];
            }
        }
    }

    float seed_scale[kCandidates];
    if (options.cosine) {
        const int set = turn.next();  // everybody has left it; one tile a warp
        mover.put_squares(shared.tiles[cell.group].set[set][cell.warp]);
        __syncthreads();
        float* first = &shared.tiles[0].set[set][0][0][0];
        for (int i = threadIdx.x; i < kTileCells; i += Groups * kThreads) {
            float total = 0.0f;
#pragma unroll
            for (int part = 0; part < Groups * kWarps; ++part)
                total += (&shared.tiles[part / kWarps].set[set][part % kWarps][0][0])[i];
            first[i] = inverse_length(total) * options.inverse_tau;
        }
        __syncthreads();
        candidates(shared.tiles[0].set[set][0], cell, seed_scale);
    }
    if constexpr (Groups > 1) {
        add_groups<Groups>(weight, pixel_square, cell, shared);
        if (cell.group) return;
    }
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
        const float pixel_scale = options.cosine ? inverse_length(pixel_square[p]) : options.inverse_tau;
#pragma unroll
        for (int n = 0; n < kCandidates; ++n) {
            weight[p][n] *= pixel_scale;
            if (options.cosine) weight[p][n] *= seed_scale[n];
            if (options.exclude && !cell.has(n)) weight[p][n] = -HC_INFINITY;
        }
        weigh(weight[p], options.hard);
    }
}

template <typename T, int FixedK, bool Paired, int Groups>
__device__ void assign_image(const T* features, const T* seeds, int K, const Cell& cell, const ClusterOptions& options,
                             Shared<Groups>& shared, Turn& turn, T* assignment) {
    float weight[kPixels][kCandidates];
    assign_cell<T, FixedK, Paired, Groups>(features, seeds, K, cell, options, shared, turn, weight);
    if (cell.group == 0) {
#pragma unroll
        for (int n = 0; n < kCandidates; ++n) {
            const float value[kPixels] = {weight[0][n], weight[1][n], weight[2][n], weight[3][n]};
            store_pixels<T, Paired>(assignment + n * cell.fine_plane(), 0, cell, value);
        }
    }
    if constexpr (Groups > 1) __syncthreads();  // the next image's tiles come in place of the sums
}

// grid (ceil(w/32), ceil(h/4), min(B,65535)), block Groups*kThreads
template <typename T, int FixedK, int Groups>
__device__ void assign(const T* features, const T* seeds, int B, int K, int H, int W, ClusterOptions options,
                       T* assignment) {
    __shared__ Shared<Groups> shared;
    const Cell cell(H, W);
    Turn turn;
    const bool pairs = paired<T>(features, W) && paired<T>(assignment, W);
    for (int b = blockIdx.z; b < B; b += gridDim.z) {
        const T* fine = features + b * (K * cell.fine_plane());
        const T* coarse = seeds + b * (K * cell.coarse_plane());
        T* out = assignment + b * (kCandidates * cell.fine_plane());
        if (pairs)
            assign_image<T, FixedK, true, Groups>(fine, coarse, K, cell, options, shared, turn, out);
        else
            assign_image<T, FixedK, false, Groups>(fine, coarse, K, cell, options, shared, turn, out);
    }
}

}  // namespace hc
