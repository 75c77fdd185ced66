// The functions of hc_cpu.h: sizes are checked, the image's maps are found, and the best instruction set works.
#include <atomic>
#include <cstring>
#include <initializer_list>

#include "kernels.h"

namespace {

using hc_cpu::Kernels;

struct Set {
    const Kernels* kernels;
    bool here;  // the CPU has it, and the system keeps its registers
};

// Best first.
const Set* sets() {
    static const Set known[] = {
#if defined(__x86_64__)
        {&hc_cpu::kernels_avx512, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")},
        {&hc_cpu::kernels_avx2, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")},
#elif defined(__aarch64__)
        {&hc_cpu::kernels_neon, true},
#endif
        {&hc_cpu::kernels_serial, true},
        {nullptr, false},
    };
    return known;
}

std::atomic<const Kernels*> chosen{nullptr};

const Kernels& kernels() {
    if (const Kernels* one = chosen.load(std::memory_order_relaxed)) return *one;
    const Set* set = sets();
    while (!set->here) ++set;
    return *set->kernels;
}

constexpr int kSizeLimit = 1 << 30;
constexpr long long kPixelLimit = 1 << 30;

int coarse(int fine) { return (fine + 1) / 2; }

bool legal(std::initializer_list<int> sizes) {
    for (int size : sizes)
        if (size < 1 || size > kSizeLimit) return false;
    return true;
}

bool legal(const hc_cpu::Cluster& c, int image) {
    const hc_cpu_options& o = c.options;
    return legal({c.C, c.K, c.H, c.W}) && (long long)(c.H) * c.W <= kPixelLimit && image >= 0 && c.first >= 0 &&
           c.first <= c.last && c.last <= coarse(c.H) && c.type >= HC_CPU_FLOAT32 && c.type <= HC_CPU_BFLOAT16 &&
           o.tau >= HC_CPU_LEAST_TAU && o.tau <= HC_CPU_MOST_TAU;
}

bool legal(const hc_cpu::Labels& l, int image) {
    return legal({l.C, l.h, l.w, l.H, l.W}) && image >= 0 && l.first >= 0 && l.first <= l.last && l.last <= l.H &&
           l.type >= HC_CPU_FLOAT32 && l.type <= HC_CPU_BFLOAT16;
}

// Where image `image` of a map [B,channels,height,width] begins.
template <typename Byte>
Byte* image_of(Byte* map, int type, int image, int channels, int height, int width) {
    const size_t element = type == HC_CPU_FLOAT32 ? 4 : 2;
    return map + element * image * channels * height * width;
}

struct Images {
    const hc_cpu::Cluster& c;
    int image;
    const void* fine(const void* map, int channels) const {
        return image_of(static_cast<const char*>(map), c.type, image, channels, c.H, c.W);
    }
    void* fine(void* map, int channels) const {
        return image_of(static_cast<char*>(map), c.type, image, channels, c.H, c.W);
    }
    const void* coarse(const void* map, int channels) const {
        return image_of(static_cast<const char*>(map), c.type, image, channels, ::coarse(c.H), ::coarse(c.W));
    }
};

constexpr int kCandidates = 9;
constexpr hc_cpu_options kAnyOptions = {1.0f, 0, 0, 0};

}  // namespace

int hc_cpu_assign(const void* features, const void* seeds, void* assignment, int type, int K, int H, int W,
                  hc_cpu_options options, int image, int first, int last) {
    const hc_cpu::Cluster c = {type, 1, K, H, W, first, last, options};
    if (!legal(c, image)) return HC_CPU_INVALID_VALUE;
    const Images at = {c, image};
    return kernels().assign(at.fine(features, K), at.coarse(seeds, K), at.fine(assignment, kCandidates), c);
}

int hc_cpu_decode(const void* coarse, const void* assignment, void* decoded, int type, int C, int H, int W, int image,
                  int first, int last) {
    const hc_cpu::Cluster c = {type, C, 1, H, W, first, last, kAnyOptions};
    if (!legal(c, image)) return HC_CPU_INVALID_VALUE;
    const Images at = {c, image};
    return kernels().decode(at.coarse(coarse, C), at.fine(assignment, kCandidates), at.fine(decoded, C), c);
}

int hc_cpu_upsample(const void* coarse, const void* features, const void* seeds, void* decoded, int type, int C, int K,
                    int H, int W, hc_cpu_options options, int image, int first, int last) {
    const hc_cpu::Cluster c = {type, C, K, H, W, first, last, options};
    if (!legal(c, image)) return HC_CPU_INVALID_VALUE;
    const Images at = {c, image};
    return kernels().upsample(at.coarse(coarse, C), at.fine(features, K), at.coarse(seeds, K), at.fine(decoded, C), c);
}

int hc_cpu_argmax(const void* logits, int* labels, int type, int C, int h, int w, int H, int W, int image, int first,
                  int last) {
    const hc_cpu::Labels l = {type, C, h, w, H, W, first, last};
    if (!legal(l, image)) return HC_CPU_INVALID_VALUE;
    const void* own = image_of(static_cast<const char*>(logits), type, image, C, h, w);
    return kernels().argmax(own, labels + size_t(image) * H * W, l);
}

int hc_cpu_interface(void) { return HC_CPU_INTERFACE; }

const char* hc_cpu_error_string(int error) {
    switch (error) {
        case HC_CPU_DONE:
            return "done";
        case HC_CPU_INVALID_VALUE:
            return "a size, type, tau or range of rows is outside its limits";
        case HC_CPU_NO_MEMORY:
            return "there is no memory for the rows that are worked on";
        case HC_CPU_NO_SUCH_SET:
            return "this CPU or this library has no such instruction set";
    }
    return "unknown error";
}

const char* hc_cpu_instruction_set(void) { return kernels().name; }

const char* hc_cpu_instruction_set_name(int number) {
    for (const Set* set = sets(); set->kernels; ++set, --number)
        if (number == 0) return set->kernels->name;
    return nullptr;
}

int hc_cpu_use(const char* name) {
    for (const Set* set = sets(); set->kernels; ++set) {
        if (!set->here || std::strcmp(set->kernels->name, name) != 0) continue;
        chosen.store(set->kernels, std::memory_order_relaxed);
        return HC_CPU_DONE;
    }
    return HC_CPU_NO_SUCH_SET;
}
