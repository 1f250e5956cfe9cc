/* neon.c - inner loops for aarch64. INT8 gives the bits of scalar.c; FP32 sums in another order and with fused
 * multiply-adds. Cores with the dot product instruction (Armv8.2; Jetson Orin) use it: no sum can overflow there. */
#include "engine.h"

#if defined(__aarch64__)
#include "drive.h"
#include "drive_scatter.h"
#include "drive_sparse.h"
#include "follow.h"
#include <arm_neon.h>
#include <string.h>

/* ---- INT8
 * ------------------------------------------------------------------------------------------------------------- */

/* The sums of 8 outputs. */
typedef struct {
  int32x4_t low, high;
} sums;

/* (acc * mult + 2^(shift-1)) >> shift of 8 channels, clipped; the loader has proved that it fits into 32 bits. */
static inline int32x2_t scaled(int32x2_t acc, int32x2_t mult, int64x2_t right) {
  return vmovn_s64(vrshlq_s64(vmull_s32(acc, mult), right));
}

static inline int8x8_t requantize(sums acc, const int32_t *mult, int shift, int relu) {
  int64x2_t right = vdupq_n_s64(-shift);
  int32x4_t m = vld1q_s32(mult), n = vld1q_s32(mult + 4);
  int32x4_t low = vcombine_s32(scaled(vget_low_s32(acc.low), vget_low_s32(m), right),
                               scaled(vget_high_s32(acc.low), vget_high_s32(m), right));
  int32x4_t high = vcombine_s32(scaled(vget_low_s32(acc.high), vget_low_s32(n), right),
                                scaled(vget_high_s32(acc.high), vget_high_s32(n), right));
  int8x8_t y = vqmovn_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high)));
  return vmax_s8(y, vdup_n_s8(relu ? 0 : -127));
}

/* Four input channels, as often as fits. */
static inline int8x16_t load4(const int8_t *x) {
  int32_t v;
  memcpy(&v, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(v));
}

/* 4 channels times 8 outputs: products and their pairs fit into 16 bits, whatever the weights. */
static inline sums add_unit(sums s, int8x16_t x, const int8_t *w) {
  int8x8_t v = vget_low_s8(x);
  int16x8_t p = vmull_s8(vld1_s8(w), v), q = vmull_s8(vld1_s8(w + 8), v);
  s.low = vaddq_s32(s.low, vpaddq_s32(vpaddlq_s16(p), vpaddlq_s16(q)));
  p = vmull_s8(vld1_s8(w + 16), v), q = vmull_s8(vld1_s8(w + 24), v);
  s.high = vaddq_s32(s.high, vpaddq_s32(vpaddlq_s16(p), vpaddlq_s16(q)));
  return s;
}

#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))

DOTPROD static inline sums add_unit_dotprod(sums s, int8x16_t x, const int8_t *w) {
  s.low = vdotq_s32(s.low, vld1q_s8(w), x);
  s.high = vdotq_s32(s.high, vld1q_s8(w + 16), x);
  return s;
}

/* One specialisation per tile shape, so that the sums live in registers. The order of the places does not matter. */
#define TILE_INT8(name, add, target, P, B)                                                                             \
  target static __attribute__((noinline)) void name(const ek_dot *d, const ek_group *g, const walk *at) {              \
    sums acc[P][B];                                                                                                    \
    const int8_t *w = g->weights;                                                                                      \
    for (int p = 0; p < P; p++)                                                                                        \
      for (int b = 0; b < B; b++)                                                                                      \
        acc[p][b] =                                                                                                    \
            (sums){vld1q_s32((const int32_t *)g->bias + 8 * b), vld1q_s32((const int32_t *)g->bias + 8 * b + 4)};      \
    for (int k = 0; k < g->n_places; k++, w += 32 * B)                                                                 \
      for (int p = 0; p < P; p++) {                                                                                    \
        int8x16_t x = load4((const int8_t *)d->in + at[p].in + g->places[k]);                                          \
        for (int b = 0; b < B; b++)                                                                                    \
          acc[p][b] = add(acc[p][b], x, w + 32 * b);                                                                   \
      }                                                                                                                \
    for (int p = 0; p < P; p++)                                                                                        \
      for (int b = 0; b < B; b++)                                                                                      \
        vst1_s8((int8_t *)d->out + at[p].out + g->out_off[b],                                                          \
                requantize(acc[p][b], g->mult + 8 * b, d->shift, d->relu));                                            \
  }

