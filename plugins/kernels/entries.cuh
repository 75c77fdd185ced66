// The kernels by name: hc_<op>_<type>[_k64][_split], for the launchers, for NVRTC and for the CPU. `split`: for maps of
// few blocks, kSplit groups of threads share a tile (cells.cuh).
//
// Argument order, that of TensorRT's ahead-of-time plugins: input tensors, 32-bit integers, output tensor. The
// temperature travels as the bits of the float 1/tau, the other attributes as flags (ClusterOptions).
#pragma once
#include "argmax.cuh"
#include "upsample.cuh"

#define HC_FIXED_K 64

// Blocks an SM that the registers must leave room for: 4 where the accumulators fit in 128 registers a thread without a
// spill, else 3 (for all targets; the tests leave ptxas's figures in build/plugins/ptxas.txt). Split blocks have 512
// threads (float32: 256): 1.
#define HC_BLOCKS(T, K_AT_COMPILE_TIME, GROUPS) (GROUPS > 1 ? 1 : sizeof(T) == 2 && K_AT_COMPILE_TIME ? 4 : 3)

#define HC_ASSIGN_ENTRY(T, TYPE, SUFFIX, K_AT_COMPILE_TIME, GROUPS)                                                   \
    extern "C" __global__ void __launch_bounds__(GROUPS* hc::kThreads, HC_BLOCKS(T, K_AT_COMPILE_TIME, GROUPS))       \
        hc_assign_##TYPE##SUFFIX(const T* __restrict__ features, const T* __restrict__ seeds, int B, int K, int H,    \
                                 int W, int inverse_tau_bits, int flags, T* __restrict__ assignment) {                \
        hc::assign<T, K_AT_COMPILE_TIME, GROUPS>(features, seeds, B, K, H, W, {inverse_tau_bits, flags}, assignment); \
    }

#define HC_UPSAMPLE_ENTRY(T, TYPE, SUFFIX, K_AT_COMPILE_TIME, GROUPS)                                                 \
    extern "C" __global__ void __launch_bounds__(GROUPS* hc::kThreads, HC_BLOCKS(T, K_AT_COMPILE_TIME, GROUPS))       \
        hc_upsample_##TYPE##SUFFIX(const T* __restrict__ coarse, const T* __restrict__ features,                      \
                                   const T* __restrict__ seeds, int B, int C, int K, int H, int W,                    \
                                   int inverse_tau_bits, int flags, T* __restrict__ decoded) {                        \
        hc::upsample<T, K_AT_COMPILE_TIME, GROUPS>(coarse, features, seeds, B, C, K, H, W, {inverse_tau_bits, flags}, \
                                                   decoded);                                                          \
    }

#define HC_DECODE_ENTRY(T, TYPE, SUFFIX, GROUPS)                                                                      \
    extern "C" __global__ void __launch_bounds__(GROUPS* hc::kThreads, GROUPS > 1 ? 1 : 4)                            \
        hc_decode_##TYPE##SUFFIX(const T* __restrict__ coarse, const T* __restrict__ assignment, int B, int C, int H, \
                                 int W, T* __restrict__ decoded) {                                                    \
        hc::decode<T, GROUPS>(coarse, assignment, B, C, H, W, decoded);                                               \
    }

#define HC_ARGMAX_ENTRY(T, TYPE)                                                                              \
    extern "C" __global__ void __launch_bounds__(hc::kLabelThreads, 4)                                        \
        hc_argmax_##TYPE(const T* __restrict__ logits, const void*, int B, int C, int h, int w, int H, int W, \
                         int* __restrict__ labels) {                                                          \
        hc::argmax<T>(logits, B, C, h, w, H, W, labels);                                                      \
    }

#define HC_ENTRIES(T, TYPE)                                           \
    HC_ASSIGN_ENTRY(T, TYPE, , 0, 1)                                  \
    HC_ASSIGN_ENTRY(T, TYPE, _k64, HC_FIXED_K, 1)                     \
    HC_ASSIGN_ENTRY(T, TYPE, _k64_split, HC_FIXED_K, hc::kSplit<T>)   \
    HC_UPSAMPLE_ENTRY(T, TYPE, , 0, 1)                                \
    HC_UPSAMPLE_ENTRY(T, TYPE, _k64, HC_FIXED_K, 1)                   \
    HC_UPSAMPLE_ENTRY(T, TYPE, _k64_split, HC_FIXED_K, hc::kSplit<T>) \
    HC_DECODE_ENTRY(T, TYPE, , 1)                                     \
    HC_DECODE_ENTRY(T, TYPE, _split, hc::kSplit<T>)                   \
    HC_ARGMAX_ENTRY(T, TYPE)

// An engine that carries its kernels as PTX asks for the one that a node launches: all of them are 2.4 MB of text.
#if defined(HC_ONLY_ENTRY)
HC_ONLY_ENTRY
#else
HC_ENTRIES(float, f32)
HC_ENTRIES(__half, f16)
HC_ENTRIES(__nv_bfloat16, bf16)
#endif
