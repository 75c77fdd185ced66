// What a kernel may do wrong, one probe each, for the emulator's own test: probe(number) runs it as one block of 64
// threads and returns a number of its own, unless the emulator ends the process.
#include "../../plugins/emulator/cuda_on_cpu.h"

namespace {

int result;  // what the probe found

__global__ void sum_of_the_block() {
    __shared__ int warps[2];
    int sum = threadIdx.x;
    for (int bits = 16; bits; bits /= 2) sum += __shfl_xor_sync(~0u, sum, bits);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) result = warps[0] + warps[1];
}

// Each lane takes the value of the lane three on; the last three of a warp keep their own.
__global__ void neighbour_of_the_warp() {
    const int lane = threadIdx.x % 32;
    const int got = __shfl_down_sync(~0u, int(threadIdx.x), 3), first = __shfl_sync(~0u, int(threadIdx.x), 0);
    result += got == int(threadIdx.x) + (lane < 29 ? 3 : 0) && first == int(threadIdx.x) - lane;
}

__global__ void half_a_warp() {
    if (threadIdx.x % 32 < 16) result += __shfl_xor_sync(0xffffu, 1, 8);
}

__global__ void race() {
    __shared__ int last;
    last = threadIdx.x;
    __syncthreads();
    result = last;
}

__global__ void read_before_write() {
    __shared__ int memory;
    if (threadIdx.x == 0) result = memory;
    memory = 7;
}

__global__ void barrier_not_for_all() {
    if (threadIdx.x != 5) __syncthreads();
}

__global__ void two_barriers() {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
}

__global__ void barrier_and_shuffle() {
    if (threadIdx.x == 0) __syncthreads();
    __shfl_xor_sync(~0u, 1, 1);
    if (threadIdx.x != 0) __syncthreads();
}

__global__ void mask_without_caller() { __shfl_xor_sync(0xfffffffeu, 1, 1); }

__global__ void two_masks() { __shfl_xor_sync(threadIdx.x % 2 ? ~0u : ~0u - 8, 1, 1); }

__global__ void two_shuffles() {
    if (threadIdx.x % 2)
        __shfl_xor_sync(~0u, 1, 2);
    else
        __shfl_xor_sync(~0u, 1, 2);
}

__global__ void source_outside_mask() {
    if (threadIdx.x < 4) __shfl_down_sync(0xfu, 1, 1);
}

__global__ void source_has_ended() {
    if (threadIdx.x % 32 != 1) __shfl_xor_sync(~0u, 1, 1);
}

void (*const probes[])() = {
    sum_of_the_block, neighbour_of_the_warp, half_a_warp,         race,      read_before_write, barrier_not_for_all,
    two_barriers,     barrier_and_shuffle,   mask_without_caller, two_masks, two_shuffles,      source_outside_mask,
    source_has_ended};

}  // namespace

extern "C" __attribute__((visibility("default"))) int probe(int number, int order) {
    result = 0;
    hc_emulator::machine.order = order;
    const int error = hc_emulator::launch(dim3(1), dim3(64), probes[number]);
    return error ? -error : result;
}

extern "C" __attribute__((visibility("default"))) int launch_error(int gx, int gy, int gz, int bx, int by, int bz) {
    return hc_emulator::launch(dim3(gx, gy, gz), dim3(bx, by, bz), [] {});
}
