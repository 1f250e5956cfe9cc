/* layers.cuh - the steps of a decoder. Every sum of int8 is exact, so threads may share it in any way; floats are added
 * in the order of the threads, and fused multiply-adds are written out: the file is compiled without contraction. */
#ifndef EK_CUDA_LAYERS_CUH
#define EK_CUDA_LAYERS_CUH

#include "device.h"
#include "../native/sine.h"

/* What a thread sees of a tick. */
struct ek_tick {
  const uint32_t *image;
  uint32_t *arena, *shared;
  const ek_gpu_input *in;
  ek_gpu_output *out;
};

/* A thread's place among those that do a step: warps are dealt to the blocks in turn, so that a small step is spread
 * over the whole GPU. */
struct ek_worker {
  int id, n;
};

EK_DEVICE ek_worker ek_worker_of(const ek_gpu_step *s) {
  ek_worker w = {(int)threadIdx.x, (int)blockDim.x};
  if (!s->alone) {
    int warp = (int)threadIdx.x / 32;
    w.id = (warp * (int)gridDim.x + (int)blockIdx.x) * 32 + (int)threadIdx.x % 32;
    w.n = (int)(blockDim.x * gridDim.x);
  }
  return w;
}

EK_DEVICE uint32_t *ek_map_at(const ek_tick *t, const ek_gpu_map *m) {
  return (m->shared ? t->shared : t->arena) + m->data;
}

template <class T> EK_DEVICE const T *ek_constant(const ek_tick *t, int at) {
  return reinterpret_cast<const T *>(t->image + at);
}

/* ---- elements ---------------------------------------------------------------------------------------------------- */

struct ek_int8 {
  typedef int32_t value;
  enum { PER_BLOCK = 1 }; /* words of four channels */
  static EK_DEVICE value get(const uint32_t *words, int i) { return reinterpret_cast<const int8_t *>(words)[i]; }
  static EK_DEVICE void put(uint32_t *words, int i, value v) { reinterpret_cast<int8_t *>(words)[i] = (int8_t)v; }
  static EK_DEVICE value add(value sum, uint32_t x, uint32_t w) { return ek_dp4a(x, w, sum); }
  /* Of two inputs in 16 bits. */
  static EK_DEVICE value add_joints(value sum, uint32_t x, uint32_t w) {
    sum += (int16_t)(x & 0xffffu) * (int16_t)(w & 0xffffu);
    return sum + ((int32_t)x >> 16) * ((int32_t)w >> 16);
  }
  static EK_DEVICE value of_input(float x, float scale) {
    float level = rintf(x / scale);
    return (value)(level > 32767 ? 32767 : level < -32767 ? -32767 : level);
  }
  static EK_DEVICE void put_input(uint32_t *words, int i, value v) {
    reinterpret_cast<int16_t *>(words)[i] = (int16_t)v;
  }
  static EK_DEVICE value clip(int32_t y, int relu) {
    int32_t low = relu ? 0 : -127;
    return y > 127 ? 127 : y < low ? low : y;
  }
  static EK_DEVICE value finish(const ek_tick *t, const ek_gpu_step *s, value sum, int channel) {
    int64_t acc = sum + ek_constant<int32_t>(t, s->bias)[channel];
    int64_t y = (acc * ek_constant<int32_t>(t, s->mult)[channel] + (INT64_C(1) << (s->shift - 1))) >> s->shift;
    return clip(y > 127 ? 127 : y < -127 ? -127 : (int32_t)y, s->relu);
  }
};

struct ek_real {
  typedef float value;
  static EK_DEVICE value of_input(float x, float) { return x; }
  static EK_DEVICE value add_joints(value sum, uint32_t, uint32_t) { return sum; } /* in these they are as any input */
  static EK_DEVICE value finish(const ek_tick *t, const ek_gpu_step *s, value sum, int channel) {
    float v = sum + ek_constant<float>(t, s->bias)[channel];
    return s->relu && !(v > 0) ? 0 : v;
  }
};

struct ek_fp16 : ek_real {
  enum { PER_BLOCK = 2 };
  static EK_DEVICE value get(const uint32_t *words, int i) {
    return ek_float(reinterpret_cast<const uint16_t *>(words)[i]);
  }
  static EK_DEVICE void put(uint32_t *words, int i, value v) { reinterpret_cast<uint16_t *>(words)[i] = ek_half(v); }
  static EK_DEVICE void put_input(uint32_t *words, int i, value v) { put(words, i, v); }
  static EK_DEVICE value add(value sum, uint32_t x, uint32_t w) {
    sum = fmaf(ek_float(x & 0xffffu), ek_float(w & 0xffffu), sum);
    return fmaf(ek_float(x >> 16), ek_float(w >> 16), sum);
  }
};