TILE_INT8(i8_p1b1, add_unit, , 1, 1)
TILE_INT8(i8_p1b2, add_unit, , 1, 2)
TILE_INT8(i8_p1b4, add_unit, , 1, 4)
TILE_INT8(i8_p4b1, add_unit, , 4, 1)
TILE_INT8(i8_p4b2, add_unit, , 4, 2)
TILE_INT8(dot_p1b1, add_unit_dotprod, DOTPROD, 1, 1)
TILE_INT8(dot_p1b2, add_unit_dotprod, DOTPROD, 1, 2)
TILE_INT8(dot_p1b4, add_unit_dotprod, DOTPROD, 1, 4)
TILE_INT8(dot_p4b1, add_unit_dotprod, DOTPROD, 4, 1)
TILE_INT8(dot_p4b2, add_unit_dotprod, DOTPROD, 4, 2)

static void dot_int8(const void *args) {
  static const tiles all[2] = {{4, {0, i8_p4b1, i8_p4b2}}, {1, {0, i8_p1b1, i8_p1b2, 0, i8_p1b4}}};
  run_tiles(args, all);
}

static void dotprod_int8(const void *args) {
  static const tiles all[2] = {{4, {0, dot_p4b1, dot_p4b2}}, {1, {0, dot_p1b1, dot_p1b2, 0, dot_p1b4}}};
  run_tiles(args, all);
}

/* Blocks b to b + 7. */
static void columns_chunk(const ek_columns *c, int b) {
  const int8_t *w = (const int8_t *)c->weights + 8 * (int64_t)b;
  sums acc[EK_CHUNK / 8];
  const int8_t *values = c->list->values;
  const int32_t *index = c->list->index;
  const int32_t *bias = (const int32_t *)c->bias + 8 * b;

  for (int k = 0; k < EK_CHUNK / 8; k++)
    acc[k] = (sums){vld1q_s32(bias + 8 * k), vld1q_s32(bias + 8 * k + 4)};
  for (int run = 0, pair = 0; run < c->list->n; run++) {
    int16x8_t s[EK_CHUNK / 8];
    for (int k = 0; k < EK_CHUNK / 8; k++)
      s[k] = vdupq_n_s16(0);
    for (; pair < c->list->ends[run]; pair++) {
      int8x8_t x = vdup_n_s8(values[2 * pair]), y = vdup_n_s8(values[2 * pair + 1]);
      const int8_t *first = w + (int64_t)index[2 * pair] * c->row, *second = w + (int64_t)index[2 * pair + 1] * c->row;
      /* What the next chunk reads: more streams than the machine follows by itself. */
      __builtin_prefetch(first + EK_CHUNK);
      __builtin_prefetch(second + EK_CHUNK);
      for (int k = 0; k < EK_CHUNK / 8; k++) {
        s[k] = vmlal_s8(s[k], vld1_s8(first + 8 * k), x);
        s[k] = vmlal_s8(s[k], vld1_s8(second + 8 * k), y);
      }
    }
    for (int k = 0; k < EK_CHUNK / 8; k++) {
      acc[k].low = vaddw_s16(acc[k].low, vget_low_s16(s[k]));
      acc[k].high = vaddw_s16(acc[k].high, vget_high_s16(s[k]));
    }
  }
  for (int k = 0; k < EK_CHUNK / 8 && b + k < c->n_blocks; k++)
    vst1_s8((int8_t *)c->out + c->out_off[b + k], requantize(acc[k], c->mult + 8 * (b + k), c->shift, c->relu));
}

static void columns_int8(const void *args) {
  const ek_columns *c = args;
  ek_gather_int8(&c->inputs, c->in, c->list);
  for (int b = 0; b < c->n_blocks; b += EK_CHUNK / 8)
    columns_chunk(c, b);
}

/* ---- sparse 3x3 convolutions
 * ------------------------------------------------------------------------------------------ */

/* The sums of the 3 x 3 output pixels that see the current input pixel, row by row. */
typedef struct {
  sums at[9];
} window;

static inline void add_pair(window *s, int16_t first, int16_t second, const int16_t *w) {
#pragma GCC unroll 9
  for (int i = 0; i < 9; i++) {
    int16x8x2_t v = vld2q_s16(w + 16 * i);
    s->at[i].low = vmlal_n_s16(s->at[i].low, vget_low_s16(v.val[0]), first);
    s->at[i].high = vmlal_n_s16(s->at[i].high, vget_high_s16(v.val[0]), first);
    s->at[i].low = vmlal_n_s16(s->at[i].low, vget_low_s16(v.val[1]), second);
    s->at[i].high = vmlal_n_s16(s->at[i].high, vget_high_s16(v.val[1]), second);
  }
}

