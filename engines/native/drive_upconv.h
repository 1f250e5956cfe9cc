/* drive_upconv.h - walks over the convolution of an enlarged map, and its FP32 loops; a file that includes it says what
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

/* Output rows ask for input rows in ascending order; three of them are alive at a time, as the map at least doubles. */
#define UPCONV(name, stamp, widen, blend)                                                                              \
  void name(const void *args) {                                                                                        \
    const ek_upconv *u = args;                                                                                         \
    int height = u->out.shape.h;                                                                                       \
    for (int y = 0, done = 0; y < height; y++) {                                                                       \
      int last = u->ty[y + 1 < height ? y + 1 : y].second;                                                             \
      for (; done <= last; done++) {                                                                                   \
        stamp(u, done);                                                                                                \
        widen(u, u->rows[done % 4]);                                                                                   \
      }                                                                                                                \
      blend(u, y);                                                                                                     \
    }                                                                                                                  \
  }

#define UPCONV_FP32(name, target)                                                                                      \
  target static void stamp_fp32(const ek_upconv *u, int y) {                                                           \
    const float *x = (const float *)u->in.data + (int64_t)y * u->in.row;                                               \
    ek_lanes *out = u->stamps;                                                                                         \
    int channels = u->in.shape.c;                                                                                      \
    for (int i = 0; i < u->in.shape.w; i++, x += u->in.pixel, out += 9) {                                              \
      const ek_lanes *w = u->weights;                                                                                  \
      ek_lanes sum[9] = {{0}};                                                                                         \
      for (int c = 0; c < channels; c++, w += 9) {                                                                     \
        ek_lanes v = x[c] - (ek_lanes){0};                                                                             \
        _Pragma("GCC unroll 9") for (int k = 0; k < 9; k++) sum[k] = MULTIPLY_ADD(v, w[k], sum[k]);                    \
      }                                                                                                                \
      _Pragma("GCC unroll 9") for (int k = 0; k < 9; k++) out[k] = sum[k];                                             \
    }                                                                                                                  \
  }                                                                                                                    \
  target static void widen_fp32(const ek_upconv *u, void *row) {                                                       \
    int width = u->out.shape.w;                                                                                        \
    const ek_lanes *stamps = u->stamps;                                                                                \
    ek_lanes *out = row;                                                                                               \
    for (int x = 0; x < width; x++) {                                                                                  \
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
  target static void blend_fp32(const ek_upconv *u, int y) {                                                           \
    int width = u->out.shape.w, height = u->out.shape.h;                                                               \
    float *out = (float *)u->out.data + (int64_t)y * u->out.row;                                                       \
    for (int x = 0; x < width; x++, out += u->out.pixel) {                                                             \
      ek_lanes sum = *(const ek_lanes *)u->bias;                                                                       \
      for (int ky = first_place(y); ky < end_place(y, height); ky++) {                                                 \
        const ek_tap *t = &u->ty[y + ky - 1];                                                                          \
        ek_lanes a = ((const ek_lanes *)u->rows[t->first % 4])[(int64_t)ky * width + x];                               \
        ek_lanes b = ((const ek_lanes *)u->rows[t->second % 4])[(int64_t)ky * width + x];                              \
        sum += MULTIPLY_ADD(t->fraction - (ek_lanes){0}, b - a, a);                                                    \
      }                                                                                                                \
      if (u->relu)                                                                                                     \
        sum = POSITIVE(sum);                                                                                           \
      memcpy(out, &sum, sizeof sum);                                                                                   \
    }                                                                                                                  \
  }                                                                                                                    \
  UPCONV(name, stamp_fp32, widen_fp32, blend_fp32)

#endif