struct ek_fp32 : ek_real {
  enum { PER_BLOCK = 4 };
  static EK_DEVICE value get(const uint32_t *words, int i) { return reinterpret_cast<const float *>(words)[i]; }
  static EK_DEVICE void put(uint32_t *words, int i, value v) { reinterpret_cast<float *>(words)[i] = v; }
  static EK_DEVICE void put_input(uint32_t *words, int i, value v) { put(words, i, v); }
  static EK_DEVICE value add(value sum, uint32_t x, uint32_t w) { return fmaf(get(&x, 0), get(&w, 0), sum); }
};

/* ---- the first layer: engines/native/input.c, operation by operation ------------------------------------------- */

template <class T> EK_DEVICE void ek_step_input(const ek_tick *t, const ek_gpu_step *s) {
  ek_worker w = ek_worker_of(s);
  uint32_t *out = ek_map_at(t, &s->out);
  for (int i = w.id; i < s->n; i += w.n) {
    float x = 0;
    if (i < s->out.c)
      x = s->sincos ? (float)ek_sine(t->in->joints[i % s->in.c], i >= s->in.c) : t->in->joints[i];
    T::put_input(out, i, T::of_input(x, s->scale));
  }
}

/* ---- linear, conv, convt, stamps --------------------------------------------------------------------------------- */

/* Four sums in each of the lanes become one: that of output lane % 4. */
template <class V> EK_DEVICE V ek_fold(const V *sum, int lane, int lanes) {
  int upper = lane & 2, odd = lane & 1;
  V a = upper ? sum[2] : sum[0], b = upper ? sum[3] : sum[1];
  a += ek_other(upper ? sum[0] : sum[2], 2), b += ek_other(upper ? sum[1] : sum[3], 2);
  V total = odd ? b : a;
  total += ek_other(odd ? a : b, 1);
  for (int step = 4; step < lanes; step *= 2)
    total += ek_other(total, step);
  return total;
}

EK_DEVICE const ek_gpu_phase *ek_phase_of(const ek_tick *t, const ek_gpu_step *s, int item) {
  const ek_gpu_phase *p = ek_constant<ek_gpu_phase>(t, s->phases);
  for (int i = 1; i < s->n_phases && item >= p[1].first_item; i++)
    p++;
  return p;
}

/* s->lanes threads share the places of one item: an output pixel's block of four. STAMP: sums become 16 bits. */
template <class T, bool STAMP> EK_DEVICE void ek_step_dot(const ek_tick *t, const ek_gpu_step *s) {
  typedef typename T::value V;
  ek_worker w = ek_worker_of(s);
  const uint32_t *in = ek_map_at(t, &s->in);
  uint32_t *out = ek_map_at(t, &s->out);
  int lanes = s->lanes, lane = w.id % lanes, groups = w.n / lanes, first = w.id / 32 * (32 / lanes);
  for (int base = 0; base + first < s->n; base += groups) { /* the same turns for a whole warp */
    int item = base + w.id / lanes, live = item < s->n;
    item = live ? item : s->n - 1;
    const ek_gpu_phase *p = ek_phase_of(t, s, item);
    int at = item - p->first_item, block = at / p->pixels, pixel = at % p->pixels;
    int y = pixel / p->cols, x = pixel % p->cols;
    const uint32_t *origin = in + y * s->in.row + x * s->in.pixel;
    const int32_t *places = ek_constant<int32_t>(t, p->places);
    const uint4 *weights = ek_constant<uint4>(t, p->weights) + block * p->n_places;
    V sum[4] = {0, 0, 0, 0};
    int k = lane;
#pragma unroll 1
    for (; !STAMP && s->kind == EK_GPU_JOINTS_DOT && k < p->n_places; k += lanes) {
      uint32_t word = origin[ek_load(places + k)];
      uint4 four = ek_load(weights + k);
      sum[0] = T::add_joints(sum[0], word, four.x), sum[1] = T::add_joints(sum[1], word, four.y);
      sum[2] = T::add_joints(sum[2], word, four.z), sum[3] = T::add_joints(sum[3], word, four.w);
    }
#pragma unroll 4
    for (; k < p->n_places; k += lanes) {
      uint32_t word = origin[ek_load(places + k)];
      uint4 four = ek_load(weights + k);
      sum[0] = T::add(sum[0], word, four.x), sum[1] = T::add(sum[1], word, four.y);
      sum[2] = T::add(sum[2], word, four.z), sum[3] = T::add(sum[3], word, four.w);
    }
    V total = ek_fold(sum, lane, lanes);
    if (!live || lane >= 4)
      continue;
    uint32_t *to = out + p->out + y * s->out_row + x * s->out_pixel + ek_constant<int32_t>(t, s->offsets)[block];
    if (!STAMP)
      T::put(to, lane, T::finish(t, s, total, 4 * block + lane));
    else if (sizeof(V) == sizeof(float) && T::PER_BLOCK == 1)
      reinterpret_cast<int16_t *>(to)[lane] = (int16_t)(((int32_t)total + (1 << s->shift >> 1)) >> s->shift);
    else
      reinterpret_cast<float *>(to)[lane] = (float)total;
  }
}

