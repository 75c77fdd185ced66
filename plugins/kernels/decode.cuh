// HCDecode: coarse [B,C,h,w] and assignment [B,9,H,W] -> [B,C,H,W] (Eq. 2).
//
// Bytes, s an element: read 9*s a pixel and C*s a cell, write C*s a pixel: (9 + 1.25*C)*s a pixel, 65 in float16 at
// C = 19. Operations: 9*C multiply-adds a pixel: 342 FLOP, 5 a byte.
#pragma once
#include "cells.cuh"

namespace hc {

// Decodes a thread's four pixels of all channels through `weight`. Every thread of the block calls it.
template <typename T, bool Paired, int Groups>
__device__ void decode_cell(const T* coarse, int C, const Cell& cell, Shared<Groups>& shared, Turn& turn,
                            const float (&weight)[kPixels][kCandidates], T* decoded) {
    constexpr int kStride = Groups * kDepth;
    const int64 plane = cell.fine_plane();
    int left = C - cell.group * kDepth;  // channels from this group's next one on
    CoarseTile<T, Groups> mover(cell);
    mover.fetch(coarse, left);
    const unsigned mine = Groups > 1 ? unsigned(cell.group * kDepth) * unsigned(plane) : 0u;
#pragma unroll 1
    for (int k = 0; k < C; k += kStride) {
        Tile* tiles = shared.tiles[cell.group].set[turn.next()];
        mover.put(tiles);
        __syncthreads();
        coarse += kStride * cell.coarse_plane();
        if (k + kStride < C) mover.fetch(coarse, left - kStride);
#pragma unroll
        for (int c = 0; c < kDepth; ++c) {
            if (c >= left) break;
            float neighbour[kCandidates], value[kPixels] = {};
            candidates(tiles[c], cell, neighbour);
#pragma unroll
            for (int p = 0; p < kPixels; ++p)
#pragma unroll
                for (int n = 0; n < kCandidates; ++n) value[p] += weight[p][n] * neighbour[n];
            store_pixels<T, Paired>(decoded + c * plane, mine, cell, value);
        }
        decoded += kStride * plane;
        left -= kStride;
    }
}

template <typename T, bool Paired, int Groups>
__device__ void decode_image(const T* coarse, const T* assignment, int C, const Cell& cell, Shared<Groups>& shared,
                             Turn& turn, T* decoded) {
    float weight[kPixels][kCandidates];
#pragma unroll
    for (int n = 0; n < kCandidates; ++n) {
        FinePixels<T, Paired> pixels = {};
        float value[kPixels];
        pixels.load(assignment + n * cell.fine_plane(), 0, cell);
        pixels.get(value);
#pragma unroll
        for (int p = 0; p < kPixels; ++p) weight[p][n] = value[p];
    }
    decode_cell<T, Paired, Groups>(coarse, C, cell, shared, turn, weight, decoded);
}

// grid (ceil(w/32), ceil(h/4), min(B,65535)), block Groups*kThreads
template <typename T, int Groups>
__device__ void decode(const T* coarse, const T* assignment, int B, int C, int H, int W, T* decoded) {
    __shared__ Shared<Groups> shared;
    const Cell cell(H, W);
    Turn turn;
    const bool pairs = paired<T>(assignment, W) && paired<T>(decoded, W);
    for (int b = blockIdx.z; b < B; b += gridDim.z) {
        const T* values = coarse + b * (C * cell.coarse_plane());
        const T* weights = assignment + b * (kCandidates * cell.fine_plane());
        T* out = decoded + b * (C * cell.fine_plane());
        if (pairs)
            decode_image<T, true, Groups>(values, weights, C, cell, shared, turn, out);
        else
            decode_image<T, false, Groups>(values, weights, C, cell, shared, turn, out);
    }
}

}  // namespace hc
