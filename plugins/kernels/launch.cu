// The launchers of launch.h: sizes -> grid, element type -> kernel. Compiled by nvcc, and by g++ for the CPU.
#include <cstring>

#include "entries.cuh"
#include "launch.h"

#if defined(HC_EMULATED)
#include "../emulator/launch_on_cpu.h"
#else
#include <cuda_runtime_api.h>

#include <initializer_list>
#define HC_LAUNCH(KERNEL, GRID, BLOCK, STREAM, ...) \
    (KERNEL<<<GRID, BLOCK, 0, static_cast<cudaStream_t>(STREAM)>>>(__VA_ARGS__), int(cudaGetLastError()))
#endif

namespace {

constexpr int kInvalidValue = 1;  // cudaErrorInvalidValue
constexpr int kGridLimit = 65535;
constexpr int kSizeLimit = 1 << 30;  // twice a size is an int

int ceil_div(int a, int b) { return (a - 1) / b + 1; }

constexpr long long kPixelLimit = 1 << 30;  // of a fine map: its bytes are counted in 32 bits

bool legal(std::initializer_list<int> sizes) {
    for (int size : sizes)
        if (size < 1 || size > kSizeLimit) return false;
    return true;
}

dim3 cluster_grid(int B, int H, int W) {
    return dim3(ceil_div(ceil_div(W, 2), hc::kLanes), ceil_div(ceil_div(H, 2), hc::kWarps),
                B < kGridLimit ? B : kGridLimit);
}

#if defined(HC_EMULATED)
int multiprocessors() { return 4; }
#else
int multiprocessors() {
    int device = 0, count = 0;
    if (cudaGetDevice(&device) || cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device)) return 0;
    return count;
}
#endif

// Whether a grid leaves multiprocessors without a block. On an H100 (132 of them) HCUpsample in float16 took, whole and
// split, 23.4 and 15.6 us at 16 blocks, 23.6 and 16.6 at 64, 28.2 and 33.1 at 256.
bool few_blocks(const dim3& grid) { return (long long)(grid.x) * grid.y * grid.z < multiprocessors(); }

dim3 label_grid(int B, int H, int W) {
    return dim3(ceil_div(W, hc::kLabelColumns), ceil_div(H, hc::kLabelRows), B < kGridLimit ? B : kGridLimit);
}

// The largest scale of a logit must be a float32: a NaN of infinity * 0 reached the border otherwise.
bool legal(const hc_cluster_options& o) { return o.tau >= HC_LEAST_TAU && o.tau <= HC_MOST_TAU; }

int inverse_tau_bits(const hc_cluster_options& options) {
    const float inverse = 1.0f / options.tau;
    int bits;
    std::memcpy(&bits, &inverse, sizeof bits);
    return bits;
}

int flags(const hc_cluster_options& options) {
    using hc::ClusterOptions;
    return (options.dot ? ClusterOptions::kDot : 0) | (options.exclude ? ClusterOptions::kExclude : 0) |
           (options.hard ? ClusterOptions::kHard : 0);
}

}  // namespace

// Calls WORK(T, TYPE) for the element type `type`.
#define HC_FOR_TYPE(WORK)              \
    switch (type) {                    \
        case HC_FLOAT32:               \
            WORK(float, f32);          \
        case HC_FLOAT16:               \
            WORK(__half, f16);         \
        case HC_BFLOAT16:              \
            WORK(__nv_bfloat16, bf16); \
    }                                  \
    return kInvalidValue

