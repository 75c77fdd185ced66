// Vectors of one instruction set, by the compiler's own vector types: +, *, comparisons and ?: work lane by lane.
//
// Everything that an instruction set is compiled from stands in the namespace HC_SET and includes no C++ header: an
// inline function of the standard library, compiled once with AVX-512 and once without, is one function to the linker,
// and which one it keeps is its choice.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__) && defined(__AVX2__)
#include <immintrin.h>
#endif

namespace hc_cpu {
namespace HC_SET {

#if defined(HC_SERIAL)
constexpr int kLanes = 1;
#elif defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

struct Float16 {
    uint16_t bits;
};
struct BFloat16 {
    uint16_t bits;
};

inline Floats all(float value) { return Floats{} + value; }
inline Ints all(int value) { return Ints{} + value; }
inline Floats select(Ints mask, Floats yes, Floats no) { return mask ? yes : no; }
inline Ints select(Ints mask, Ints yes, Ints no) { return mask ? yes : no; }
inline Words select(Ints mask, Words yes, Words no) { return mask ? yes : no; }
inline Floats larger_of(Floats a, Floats b) { return a > b ? a : b; }
inline Floats as_floats(Words bits) { return (Floats)bits; }
inline Words as_words(Floats value) { return (Words)value; }

// From memory, at any address.
inline Floats load(const float* from) {
    Floats value;
    memcpy(&value, from, sizeof value);
    return value;
}

inline Words load_halves(const void* from) {
    Halves halves;
    memcpy(&halves, from, sizeof halves);
    return __builtin_convertvector(halves, Words);
}

inline Floats load(const BFloat16* from) { return as_floats(load_halves(from) << 16); }

// The exponent's bias is mended by a product, which makes denormal halves normal on the way.
inline Floats load(const Float16* from) {
    const Words half = load_halves(from), size = (half & 0x7fffu) << 13;
    const Words value = as_words(as_floats(size) * 0x1p112f);
    const Words infinite = select(Ints(size) >= 0x0f800000, value | 0x7f800000u, value);
    return as_floats(infinite | (half & 0x8000u) << 16);
}

inline void store(float* to, Floats value) { memcpy(to, &value, sizeof value); }

inline void store_halves(void* to, Words bits) {
    const Halves halves = __builtin_convertvector(bits, Halves);
    memcpy(to, &halves, sizeof halves);
}

// To nearest, ties to even; a NaN stays one.
inline void store(BFloat16* to, Floats value) {
    const Words bits = as_words(value), rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    store_halves(to, select(value != value, bits | 0x400000u, rounded) >> 16);
}

inline void store(Float16* to, Floats value) {
    const Words bits = as_words(value), size = bits & 0x7fffffffu, sign = (bits & 0x80000000u) >> 16;
    const Words normal = (size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13;
    const Words small = as_words(as_floats(size) + 0.5f) - 0x3f000000u;  // the sum rounds at a half's last place
    Words half = select(Ints(size) < 0x38800000, small, normal);
    half = select(Ints(size) >= 0x47800000, Words{} + 0x7c00u, half);
    half = select(Ints(size) > 0x7f800000, Words{} + 0x7e00u, half);
    store_halves(to, half | sign);
}

#if defined(__clang__)
#define HC_SHUFFLE(A, B, ...) __builtin_shufflevector(A, B, __VA_ARGS__)
#else
#define HC_SHUFFLE(A, B, ...) __builtin_shuffle(A, B, Ints{__VA_ARGS__})
#endif

// 2*kLanes neighbours of a row as those at even and at odd places, and back.
template <typename T>
inline void load_pairs(const T* from, Floats& even, Floats& odd) {
    const Floats a = load(from), b = load(from + kLanes);
#if defined(HC_SERIAL)
    even = a;
    odd = b;
#elif defined(__AVX512F__)
    even = HC_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    odd = HC_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
    even = HC_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    odd = HC_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#else
    even = HC_SHUFFLE(a, b, 0, 2, 4, 6);
    odd = HC_SHUFFLE(a, b, 1, 3, 5, 7);
#endif
}

template <typename T>
inline void store_pairs(T* to, Floats even, Floats odd) {
#if defined(HC_SERIAL)
    const Floats a = even, b = odd;
#elif defined(__AVX512F__)
    const Floats a = HC_SHUFFLE(even, odd, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const Floats b = HC_SHUFFLE(even, odd, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
    const Floats a = HC_SHUFFLE(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
    const Floats b = HC_SHUFFLE(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
#else
    const Floats a = HC_SHUFFLE(even, odd, 0, 4, 1, 5);
    const Floats b = HC_SHUFFLE(even, odd, 2, 6, 3, 7);
#endif
    store(to, a);
    store(to + kLanes, b);
}

// value[place[lane]] in each lane; places from 0 to kLanes-1. Clang has no such builtin.
inline Floats permuted(Floats value, Ints place) {
#if defined(HC_SERIAL)
    (void)place;
    return value;
#elif !defined(__clang__)
    return __builtin_shuffle(value, place);
#elif defined(__AVX512F__)
    return (Floats)_mm512_permutexvar_ps((__m512i)place, (__m512)value);
#elif defined(__AVX2__)
    return (Floats)_mm256_permutevar8x32_ps((__m256)value, (__m256i)place);
#else
    return Floats{value[place[0]], value[place[1]], value[place[2]], value[place[3]]};
#endif
}

inline Floats square_root(Floats value) {
    float lanes[kLanes];
    store(lanes, value);
    for (int i = 0; i < kLanes; ++i) lanes[i] = __builtin_sqrtf(lanes[i]);
    return load(lanes);
}

// e^x for x <= 0, NaN for NaN; relative error below 2e-7, and 0 where the result would be denormal. The powers of two
// are taken off (by an addition that rounds to a whole number), the rest goes through the polynomial of Cephes' expf.
inline Floats exponential(Floats x) {
    const float whole = 0x1.8p23f;
    const Floats shifted = x * 1.44269504f + whole, twos = shifted - whole;
    const Floats rest = (x - twos * 0.693359375f) - twos * -2.12194440e-4f;
    Floats sum = all(1.9875691500e-4f);
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * (rest * rest) + rest + 1.0f;
    const Floats result = as_floats(as_words(sum) + (as_words(shifted) << 23));
    return select(x < -87.33654f, Floats{}, select(x != x, x, result));
}

// The value, once in a register: the compiler would rather read memory again in every multiply-add that uses it, and
// vectors across two cache lines cost two reads each (HCAssign at 64x128, K = 64: 0.29 ms so, 0.26 with this).
inline Floats pinned(Floats value) {
#if defined(HC_SERIAL)
    (void)value;
#elif defined(__x86_64__)
    __asm__("" : "+v"(value));
#elif defined(__aarch64__)
    __asm__("" : "+w"(value));
#endif
    return value;
}

// Memory of one call, aligned for the widest vectors; null where there is none.
struct Scratch {
    float* memory;
    explicit Scratch(size_t floats) : memory(nullptr) {
        void* given = nullptr;
        if (posix_memalign(&given, 64, (floats * sizeof(float) + 63) / 64 * 64) == 0)
            memory = static_cast<float*>(given);
    }
    ~Scratch() { free(memory); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
};

inline int least(int a, int b) { return a < b ? a : b; }
inline int round_up(int count) { return (count + kLanes - 1) / kLanes * kLanes; }

}  // namespace HC_SET
}  // namespace hc_cpu
