/* The kernels as plain C functions: device pointers in, an error code out (0, or a cudaError_t; hc_error_string names
 * it).
 *
 * Maps are contiguous NCHW. B images, K embedding channels, C decoded channels, fine map H x W, coarse map h x w with
 * h = ceil(H/2), w = ceil(W/2). `type` is the element type of every tensor but labels. The work is queued on `stream`
 * (a cudaStream_t). Nothing is allocated. Limits: sizes from 1 to 2^30, H*W of a fine map at most 2^30, h at most
 * 262140, H of labels at most 1048560, tau from 3e-33 to 3e38; anything else is cudaErrorInvalidValue.
 */
#ifndef HC_LAUNCH_H
#define HC_LAUNCH_H

#if defined(__GNUC__)
#define HC_API __attribute__((visibility("default")))
#else
#define HC_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A smaller tau makes 1 / (norm floor * tau) infinite, a larger one is infinite itself. */
#define HC_LEAST_TAU 3e-33f
#define HC_MOST_TAU 3e38f

enum hc_type { HC_FLOAT32 = 0, HC_FLOAT16 = 1, HC_BFLOAT16 = 2 };

/* dot, exclude, hard: 0 or 1 (similarity dot, not cosine; border exclude, not zero; assignment hard, not soft). */
struct hc_cluster_options {
    float tau;
    int dot, exclude, hard;
};

/* features [B,K,H,W], seeds [B,K,h,w] -> assignment [B,9,H,W] */
HC_API int hc_assign(const void* features, const void* seeds, void* assignment, int type, int B, int K, int H, int W,
                     struct hc_cluster_options options, void* stream);

/* coarse [B,C,h,w], assignment [B,9,H,W] -> decoded [B,C,H,W] */
HC_API int hc_decode(const void* coarse, const void* assignment, void* decoded, int type, int B, int C, int H, int W,
                     void* stream);

/* coarse [B,C,h,w], features [B,K,H,W], seeds [B,K,h,w] -> decoded [B,C,H,W] */
HC_API int hc_upsample(const void* coarse, const void* features, const void* seeds, void* decoded, int type, int B,
                       int C, int K, int H, int W, struct hc_cluster_options options, void* stream);

/* logits [B,C,h,w] -> labels int32 [B,H,W]; h and w are free of H and W here */
HC_API int hc_argmax(const void* logits, int* labels, int type, int B, int C, int h, int w, int H, int W, void* stream);

HC_API const char* hc_error_string(int error);

#ifdef __cplusplus
}
#endif
#endif
