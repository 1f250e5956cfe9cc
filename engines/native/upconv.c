/* upconv.c - 3x3 convolutions of enlarged maps: their packing, and loops that every instruction set can run.
 *
 * Enlarging and convolving are both linear, so sum_k w_k shift_k(enlarge(x)) = sum_k shift_k(enlarge(w_k x)): the many
 * multiplications are done before there are many pixels. On 30x30 pixels that become 100x100 they are an eleventh. */
#include "../core/status.h"
#include <string.h>
#include "drive_upconv.h"

#define MULTIPLY_ADD(x, w, sum) ((x) * (w) + (sum))

typedef int16_t words __attribute__((vector_size(16)));
typedef int32_t sums __attribute__((vector_size(32)));

/* (x * y + 2^14) >> 15 of 16-bit numbers. */
static inline void scale(words *x, const words *y) {
  sums product = __builtin_convertvector(*x, sums) * __builtin_convertvector(*y, sums);
  *x = __builtin_convertvector((product + (1 << 14)) >> 15, words);
}

/* Adds what lies between two points of 8 channels. */
static inline void add_between(words *sum, const int16_t *first, const int16_t *second, const ek_tap *t) {
  words a, b, fraction = (words){0} + (int16_t)ek_upconv_fraction(t->fraction);
  memcpy(&a, first, sizeof a);
  memcpy(&b, second, sizeof b);
  b -= a;
  scale(&b, &fraction);
  *sum += a + b;
}

/* Rounded and shifted to the right. */
static inline void narrow(int16_t *p, const sums *s, int right) {
  words w = __builtin_convertvector((*s + (1 << right >> 1)) >> right, words);
  memcpy(p, &w, sizeof w);
}

static void stamp_int8(const ek_upconv *u, int y, int begin, int end) {
  const int8_t *x = (const int8_t *)u->in.data + (int64_t)y * u->in.row + begin * u->in.pixel;
  int16_t *out = (int16_t *)u->stamps[y] + EK_STAMP * begin;
  for (int i = begin; i < end; i++, x += u->in.pixel, out += EK_STAMP) {
    const sums *w = u->weights; /* two int16 in each lane */
    sums sum[9] = {{0}};
    for (int c = 0; c < u->in.shape.c; c += 2, w += 9) {
      if (!x[c] && !x[c + 1])
        continue;
      for (int k = 0; k < 9; k++)
        sum[k] += (w[k] << 16 >> 16) * x[c] + (w[k] >> 16) * x[c + 1];
    }
    for (int k = 0; k < 9; k++)
      narrow(out + 8 * k, &sum[k], u->sum_shift);
  }
}

static void widen_int8(const ek_upconv *u, int y, int begin, int end) {
  int width = u->out.shape.w;
  const int16_t *stamps = u->stamps[y];
  for (int x = begin; x < end; x++)
    for (int ky = 0; ky < 3; ky++) {
      words sum = {0};
      for (int kx = first_place(x); kx < end_place(x, width); kx++) {
        const ek_tap *t = &u->tx[x + kx - 1];
        int place = 8 * (3 * kx + ky);
        add_between(&sum, stamps + EK_STAMP * t->first + place, stamps + EK_STAMP * t->second + place, t);
      }
      memcpy((int16_t *)u->rows[y] + 8 * ((int64_t)ky * width + x), &sum, sizeof sum);
    }
}

static void blend_int8(const ek_upconv *u, int y, int begin, int end) {
  int width = u->out.shape.w, height = u->out.shape.h;
  int8_t *out = (int8_t *)u->out.data + (int64_t)y * u->out.row + begin * u->out.pixel;
  for (int x = begin; x < end; x++, out += u->out.pixel) {
    words sum = {0};
    for (int ky = first_place(y); ky < end_place(y, height); ky++) {
      const ek_tap *t = &u->ty[y + ky - 1];
      int64_t at = 8 * ((int64_t)ky * width + x);
      add_between(&sum, (const int16_t *)u->rows[t->first] + at, (const int16_t *)u->rows[t->second] + at, t);
    }
    for (int i = 0; i < 8; i++) {
      int v = sum[i] + ((const int16_t *)u->bias)[i], low = u->relu ? 0 : -127;
      v = v > INT16_MAX ? INT16_MAX : v < INT16_MIN ? INT16_MIN : v;
      v = (v * u->mult[i] + (1 << 14)) >> 15;
      out[i] = (int8_t)(v > 127 ? 127 : v < low ? low : v);
    }
  }
}

const ek_upconv_loops ek_upconv_int8 = {stamp_int8, widen_int8, blend_int8};
UPCONV_FP32(ek_upconv_fp32, )