/* ---- a 3x3 convolution of an enlarged map: docs/formats.md ------------------------------------------------------- */

EK_DEVICE int32_t ek_scaled(int32_t x, int32_t y) {
  return (x * y + (1 << 14)) >> 15;
}
EK_DEVICE int32_t ek_between(int32_t a, int32_t b, const ek_gpu_tap *tap) {
  return a + ek_scaled(b - a, tap->fine);
}
EK_DEVICE float ek_between(float a, float b, const ek_gpu_tap *tap) {
  return fmaf(b - a, tap->fraction, a);
}
EK_DEVICE int32_t ek_stamped(const uint32_t *stamp, int i, int32_t) {
  return reinterpret_cast<const int16_t *>(stamp)[i];
}
EK_DEVICE float ek_stamped(const uint32_t *stamp, int i, float) {
  return reinterpret_cast<const float *>(stamp)[i];
}

EK_DEVICE int32_t ek_blend_end(const ek_tick *t, const ek_gpu_step *s, int32_t sum, int channel) {
  int32_t v = sum + ek_constant<int32_t>(t, s->bias)[channel];
  v = v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v;
  return ek_int8::clip(ek_scaled(v, ek_constant<int32_t>(t, s->mult)[channel]), s->relu);
}
EK_DEVICE float ek_blend_end(const ek_tick *t, const ek_gpu_step *s, float sum, int channel) {
  return ek_real::finish(t, s, sum, channel);
}

/* Adds an input row, enlarged along x and summed over the kernel's columns, for four channels. */
template <class V>
EK_DEVICE void ek_along_x(const uint32_t *stamps, const ek_gpu_step *s, const ek_gpu_tap *tx, int x, int words,
                          V *sum) {
  for (int kx = 0; kx < 3; kx++) {
    if (x + kx < 1 || x + kx > s->out.w)
      continue;
    const ek_gpu_tap *tap = &tx[x + kx - 1];
    const uint32_t *a = stamps + tap->first * s->in.pixel + kx * words;
    const uint32_t *b = stamps + tap->second * s->in.pixel + kx * words;
    for (int i = 0; i < 4; i++)
      sum[i] += ek_between(ek_stamped(a, i, V()), ek_stamped(b, i, V()), tap);
  }
}

template <class T> EK_DEVICE void ek_step_blend(const ek_tick *t, const ek_gpu_step *s) {
  typedef typename T::value V;
  ek_worker w = ek_worker_of(s);
  const int of_block = T::PER_BLOCK == 1 ? 2 : 4, words = s->n_blocks * of_block; /* of a stamp's block, of a place */
  const ek_gpu_tap *ty = ek_constant<ek_gpu_tap>(t, s->ty), *tx = ek_constant<ek_gpu_tap>(t, s->tx);
  int pixels = s->out.h * s->out.w;
  for (int item = w.id; item < s->n; item += w.n) {
    int block = item / pixels, y = item % pixels / s->out.w, x = item % s->out.w;
    const uint32_t *stamps = ek_map_at(t, &s->in) + block * of_block;
    V sum[4] = {0, 0, 0, 0};
    for (int ky = 0; ky < 3; ky++) {
      if (y + ky < 1 || y + ky > s->out.h)
        continue;
      const ek_gpu_tap *tap = &ty[y + ky - 1];
      V a[4] = {0, 0, 0, 0}, b[4] = {0, 0, 0, 0};
      ek_along_x(stamps + tap->first * s->in.row + 3 * ky * words, s, tx, x, words, a);
      ek_along_x(stamps + tap->second * s->in.row + 3 * ky * words, s, tx, x, words, b);
      for (int i = 0; i < 4; i++)
        sum[i] += ek_between(a[i], b[i], tap);
    }
    uint32_t *to = ek_map_at(t, &s->out) + y * s->out.row + x * s->out.pixel + block * T::PER_BLOCK;
    for (int i = 0; i < 4; i++)
      T::put(to, i, ek_blend_end(t, s, sum[i], 4 * block + i));
  }
}

