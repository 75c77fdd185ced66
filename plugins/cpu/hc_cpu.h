/* The four ops on a CPU as plain C functions: host pointers in, an error code out (0, or an hc_cpu_error;
 * hc_cpu_error_string names it).
 *
 * Maps are contiguous NCHW: K embedding channels, C decoded channels, fine map H x W, coarse map h x w with
 * h = ceil(H/2), w = ceil(W/2). Pointers are those of whole maps. A call works on one image of the batch and on the
 * rows [first, last) of it, so that the caller's threads share the work: calls on different images or rows may run at
 * the same time. Rows are those of the coarse map (each makes two of the fine map), of the labels in hc_cpu_argmax.
 * `type` is the element type of every map but the labels; sums are float32. Limits as in kernels/launch.h: sizes from 1
 * to 2^30, H*W at most 2^30, tau from 3e-33 to 3e38, 0 <= first <= last <= rows; anything else is HC_CPU_INVALID_VALUE.
 */
#ifndef HC_CPU_H
#define HC_CPU_H

#if defined(__GNUC__)
#define HC_API __attribute__((visibility("default")))
#else
#define HC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Of this header: a library that gives another number has other functions. */
#define HC_CPU_INTERFACE 1

#define HC_CPU_LEAST_TAU 3e-33f
#define HC_CPU_MOST_TAU 3e38f

enum hc_cpu_type { HC_CPU_FLOAT32 = 0, HC_CPU_FLOAT16 = 1, HC_CPU_BFLOAT16 = 2 };
enum hc_cpu_error { HC_CPU_DONE = 0, HC_CPU_INVALID_VALUE = 1, HC_CPU_NO_MEMORY = 2, HC_CPU_NO_SUCH_SET = 3 };

/* dot, exclude, hard: 0 or 1 (similarity dot, not cosine; border exclude, not zero; assignment hard, not soft). */
struct hc_cpu_options {
    float tau;
    int dot, exclude, hard;
};

/* features [B,K,H,W], seeds [B,K,h,w] -> assignment [B,9,H,W] */
HC_API int hc_cpu_assign(const void* features, const void* seeds, void* assignment, int type, int K, int H, int W,
                         struct hc_cpu_options options, int image, int first, int last);

/* coarse [B,C,h,w], assignment [B,9,H,W] -> decoded [B,C,H,W] */
HC_API int hc_cpu_decode(const void* coarse, const void* assignment, void* decoded, int type, int C, int H, int W,
                         int image, int first, int last);

/* coarse [B,C,h,w], features [B,K,H,W], seeds [B,K,h,w] -> decoded [B,C,H,W] */
HC_API int hc_cpu_upsample(const void* coarse, const void* features, const void* seeds, void* decoded, int type, int C,
                           int K, int H, int W, struct hc_cpu_options options, int image, int first, int last);

/* logits [B,C,h,w] -> labels int32 [B,H,W]; h and w are free of H and W here */
HC_API int hc_cpu_argmax(const void* logits, int* labels, int type, int C, int h, int w, int H, int W, int image,
                         int first, int last);

HC_API int hc_cpu_interface(void);
HC_API const char* hc_cpu_error_string(int error);

/* The instruction set in use: the best that this CPU has, unless hc_cpu_use chose another. */
HC_API const char* hc_cpu_instruction_set(void);

/* The sets of this library by number, best first; null past the last. Some may be none of this CPU's. */
HC_API const char* hc_cpu_instruction_set_name(int number);

/* Take the set of this name in every call that follows; HC_CPU_NO_SUCH_SET where the CPU or the library lacks it. */
HC_API int hc_cpu_use(const char* name);

#ifdef __cplusplus
}
#endif
#endif
