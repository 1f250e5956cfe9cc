/* drive_upconv.h - what the loops over an enlarged map share, and those of FP32; a file that includes it says what
 * MULTIPLY_ADD(x, w, sum) is in its instruction set. */
#ifndef EK_NATIVE_DRIVE_UPCONV_H
#define EK_NATIVE_DRIVE_UPCONV_H

#include "engine.h"
#include "lanes.h"

enum { EK_STAMP = 9 * 8 }; /* elements that an input pixel becomes */

/* The kernel places whose output index lies inside [0, size): output index at + k - 1. */
static inline int first_place(int at) {
  return at == 0;
}
static inline int end_place(int at, int size) {
  return at + 1 < size ? 3 : 2;
}

#define UPCONV_FP32(name, target)                                                                                      \
  target static void stamp_fp32(const ek_upconv *u, int y, int begin, int end) {                                       \
    const float *x = (const float *)u->in.data + (int64_t)y * u->in.row + begin * u->in.pixel;                         \
    ek_lanes *out = (ek_lanes *)u->stamps[y] + 9 * begin;                                                              \
    int channels = u->in.shape.c;                                                                                      \
    for (int i = begin; i < end; i++, x += u->in.pixel, out += 9) {                                                    \
      const ek_lanes *w = u->weights;                                                                                  \
      ek_lanes sum[9] = {{0}};                                                                                         \
      for (int c = 0; c < channels; c++, w += 9) {                                                                     \
        ek_lanes v = x[c] - (ek_lanes){0};                                                                             \
        _Pragma("GCC unroll 9") for (int k = 0; k < 9; k++) sum[k] = MULTIPLY_ADD(v, w[k], sum[k]);                    \
      }                                                                                                                \
      _Pragma("GCC unroll 9") for (int k = 0; k < 9; k++) out[k] = sum[k];                                             \
    }                                                                                                                  \
  }                                                                                                                    \
  target static void widen_fp32(const ek_upconv *u, int y, int begin, int end) {                                       \
    int width = u->out.shape.w;                                                                                        \
    const ek_lanes *stamps = u->stamps[y];                                                                             \
    ek_lanes *out = u->rows[y];                                                                                        \
    for (int x = begin; x < end; x++) {                                                                                \
      ek_lanes sum[3] = {{0}};                                                                                         \
      for (int kx = first_place(x); kx < end_place(x, width); kx++) {                                                  \
        const ek_tap *t = &u->tx[x + kx - 1];                                                                          \
        const ek_lanes *a = stamps + 9 * t->first + 3 * kx, *b = stamps + 9 * t->second + 3 * kx;                      \
        ek_lanes f = t->fraction - (ek_lanes){0};                                                                      \
        _Pragma("GCC unroll 3") for (int ky = 0; ky < 3; ky++) sum[ky] += MULTIPLY_ADD(f, b[ky] - a[ky], a[ky]);       \
      }                                                                                                                \
      for (int ky = 0; ky < 3; ky++)                                                                                   \
        out[(int64_t)ky * width + x] = sum[ky];                                                                        \
    }                                                                                                                  \
  }                                                                                                                    \
  target static void blend_fp32(const ek_upconv *u, int y, int begin, int end) {                                       \
    int width = u->out.shape.w, height = u->out.shape.h;                                                               \
    float *out = (float *)u->out.data + (int64_t)y * u->out.row + begin * u->out.pixel;                                \
    for (int x = begin; x < end; x++, out += u->out.pixel) {                                                           \
      ek_lanes sum = *(const ek_lanes *)u->bias;                                                                       \
      for (int ky = first_place(y); ky < end_place(y, height); ky++) {                                                 \
        const ek_tap *t = &u->ty[y + ky - 1];                                                                          \
        ek_lanes a = ((const ek_lanes *)u->rows[t->first])[(int64_t)ky * width + x];                                   \
        ek_lanes b = ((const ek_lanes *)u->rows[t->second])[(int64_t)ky * width + x];                                  \
        sum += MULTIPLY_ADD(t->fraction - (ek_lanes){0}, b - a, a);                                                    \
      }                                                                                                                \
      if (u->relu)                                                                                                     \
        sum = POSITIVE(sum);                                                                                           \
      memcpy(out, &sum, sizeof sum);                                                                                   \
    }                                                                                                                  \
  }                                                                                                                    \
  const ek_upconv_loops name = {stamp_fp32, widen_fp32, blend_fp32};

#endif