/* Output rows ask for input rows in ascending order; three of them are alive at a time, as the map at least doubles. */
enum { ALIVE = 4 };

static void run(const void *args) {
  const ek_upconv *u = args;
  int height = u->out.shape.h, width = u->out.shape.w;
  for (int y = 0, done = 0; y < height; y++) {
    int last = u->ty[y + 1 < height ? y + 1 : y].second;
    for (; done <= last; done++) {
      u->loops->stamp(u, done, 0, u->in.shape.w);
      u->loops->widen(u, done, 0, width);
    }
    u->loops->blend(u, y, 0, width);
  }
}

/* ---- packing
 * ---------------------------------------------------------------------------------------------------------- */

static void pack(const ek_layer *l, int first, int int8, void *weights) {
  for (int c = 0; c < l->in.c; c++)
    for (int k = 0; k < 9; k++)
      for (int i = 0; i < 8 && first + i < l->out.c; i++) {
        int64_t from = ek_weight_index(l, first + i, c, k % 3, k / 3);
        if (int8)
          ((int16_t *)weights)[((c / 2 * 9 + k) * 8 + i) * 2 + c % 2] = (int8_t)l->weight[from];
        else
          memcpy((float *)weights + (c * 9 + k) * 8 + i, l->weight + 4 * from, 4);
      }
}

static int make_block(ek_engine *e, const ek_layer *l, int first, const ek_upconv *shared, ek_upconv *u) {
  int int8 = e->info.precision == EK_PRECISION_INT8;
  int n = l->out.c - first < 8 ? l->out.c - first : 8;
  void *weights = ek_pool(e, EK_STAMP * 4 * (int64_t)l->in.c + 4 * EK_STAMP);
  char *bias = ek_pool(e, 32), *mult = ek_pool(e, 32);
  if (!weights || !bias || !mult)
    return EK_E_MEMORY;
  for (int i = 0; int8 && i < n; i++) {
    ((int16_t *)mult)[i] = ek_upconv_mult(l, shared->sum_shift, first + i);
    ((int16_t *)bias)[i] = ek_upconv_bias(l, shared->sum_shift, first + i);
  }
  if (!int8)
    memcpy(bias, l->bias + 4 * (int64_t)first, 4 * (size_t)n);
  pack(l, first, int8, weights);
  *u = *shared;
  u->weights = weights, u->bias = bias, u->mult = (const int16_t *)mult;
  u->out.data = (char *)shared->out.data + first * (int8 ? 1 : 4);
  return EK_OK;
}

/* A table of `rows` pointers to so many buffers, used in turn. */
static void **row_buffers(ek_engine *e, int rows, int buffers, int64_t bytes) {
  void **table = ek_pool(e, (int64_t)sizeof *table * rows);
  for (int i = 0; table && i < rows; i++) {
    table[i] = i < buffers ? ek_pool(e, bytes) : table[i % buffers];
    if (!table[i])
      return NULL;
  }
  return table;
}

int ek_upconv_buffers(ek_engine *e, ek_upconv *u, int stamps, int rows) {
  int64_t bytes = e->info.precision == EK_PRECISION_INT8 ? 2 : 4;
  u->stamps = row_buffers(e, u->in.shape.h, stamps, EK_STAMP * bytes * u->in.shape.w);
  u->rows = row_buffers(e, u->in.shape.h, rows, 3 * 8 * bytes * u->out.shape.w);
  return u->stamps && u->rows ? EK_OK : EK_E_MEMORY;
}

int ek_push_upconv(ek_engine *e, const ek_layer *l, const ek_map *in, const ek_map *out, const ek_upconv_loops *loops) {
  int int8 = e->info.precision == EK_PRECISION_INT8, n_blocks = (l->out.c + 7) / 8;
  ek_upconv shared = {.in = *in, .out = *out, .relu = l->relu, .loops = loops};
  ek_upconv *blocks = ek_pool(e, (int64_t)sizeof *blocks * n_blocks);
  shared.sum_shift = int8 ? ek_upconv_shift(l) : 0;
  shared.ty = ek_resize_taps(e, in->shape.h, l->in.h);
  shared.tx = ek_resize_taps(e, in->shape.w, l->in.w);
  if (!blocks || !shared.ty || !shared.tx || ek_upconv_buffers(e, &shared, 1, ALIVE))
    return EK_E_MEMORY;
  for (int i = 0; i < n_blocks; i++) {
    int status = make_block(e, l, 8 * i, &shared, &blocks[i]);
    status = status ? status : ek_push(e, run, &blocks[i]);
    if (status)
      return status;
  }
  return int8 ? ek_plan_follow_upconv(e, blocks, n_blocks) : EK_OK;
}