/* ---- layers without weights -------------------------------------------------------------------------------------- */

EK_DEVICE int32_t ek_bilinear(int32_t a, int32_t b, int32_t c, int32_t d, const ek_gpu_tap *ty, const ek_gpu_tap *tx) {
  int32_t upper = a * (256 - tx->weight) + b * tx->weight, lower = c * (256 - tx->weight) + d * tx->weight;
  return (upper * (256 - ty->weight) + lower * ty->weight + (1 << 15)) >> 16;
}
EK_DEVICE float ek_bilinear(float a, float b, float c, float d, const ek_gpu_tap *ty, const ek_gpu_tap *tx) {
  float fy = ty->fraction, fx = tx->fraction;
  float left = a * (1 - fy) + c * fy, right = b * (1 - fy) + d * fy;
  return left * (1 - fx) + right * fx;
}

template <class T> EK_DEVICE void ek_step_resize(const ek_tick *t, const ek_gpu_step *s) {
  ek_worker w = ek_worker_of(s);
  const ek_gpu_tap *taps_y = ek_constant<ek_gpu_tap>(t, s->ty), *taps_x = ek_constant<ek_gpu_tap>(t, s->tx);
  int pixels = s->out.h * s->out.w;
  for (int item = w.id; item < s->n; item += w.n) {
    int block = item / pixels, y = item % pixels / s->out.w, x = item % s->out.w;
    const ek_gpu_tap *ty = &taps_y[y], *tx = &taps_x[x];
    const uint32_t *in = ek_map_at(t, &s->in) + block * T::PER_BLOCK;
    const uint32_t *upper = in + ty->first * s->in.row, *lower = in + ty->second * s->in.row;
    int left = tx->first * s->in.pixel, right = tx->second * s->in.pixel;
    uint32_t *to = ek_map_at(t, &s->out) + y * s->out.row + x * s->out.pixel + block * T::PER_BLOCK;
    for (int i = 0; i < 4; i++)
      T::put(to, i,
             ek_bilinear(T::get(upper + left, i), T::get(upper + right, i), T::get(lower + left, i),
                         T::get(lower + right, i), ty, tx));
  }
}

/* Where element (c, y, x) of a crop, reshape or shuffle comes from. */
EK_DEVICE void ek_source(const ek_gpu_step *s, int *c, int *y, int *x) {
  if (s->kind == EK_GPU_RESHAPE) {
    int flat = (*c * s->out.h + *y) * s->out.w + *x, plane = s->in.h * s->in.w;
    *c = flat / plane, *y = flat % plane / s->in.w, *x = flat % s->in.w;
  } else if (s->kind == EK_GPU_SHUFFLE) {
    int f = s->factor;
    *c = *c * f * f + *y % f * f + *x % f, *y /= f, *x /= f;
  }
}

template <class T> EK_DEVICE void ek_step_move(const ek_tick *t, const ek_gpu_step *s) {
  ek_worker w = ek_worker_of(s);
  const uint32_t *in = ek_map_at(t, &s->in);
  int pixels = s->out.h * s->out.w;
  for (int item = w.id; item < s->n; item += w.n) {
    int block = item / pixels, y = item % pixels / s->out.w, x = item % s->out.w;
    uint32_t *to = ek_map_at(t, &s->out) + y * s->out.row + x * s->out.pixel + block * T::PER_BLOCK;
    for (int i = 0; i < 4; i++) {
      int c = 4 * block + i, from_y = y, from_x = x, inside = c < s->out.c;
      ek_source(s, &c, &from_y, &from_x);
      T::put(to, i, inside ? T::get(in + from_y * s->in.row + from_x * s->in.pixel, c) : 0);
    }
  }
}

#endif
