// HCDecode: coarse [B,C,h,w] and assignment [B,9,H,W] -> [B,C,H,W] (Eq. 2).
//
// Bytes, s an element: read 9*s a pixel and C*s a cell, write C*s a pixel: (9 + 1.25*C)*s a pixel, 65 in float16 at
// C = 19. Operations: 9*C multiply-adds a pixel: 342 FLOP, 5 a byte.
#pragma once
#include "cells.cuh"

namespace hc {

// Decodes a thread's four pixels of all channels through `weight`. Every thread of the block calls it.
template <typename T, bool Paired>
__device__ void decode_cell(const T* coarse, int C, const Cell& cell, Tiles& shared, Turn& turn,
                            const float (&weight)[kPixels][kCandidates], T* decoded) {
    const int64 plane = cell.fine_plane();
    CoarseTile<T> mover(coarse, cell);
    mover.fetch(C);
    T* pixel = decoded + cell.pixel();
#pragma unroll 1
    for (int k = 0; k < C; k += kDepth) {
        Tile* tiles = shared.set[turn.next()];
        mover.put(tiles);
        __syncthreads();
        if (k + kDepth < C) mover.fetch(C - k - kDepth);
#pragma unroll
        for (int c = 0; c < kDepth; ++c) {
            if (k + c >= C) break;
            float neighbour[kCandidates], value[kPixels] = {};
            candidates(tiles[c], cell, neighbour);
#pragma unroll
            for (int p = 0; p < kPixels; ++p)
#pragma unroll
                for (int n = 0; n < kCandidates; ++n) value[p] += weight[p][n] * neighbour[n];
            store_pixels<T, Paired>(pixel, cell, value);
            pixel += plane;
        }
    }
}

template <typename T, bool Paired>
__device__ void decode_image(const T* coarse, const T* assignment, int C, const Cell& cell, Tiles& shared, Turn& turn,
                             T* decoded) {
    float weight[kPixels][kCandidates];
#pragma unroll
    for (int n = 0; n < kCandidates; ++n) {
        FinePixels<T, Paired> pixels;
        float value[kPixels];
        pixels.load(assignment + cell.pixel() + n * cell.fine_plane(), cell);
        pixels.get(value);
#pragma unroll
        for (int p = 0; p < kPixels; ++p) weight[p][n] = value[p];
    }
    decode_cell<T, Paired>(coarse, C, cell, shared, turn, weight, decoded);
}

// grid (ceil(w/32), ceil(h/4), min(B,65535)), block kThreads
template <typename T>
__device__ void decode(const T* coarse, const T* assignment, int B, int C, int H, int W, T* decoded) {
    __shared__ Tiles shared;
    const Cell cell(H, W);
    Turn turn;
    const bool pairs = paired<T>(assignment, W) && paired<T>(decoded, W);
    for (int b = blockIdx.z; b < B; b += gridDim.z) {
        const T* values = coarse + b * (C * cell.coarse_plane());
        const T* weights = assignment + b * (kCandidates * cell.fine_plane());
        T* out = decoded + b * (C * cell.fine_plane());
        if (pairs)
            decode_image<T, true>(values, weights, C, cell, shared, turn, out);
        else
            decode_image<T, false>(values, weights, C, cell, shared, turn, out);
    }
}

}  // namespace hc