int hc_assign(const void* features, const void* seeds, void* assignment, int type, int B, int K, int H, int W,
              hc_cluster_options options, void* stream) {
    if (!legal({B, K, H, W}) || (long long)(H)*W > kPixelLimit || !legal(options)) return kInvalidValue;
    const dim3 grid = cluster_grid(B, H, W);
    if (grid.y > kGridLimit) return kInvalidValue;
    const int tau = inverse_tau_bits(options), bits = flags(options);
    const bool few = few_blocks(grid);
#define HC_ASSIGN(T, TYPE)                                                                                            \
    {                                                                                                                 \
        auto f = static_cast<const T*>(features), s = static_cast<const T*>(seeds);                                   \
        auto out = static_cast<T*>(assignment);                                                                       \
        if (K == HC_FIXED_K && few)                                                                                   \
            return HC_LAUNCH(hc_assign_##TYPE##_k64_split, grid, hc::kSplit<T> * hc::kThreads, stream, f, s, B, K, H, \
                             W, tau, bits, out);                                                                      \
        if (K == HC_FIXED_K)                                                                                          \
            return HC_LAUNCH(hc_assign_##TYPE##_k64, grid, hc::kThreads, stream, f, s, B, K, H, W, tau, bits, out);   \
        return HC_LAUNCH(hc_assign_##TYPE, grid, hc::kThreads, stream, f, s, B, K, H, W, tau, bits, out);             \
    }
    HC_FOR_TYPE(HC_ASSIGN);
}

int hc_decode(const void* coarse, const void* assignment, void* decoded, int type, int B, int C, int H, int W,
              void* stream) {
    if (!legal({B, C, H, W}) || (long long)(H)*W > kPixelLimit) return kInvalidValue;
    const dim3 grid = cluster_grid(B, H, W);
    if (grid.y > kGridLimit) return kInvalidValue;
#define HC_DECODE(T, TYPE)                                                                                           \
    {                                                                                                                \
        auto c = static_cast<const T*>(coarse), a = static_cast<const T*>(assignment);                               \
        auto out = static_cast<T*>(decoded);                                                                         \
        if (few_blocks(grid))                                                                                        \
            return HC_LAUNCH(hc_decode_##TYPE##_split, grid, hc::kSplit<T> * hc::kThreads, stream, c, a, B, C, H, W, \
                             out);                                                                                   \
        return HC_LAUNCH(hc_decode_##TYPE, grid, hc::kThreads, stream, c, a, B, C, H, W, out);                       \
    }
    HC_FOR_TYPE(HC_DECODE);
}

int hc_upsample(const void* coarse, const void* features, const void* seeds, void* decoded, int type, int B, int C,
                int K, int H, int W, hc_cluster_options options, void* stream) {
    if (!legal({B, C, K, H, W}) || (long long)(H)*W > kPixelLimit || !legal(options)) return kInvalidValue;
    const dim3 grid = cluster_grid(B, H, W);
    if (grid.y > kGridLimit) return kInvalidValue;
    const int tau = inverse_tau_bits(options), bits = flags(options);
    const bool few = few_blocks(grid);
#define HC_UPSAMPLE(T, TYPE)                                                                                           \
    {                                                                                                                  \
        auto c = static_cast<const T*>(coarse), f = static_cast<const T*>(features), s = static_cast<const T*>(seeds); \
        auto out = static_cast<T*>(decoded);                                                                           \
        if (K == HC_FIXED_K && few)                                                                                    \
            return HC_LAUNCH(hc_upsample_##TYPE##_k64_split, grid, hc::kSplit<T> * hc::kThreads, stream, c, f, s, B,   \
                             C, K, H, W, tau, bits, out);                                                              \
        if (K == HC_FIXED_K)                                                                                           \
            return HC_LAUNCH(hc_upsample_##TYPE##_k64, grid, hc::kThreads, stream, c, f, s, B, C, K, H, W, tau, bits,  \
                             out);                                                                                     \
        return HC_LAUNCH(hc_upsample_##TYPE, grid, hc::kThreads, stream, c, f, s, B, C, K, H, W, tau, bits, out);      \
    }
    HC_FOR_TYPE(HC_UPSAMPLE);
}

int hc_argmax(const void* logits, int* labels, int type, int B, int C, int h, int w, int H, int W, void* stream) {
    if (!legal({B, C, h, w, H, W})) return kInvalidValue;
    const dim3 grid = label_grid(B, H, W);
    if (grid.y > kGridLimit) return kInvalidValue;
#define HC_ARGMAX(T, TYPE)                                                                                           \
    return HC_LAUNCH(hc_argmax_##TYPE, grid, hc::kLabelThreads, stream, static_cast<const T*>(logits), logits, B, C, \
                     h, w, H, W, labels)
    HC_FOR_TYPE(HC_ARGMAX);
}

#if !defined(HC_EMULATED)
const char* hc_error_string(int error) { return cudaGetErrorString(static_cast<cudaError_t>(error)); }
#endif
