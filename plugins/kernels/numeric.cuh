// The element types of the kernels: float32, float16, bfloat16 in memory, float32 in every sum.
//
// A Pair is two neighbours of a row as they lie in memory: one 8-byte (float32) or 4-byte load a thread, 256 or 128
// contiguous bytes a warp.
#pragma once
#if defined(HC_EMULATED)
#include "../emulator/cuda_on_cpu.h"
#endif
#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace hc {

using int64 = long long;

// The literals and helpers below must compile for nvcc, NVRTC (no standard headers) and g++.
#define HC_INFINITY __int_as_float(0x7f800000)

template <typename T>
struct PairOf;
template <>
struct PairOf<float> {
    using Type = float2;
};
template <>
struct PairOf<__half> {
    using Type = __half2;
};
template <>
struct PairOf<__nv_bfloat16> {
    using Type = __nv_bfloat162;
};
template <typename T>
using Pair = typename PairOf<T>::Type;

__device__ __forceinline__ float to_float(float v) { return v; }
__device__ __forceinline__ float to_float(__half v) { return __half2float(v); }
__device__ __forceinline__ float to_float(__nv_bfloat16 v) { return __bfloat162float(v); }
__device__ __forceinline__ float2 to_float(float2 v) { return v; }
__device__ __forceinline__ float2 to_float(__half2 v) { return __half22float2(v); }
__device__ __forceinline__ float2 to_float(__nv_bfloat162 v) { return __bfloat1622float2(v); }

template <typename T>
__device__ __forceinline__ T from_float(float v);
template <>
__device__ __forceinline__ float from_float<float>(float v) {
    return v;
}
template <>
__device__ __forceinline__ __half from_float<__half>(float v) {
    return __float2half_rn(v);
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float v) {
    return __float2bfloat16_rn(v);
}

__device__ __forceinline__ float2 make_pair(float a, float b) { return make_float2(a, b); }
__device__ __forceinline__ __half2 make_pair(__half a, __half b) { return __halves2half2(a, b); }
__device__ __forceinline__ __nv_bfloat162 make_pair(__nv_bfloat16 a, __nv_bfloat16 b) {
    return __halves2bfloat162(a, b);
}

template <typename T>
__device__ __forceinline__ T zero() {
    return from_float<T>(0.0f);
}

// A NaN is larger than every number, as in torch: the first largest, or the first NaN.
__device__ __forceinline__ bool larger(float value, float than) {
    return value > than || (value != value && than == than);
}

}  // namespace hc
