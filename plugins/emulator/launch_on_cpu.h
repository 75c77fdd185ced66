// The emulated library: launch.h's functions on host memory, and four more for tests.
#pragma once
#include <map>
#include <string>
#include <tuple>

#include "cuda_on_cpu.h"

#define HC_LAUNCH(KERNEL, GRID, BLOCK, STREAM, ...) \
    ((void)(STREAM), hc_emulator::launch(GRID, BLOCK, [=] { KERNEL(__VA_ARGS__); }))

namespace hc_emulator {

// The arguments of a kernel by their kind: const pointers are inputs, int numbers, the other pointer the output.
struct Arguments {
    const void* const* inputs;
    int input_count;
    const int* numbers;
    int number_count;
    void* output;
    int inputs_taken = 0, numbers_taken = 0;

    template <typename T>
    T next() {
        if constexpr (std::is_same_v<T, int>)
            return numbers_taken++ < number_count ? numbers[numbers_taken - 1] : 0;
        else if constexpr (std::is_const_v<std::remove_pointer_t<T>>)
            return static_cast<T>(inputs_taken++ < input_count ? inputs[inputs_taken - 1] : nullptr);
        else
            return static_cast<T>(output);
    }
    bool all_taken() const { return inputs_taken == input_count && numbers_taken == number_count; }
};

using Entry = std::function<int(dim3, dim3, Arguments)>;

template <typename... T>
Entry entry(void (*kernel)(T...)) {
    return [kernel](dim3 grid, dim3 block, Arguments given) {
        const std::tuple<T...> arguments{given.next<T>()...};  // braces: from left to right
        if (!given.all_taken()) return kInvalidValue;
        return launch(grid, block, [=] { std::apply(kernel, arguments); });
    };
}

#define HC_ENTRY(NAME) {#NAME, entry(NAME)}
#define HC_ENTRIES_OF(TYPE)                                                                                         \
    HC_ENTRY(hc_assign_##TYPE), HC_ENTRY(hc_assign_##TYPE##_k64), HC_ENTRY(hc_assign_##TYPE##_k64_split),           \
        HC_ENTRY(hc_upsample_##TYPE), HC_ENTRY(hc_upsample_##TYPE##_k64), HC_ENTRY(hc_upsample_##TYPE##_k64_split), \
        HC_ENTRY(hc_decode_##TYPE), HC_ENTRY(hc_decode_##TYPE##_split), HC_ENTRY(hc_argmax_##TYPE)

inline const std::map<std::string, Entry>& entries() {
    static const std::map<std::string, Entry> all = {HC_ENTRIES_OF(f32), HC_ENTRIES_OF(f16), HC_ENTRIES_OF(bf16)};
    return all;
}

}  // namespace hc_emulator

extern "C" {

// In which order the threads of a block run: 0 forward, 1 backward, else shuffled with this seed.
HC_API void hc_emulator_order(int order) { hc_emulator::machine.order = order; }

// Launches run this block alone, where a whole grid would take too long; a negative number: all blocks again.
HC_API void hc_emulator_only_block(int x, int y, int z) {
    int* only = hc_emulator::machine.only_block;
    only[0] = y < 0 || z < 0 ? -1 : x;
    only[1] = y;
    only[2] = z;
}

// Runs an entry of entries.cuh by its name, as a launch through CUDA's driver would.
HC_API int hc_emulated_kernel(const char* name, const int* grid, const int* block, const void* const* inputs,
                              int input_count, const int* numbers, int number_count, void* output) {
    const auto found = hc_emulator::entries().find(name);
    if (found == hc_emulator::entries().end()) return hc_emulator::kInvalidValue;
    return found->second(dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]),
                         {inputs, input_count, numbers, number_count, output});
}

HC_API const char* hc_error_string(int error) {
    switch (error) {
        case hc_emulator::kDone:
            return "no error";
        case hc_emulator::kInvalidValue:
            return "invalid argument";
        case hc_emulator::kInvalidConfiguration:
            return "invalid configuration argument";
    }
    return "unrecognized error code";
}
}
