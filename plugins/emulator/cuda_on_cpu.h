// What a kernel takes from CUDA, for g++: built-in variables, shared memory, barriers, shuffles, intrinsics.
//
// A CUDA thread is a fiber (ucontext), blocks run one after another, the fibers of a block in turn, each up to its next
// barrier or shuffle. In which order is chosen (`order`), so two threads that touch the same memory between the same
// barriers are run both ways round: what depends on it gives another result. Shared memory is NaN (all bits set) at a
// block's start. A rendezvous that CUDA leaves undefined ends the process with a message: a barrier that not every
// thread of the block reaches, or reaches at another line; a shuffle whose mask lacks its caller, is not everybody's in
// it, or whose source is not in it.
//
// It models neither time, nor races inside the memory system, nor the rounding of the GPU's fast exponential. Not for
// use by two threads of the host at once.
#pragma once
#include <link.h>
#include <ucontext.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#undef __host__
#undef __device__
#undef __global__
#undef __forceinline__
#undef __launch_bounds__
#undef __shared__
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __launch_bounds__(...)
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static  // where the sanitizer lays its guard zones
#else
#define __shared__ static __thread  // so that it lies in one piece of memory, which spoil_if_mine() finds
#endif

namespace hc_emulator {

constexpr int kWarp = 32, kMaxThreads = 1024, kStack = 256 << 10;
constexpr unsigned kMaxGrid = 65535;
constexpr int kDone = 0, kInvalidValue = 1, kInvalidConfiguration = 9;  // of cudaError_t

struct Thread {
    enum State { kRuns, kAtBarrier, kAtWarp, kEnded };
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    uint3 index;
    int id;
    State state;
    int line;        // where it waits
    unsigned lanes;  // with whom, at a warp's rendezvous
    uint64_t value;  // what it gives to a shuffle
};

struct Machine {
    ucontext_t host;
    std::deque<Thread> threads;
    std::function<void()> body;
    Thread* now = nullptr;
    int count = 0;  // threads a block
    dim3 block, grid;
    uint3 block_index;
    int order = 0;  // 0 forward, 1 backward, else the seed of a shuffle
    std::mt19937 random;
    int only_block[3] = {-1, -1, -1};
};
inline Machine machine;

[[noreturn]] inline void die(const Thread& thread, const char* what) {
    const uint3 b = machine.block_index;
    std::fprintf(stderr, "hc_emulator: block (%u,%u,%u) thread %d line %d: %s\n", b.x, b.y, b.z, thread.id, thread.line,
                 what);
    std::abort();
}

// The running thread stops here until release() lets it go on.
inline void wait(Thread::State state, int line, unsigned lanes = 0) {
    Thread& me = *machine.now;
    me.state = state;
    me.line = line;
    me.lanes = lanes;
    swapcontext(&me.context, &machine.host);
}

inline void fiber() {
    for (;;) {
        machine.body();
        wait(Thread::kEnded, 0);
    }
}

// The lanes of `first`'s warp rendezvous that have not ended, or none while one of them is still to come.
inline std::vector<Thread*> complete_warp(const Thread& first) {
    std::vector<Thread*> group;
    for (int lane = 0, id = first.id / kWarp * kWarp; lane < kWarp && id < machine.count; ++lane, ++id) {
        Thread& t = machine.threads[id];
        if (!(first.lanes >> lane & 1) || t.state == Thread::kEnded) continue;
        if (t.state != Thread::kAtWarp) return {};
        if (t.lanes != first.lanes) die(t, "two masks meet in one warp rendezvous");
        if (t.line != first.line) die(t, "lanes of one mask meet at different lines");
        group.push_back(&t);
    }
    return group;
}

// Lets those run whose rendezvous is complete. False: every thread has ended.
inline bool release() {
    int ended = 0, at_barrier = 0;
    bool released = false;
    for (int i = 0; i < machine.count; ++i) {
        Thread& t = machine.threads[i];
        ended += t.state == Thread::kEnded;
        at_barrier += t.state == Thread::kAtBarrier;
        if (t.state != Thread::kAtWarp) continue;
        for (Thread* member : complete_warp(t)) {
            member->state = Thread::kRuns;
            released = true;
        }
    }
    if (released || ended == machine.count) return released;
    for (int i = 0; i < machine.count; ++i) {
        Thread& t = machine.threads[i];
        if (t.state == Thread::kAtWarp) die(t, "deadlock: the other lanes of this mask wait elsewhere");
        if (t.state == Thread::kEnded) die(t, "ended without the barrier at which others wait");
        if (t.line != machine.threads[0].line) die(t, "waits at another barrier than thread 0");
        t.state = Thread::kRuns;
    }
    return at_barrier > 0;
}

inline thread_local char mark;  // lies among the shared memory: nothing else of this library is thread-local

// dl_iterate_phdr's visitor: fills the thread-local memory of the library that `mark` lies in.
inline int spoil_if_mine(dl_phdr_info* library, size_t, void*) {
    for (int i = 0; i < library->dlpi_phnum; ++i) {
        const size_t size = library->dlpi_phdr[i].p_memsz;
        char* start = static_cast<char*>(library->dlpi_tls_data);
        if (library->dlpi_phdr[i].p_type != PT_TLS || &mark < start || &mark >= start + size) continue;
        std::memset(start, 0xff, size);
        return 1;
    }
    return 0;
}

inline void run_block() {
    mark = 0;  // the first touch allocates
    dl_iterate_phdr(spoil_if_mine, nullptr);
    std::vector<int> turn(machine.count);
    for (int i = 0; i < machine.count; ++i) {
        turn[i] = machine.order == 1 ? machine.count - 1 - i : i;
        machine.threads[i].state = Thread::kRuns;
    }
    do {
        if (machine.order > 1) std::shuffle(turn.begin(), turn.end(), machine.random);
        for (int i : turn) {
            machine.now = &machine.threads[i];
            if (machine.now->state == Thread::kRuns) swapcontext(&machine.host, &machine.now->context);
        }
    } while (release());
}

inline void prepare_threads(dim3 block) {
    machine.block = block;
    machine.count = block.x * block.y * block.z;
    while (int(machine.threads.size()) < machine.count) {
        Thread& t = machine.threads.emplace_back();
        t.stack.reset(new char[kStack]);  // not zeroed: the pages that no thread uses are never touched
        getcontext(&t.context);
        t.context.uc_stack.ss_sp = t.stack.get();
        t.context.uc_stack.ss_size = kStack;
        t.context.uc_link = nullptr;
        makecontext(&t.context, fiber, 0);
    }
    for (int i = 0; i < machine.count; ++i) {
        machine.threads[i].id = i;
        machine.threads[i].index = make_uint3(i % block.x, i / block.x % block.y, i / (block.x * block.y));
    }
}

// Runs `body` as every thread of every block, or of the only block chosen. Returns an error of CUDA's.
template <typename Body>
int launch(dim3 grid, dim3 block, Body body) {
    const uint64_t threads = uint64_t(block.x) * block.y * block.z;
    if (threads < 1 || threads > kMaxThreads || block.z > 64) return kInvalidConfiguration;
    if (grid.x < 1 || grid.y < 1 || grid.z < 1 || grid.x > 0x7fffffffu || grid.y > kMaxGrid || grid.z > kMaxGrid)
        return kInvalidConfiguration;
    uint3 first = make_uint3(0, 0, 0), end = make_uint3(grid.x, grid.y, grid.z);
    if (const int* only = machine.only_block; only[0] >= 0) {
        first = make_uint3(only[0], only[1], only[2]);
        if (first.x >= end.x || first.y >= end.y || first.z >= end.z) return kInvalidConfiguration;
        end = make_uint3(first.x + 1, first.y + 1, first.z + 1);
    }
    machine.grid = grid;
    machine.body = body;
    machine.random.seed(machine.order);
    prepare_threads(block);
    uint3& at = machine.block_index;
    for (at.z = first.z; at.z < end.z; ++at.z)
        for (at.y = first.y; at.y < end.y; ++at.y)
            for (at.x = first.x; at.x < end.x; ++at.x) run_block();
    return kDone;
}

// Both waits are needed: all values are given before one is taken, and taken before the next is given.
template <typename T>
T shuffle(unsigned mask, T value, int source, int line) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves up to 8 bytes");
    Thread& me = *machine.now;
    const int lane = me.id % kWarp;
    me.line = line;
    if (!(mask >> lane & 1)) die(me, "the shuffle's mask lacks its caller");
    std::memcpy(&me.value, &value, sizeof value);
    wait(Thread::kAtWarp, line, mask);
    if (source < 0 || source >= kWarp) source = lane;  // past the warp's ends everyone keeps his own, as CUDA says
    const int id = me.id - lane + source;
    if (!(mask >> source & 1) || id >= machine.count || machine.threads[id].state == Thread::kEnded)
        die(me, "the shuffle's source is not in its mask, or has ended");
    std::memcpy(&value, &machine.threads[id].value, sizeof value);
    wait(Thread::kAtWarp, line, mask);
    return value;
}

}  // namespace hc_emulator

#define threadIdx (hc_emulator::machine.now->index)
#define blockIdx (hc_emulator::machine.block_index)
#define blockDim (hc_emulator::machine.block)
#define gridDim (hc_emulator::machine.grid)

inline void __syncthreads(int line = __builtin_LINE()) { hc_emulator::wait(hc_emulator::Thread::kAtBarrier, line); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int line = __builtin_LINE()) {
    return hc_emulator::shuffle(mask, value, lane % hc_emulator::kWarp, line);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int line = __builtin_LINE()) {
    return hc_emulator::shuffle(mask, value, hc_emulator::machine.now->id % hc_emulator::kWarp ^ bits, line);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int lanes, int line = __builtin_LINE()) {
    return hc_emulator::shuffle(mask, value, hc_emulator::machine.now->id % hc_emulator::kWarp + lanes, line);
}

inline int atomicAdd(int* sum, int value) {
    const int before = *sum;
    *sum = before + value;
    return before;
}
inline float __int_as_float(int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline float __expf(float v) { return std::exp(v); }
inline int min(int a, int b) { return a < b ? a : b; }