static inline void add_group(window *s, const ek_pairing *pairings, const int8_t *x, const int16_t *w) {
  static const uint8_t bits[8] = {1, 2, 4, 8, 16, 32, 64, 128};
  int8x8_t bytes = vld1_s8(x);
  const ek_pairing *p = &pairings[vaddv_u8(vand_u8(vtst_s8(bytes, bytes), vld1_u8(bits)))];
  int16_t values[8];
  vst1q_u8((uint8_t *)values, vqtbl1q_u8(vreinterpretq_u8_s16(vmovl_s8(bytes)), vld1q_u8(p->control)));
  for (int i = 0; i < p->n; i++)
    add_pair(s, values[2 * i], values[2 * i + 1], w + p->offset[i]);
}

static inline sums load_sums(const int32_t *p) {
  return (sums){vld1q_s32(p), vld1q_s32(p + 4)};
}

static inline void store_sums(int32_t *p, sums s) {
  vst1q_s32(p, s.low);
  vst1q_s32(p + 4, s.high);
}

/* One input row into three rows of sums, of which the last begins at the bias. */
static void scatter_row(const ek_scatter *c, const int8_t *x, const int16_t *w, const int32_t *bias,
                        int32_t *const rows[3]) {
  window s;
  sums start = load_sums(bias);
  for (int i = 0; i < 2; i++)
    s.at[i] = load_sums(rows[0] + 8 * i), s.at[3 + i] = load_sums(rows[1] + 8 * i), s.at[6 + i] = start;
  int width = c->in.shape.w;
  for (int i = 0; i < width; i++, x += c->in.pixel) {
    s.at[2] = load_sums(rows[0] + 8 * (i + 2)), s.at[5] = load_sums(rows[1] + 8 * (i + 2)), s.at[8] = start;
    for (int g = 0; g < c->in_groups; g++)
      add_group(&s, c->pairings, x + 8 * g, w + g * EK_PAIRS * EK_PAIR_WEIGHTS);
#pragma GCC unroll 3
    for (int r = 0; r < 3; r++) {
      store_sums(rows[r] + 8 * i, s.at[3 * r]);
      s.at[3 * r] = s.at[3 * r + 1], s.at[3 * r + 1] = s.at[3 * r + 2];
    }
  }
  for (int r = 0; r < 3; r++)
    store_sums(rows[r] + 8 * width, s.at[3 * r]), store_sums(rows[r] + 8 * (width + 1), s.at[3 * r + 1]);
}

static void finish_row(const ek_scatter *c, int block, int y, const int32_t *row) {
  int8_t *out = (int8_t *)c->out.data + (int64_t)y * c->out.row + 8 * block;
  for (int i = 0; i < c->out.shape.w; i++)
    vst1_s8(out + (int64_t)i * c->out.pixel,
            requantize(load_sums(row + 8 * i), c->mult + 8 * block, c->shift, c->relu));
}

static void scatter_int8(const void *args) {
  scatter_run(args, scatter_row, finish_row);
}

/* ---- FP32
 * ------------------------------------------------------------------------------------------------------------- */

#define TILE_FP32(name, P, B)                                                                                          \
  static __attribute__((noinline)) void name(const ek_dot *d, const ek_group *g, const walk *at) {                     \
    float32x4_t acc[P][2 * B];                                                                                         \
    const float *w = g->weights;                                                                                       \
    for (int p = 0; p < P; p++)                                                                                        \
      for (int b = 0; b < 2 * B; b++)                                                                                  \
        acc[p][b] = vld1q_f32((const float *)g->bias + 4 * b);                                                         \
    for (int k = 0; k < g->n_places; k++, w += 8 * B)                                                                  \
      for (int b = 0; b < 2 * B; b++) {                                                                                \
        float32x4_t v = vld1q_f32(w + 4 * b);                                                                          \
        for (int p = 0; p < P; p++)                                                                                    \
          acc[p][b] = vfmaq_n_f32(acc[p][b], v, ((const float *)d->in)[at[p].in + g->places[k]]);                      \
      }                                                                                                                \
    float32x4_t low = vdupq_n_f32(d->relu ? 0.0f : -__builtin_inff());                                                 \
    for (int p = 0; p < P; p++)                                                                                        \
      for (int b = 0; b < 2 * B; b++)                                                                                  \
        vst1q_f32((float *)d->out + at[p].out + g->out_off[b / 2] + 4 * (b % 2), vmaxq_f32(acc[p][b], low));           \
  }

TILE_FP32(f_p1b1, 1, 1)
TILE_FP32(f_p1b2, 1, 2)
TILE_FP32(f_p1b4, 1, 4)
TILE_FP32(f_p4b1, 4, 1)
TILE_FP32(f_p4b2, 4, 2)

