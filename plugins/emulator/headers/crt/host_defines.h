// Stands in for CUDA's header of this name, which the runtime's wheel lacks: the words of CUDA C++, for g++.
#pragma once
#define __host__
#define __device__
#define __global__
#define __constant__
#define __forceinline__ inline
#define __align__(N) __attribute__((aligned(N)))
#define __builtin_align__(N) __align__(N)
#define __device_builtin__
#define __device_builtin_texture_type__
#define __device_builtin_surface_type__
#define __cudart_builtin__
#define CUDARTAPI
#define CUDARTAPI_CDECL
