// The kernels by name: hc_<op>_<type>[_k64], for the launchers, for NVRTC and for the CPU.
//
// Argument order, that of TensorRT's ahead-of-time plugins: input tensors, 32-bit integers, output tensor. The
// temperature travels as the bits of the float 1/tau, the other attributes as flags (ClusterOptions).
#pragma once
#include "argmax.cuh"
#include "upsample.cuh"

#define HC_FIXED_K 64

// Blocks an SM that the registers must leave room for: 4 where the accumulators fit in 128 registers a thread without a
// spill, else 3 (compiled for all targets; the test of the build prints both).
#define HC_BLOCKS(T, K_AT_COMPILE_TIME) (sizeof(T) == 2 && K_AT_COMPILE_TIME ? 4 : 3)

#define HC_CLUSTER_ENTRIES(T, TYPE, SUFFIX, K_AT_COMPILE_TIME)                                                     \
    extern "C" __global__ void __launch_bounds__(hc::kThreads, HC_BLOCKS(T, K_AT_COMPILE_TIME))                    \
        hc_assign_##TYPE##SUFFIX(const T* __restrict__ features, const T* __restrict__ seeds, int B, int K, int H, \
                                 int W, int inverse_tau_bits, int flags, T* __restrict__ assignment) {             \
        hc::assign<T, K_AT_COMPILE_TIME>(features, seeds, B, K, H, W, {inverse_tau_bits, flags}, assignment);      \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(hc::kThreads, HC_BLOCKS(T, K_AT_COMPILE_TIME))                    \
        hc_upsample_##TYPE##SUFFIX(const T* __restrict__ coarse, const T* __restrict__ features,                   \
                                   const T* __restrict__ seeds, int B, int C, int K, int H, int W,                 \
                                   int inverse_tau_bits, int flags, T* __restrict__ decoded) {                     \
        hc::upsample<T, K_AT_COMPILE_TIME>(coarse, features, seeds, B, C, K, H, W, {inverse_tau_bits, flags},      \
                                           decoded);                                                               \
    }

#define HC_ENTRIES(T, TYPE)                                                                                          \
    HC_CLUSTER_ENTRIES(T, TYPE, , 0)                                                                                 \
    HC_CLUSTER_ENTRIES(T, TYPE, _k64, HC_FIXED_K)                                                                    \
    extern "C" __global__ void __launch_bounds__(hc::kThreads, 4)                                                    \
        hc_decode_##TYPE(const T* __restrict__ coarse, const T* __restrict__ assignment, int B, int C, int H, int W, \
                         T* __restrict__ decoded) {                                                                  \
        hc::decode<T>(coarse, assignment, B, C, H, W, decoded);                                                      \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(hc::kLabelThreads, 4)                                               \
        hc_argmax_##TYPE(const T* __restrict__ logits, const void*, int B, int C, int h, int w, int H, int W,        \
                         int* __restrict__ labels) {                                                                 \
        hc::argmax<T>(logits, B, C, h, w, H, W, labels);                                                             \
    }

HC_ENTRIES(float, f32)
HC_ENTRIES(__half, f16)
HC_ENTRIES(__nv_bfloat16, bf16)