static void dot_fp32(const void *args) {
  static const tiles all[2] = {{4, {0, f_p4b1, f_p4b2}}, {1, {0, f_p1b1, f_p1b2, 0, f_p1b4}}};
  run_tiles(args, all);
}

#define MULTIPLY_ADD(x, w, sum) ((x) * (w) + (sum))
JOINTS_INT8(joints_int8, , ek_follow_finish)
COLUMNS_FP32(columns_fp32, , ek_gather_fp32)
STAMP_FP32(stamp_fp32, , ek_gather_fp32)

/* ---- resize: rows along x once per input row, then two of them blended for every output row
 * ------------------------------ */

static void widen_int8(const ek_resize *r, int y, int16_t *row) {
  const int8_t *in = (const int8_t *)r->in.data + (int64_t)y * r->in.row;
  for (int x = 0; x < r->out.shape.w; x++) {
    const int8_t *a = in + (int64_t)r->tx[x].first * r->in.pixel, *b = in + (int64_t)r->tx[x].second * r->in.pixel;
    int16_t wb = (int16_t)r->tx[x].weight, wa = (int16_t)(256 - wb);
    for (int c = 0; c < r->out.pixel; c += 8) {
      int16x8_t sum = vmulq_n_s16(vmovl_s8(vld1_s8(a + c)), wa);
      vst1q_s16(row + x * r->out.pixel + c, vmlaq_n_s16(sum, vmovl_s8(vld1_s8(b + c)), wb));
    }
  }
}

static void blend_int8(const ek_resize *r, int y, const int16_t *a, const int16_t *b) {
  int n = r->out.shape.w * r->out.pixel;
  int16_t wb = (int16_t)r->ty[y].weight, wa = (int16_t)(256 - wb);
  int8_t *out = (int8_t *)r->out.data + (int64_t)y * r->out.row;
  for (int i = 0; i < n; i += 8) {
    int32x4_t low = vmlal_n_s16(vmull_n_s16(vld1_s16(a + i), wa), vld1_s16(b + i), wb);
    int32x4_t high = vmlal_n_s16(vmull_n_s16(vld1_s16(a + i + 4), wa), vld1_s16(b + i + 4), wb);
    int16x8_t words = vcombine_s16(vqmovn_s32(vrshrq_n_s32(low, 16)), vqmovn_s32(vrshrq_n_s32(high, 16)));
    vst1_s8(out + i, vqmovn_s16(words));
  }
}

static void mix(float *out, const float *a, const float *b, float fraction, int n) {
  for (int i = 0; i < n; i += 4) {
    float32x4_t va = vld1q_f32(a + i), vb = vld1q_f32(b + i);
    vst1q_f32(out + i, vfmaq_n_f32(va, vsubq_f32(vb, va), fraction));
  }
}

static void widen_fp32(const ek_resize *r, int y, float *row) {
  const float *in = (const float *)r->in.data + (int64_t)y * r->in.row;
  for (int x = 0; x < r->out.shape.w; x++)
    mix(row + x * r->out.pixel, in + (int64_t)r->tx[x].first * r->in.pixel, in + (int64_t)r->tx[x].second * r->in.pixel,
        r->tx[x].fraction, r->out.pixel);
}

static void blend_fp32(const ek_resize *r, int y, const float *a, const float *b) {
  mix((float *)r->out.data + (int64_t)y * r->out.row, a, b, r->ty[y].fraction, r->out.shape.w * r->out.pixel);
}

RESIZE(resize_int8, int16_t, widen_int8, blend_int8)
RESIZE(resize_fp32, float, widen_fp32, blend_fp32)

#define SHARED                                                                                                         \
  .dot_blocks = 2, .dot_fp32 = dot_fp32, .columns_fp32 = columns_fp32, .columns_int8 = columns_int8,                   \
  .stamp_fp32 = stamp_fp32, .scatter_int8 = scatter_int8, .resize_fp32 = resize_fp32, .resize_int8 = resize_int8,      \
  .joints_int8 = joints_int8, .follow_linear = ek_follow_linear_add, .follow_window = ek_follow_window_add,            \
  .follow_finish = ek_follow_finish, .upconv_fp32 = &ek_upconv_fp32, .upconv_int8 = &ek_upconv_int8

const ek_kernels ek_kernels_neon = {SHARED, .dot_int8 = dot_int8};
const ek_kernels ek_kernels_dotprod = {SHARED, .dot_int8 = dotprod_int8};
#endif
