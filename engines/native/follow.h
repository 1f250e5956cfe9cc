/* follow.h - layers that follow their input. From one frame to the next little of it changes, and sums of INT8 products
 * are exact in any order: what has changed is added to the sums of the frame before, and the bits are the same. */
#ifndef EK_NATIVE_FOLLOW_H
#define EK_NATIVE_FOLLOW_H

#include "engine.h"
#include <string.h>

/* Which columns of some rows have changed: bits, so many words of 64 to a row. */
typedef struct {
  uint64_t *bits;
  int32_t rows, words;
} ek_marks;

int ek_make_marks(ek_engine *e, int rows, int columns, ek_marks *marks);
/* Columns [begin, end) of so many rows from `row` on. */
static inline void ek_mark(const ek_marks *m, int row, int rows, int begin, int end) {
  for (int next; begin < end; begin = next) {
    next = (begin / 64 + 1) * 64;
    next = next < end ? next : end;
    uint64_t run = ~UINT64_C(0) >> (64 - (next - begin)) << begin % 64;
    uint64_t *bits = m->bits + (int64_t)row * m->words + begin / 64;
    for (int i = 0; i < rows; i++, bits += m->words)
      *bits |= run;
  }
}
void ek_clear_marks(const ek_marks *marks);
/* The next run of marked columns from *end on; 0: there is none. */
int ek_next_run(const uint64_t *bits, int words, int *begin, int *end);

/* Channels `channel` to `channel` + 7 of pixel x of a row: at least one is not what it was. */
struct ek_change {
  int32_t x, channel;
  int8_t now[8], before[8];
};

/* A bit or more in the byte of each that has changed. */
static inline uint64_t ek_changed(const ek_change *c) {
  uint64_t now, before;
  memcpy(&now, c->now, 8);
  memcpy(&before, c->before, 8);
  return now ^ before;
}
/* The first of so many neighbours, 1 or 2, among which one has; they are taken away. */
static inline int ek_take_changed(uint64_t *changed, int neighbours) {
  int i = __builtin_ctzll(*changed) / 8 & -neighbours; /* every host is little-endian */
  *changed &= ~(((UINT64_C(1) << 8 * neighbours) - 1) << 8 * i);
  return i;
}

typedef struct {
  void (*restart)(void *layer);                                     /* sums of an input of zeros */
  void (*add)(void *layer, int y, const ek_change *changes, int n); /* of row y of the input, in order */
  void (*finish)(void *layer);                                      /* the output from the sums, where they changed */
} ek_follow_fns;

struct ek_follow {
  ek_map in;
  int8_t *seen;             /* (in.h, row_bytes): the input whose sums these are */
  int32_t row_bytes, limit; /* of a row of the input; changes beyond which it is faster to compute anew */
  const int32_t *pixels;    /* (row_bytes / 8): the pixel that 8 bytes of a row belong to */
  ek_change *changes;       /* (row_bytes / 8 + 1): of one row */
  int32_t current, pause;   /* whether the output is that of `seen`; frames to wait before beginning again */
  ek_follow_fns fns;
  void *layer;
};

/* Lets the layer that is being planned follow the changes of `in`, channels last, up to this share of its elements. */
int ek_plan_follow(ek_engine *e, const ek_map *in, double share, ek_follow_fns fns, void *layer);

/* A linear layer that follows: all its sums. */
typedef struct {
  const ek_columns *columns;
  ek_shape in;
  int32_t *sums; /* (row) */
  const ek_kernels *kernels;
} ek_follow_linear;

/* A conv or convt that follows: each input pixel stamps the kernel, as in sparse.c. */
typedef struct {
  ek_map out;
  ek_requant requant;
  const int16_t *weights; /* [pair of channels][ky][row_lanes][2], of [kx][lanes] */
  const int32_t *bias;    /* (lanes) */
  int32_t *sums;          /* (rows, row_sums): the stamps' places, margin included, of so many lanes */
  int32_t kernel, stride, pad, lanes, row_lanes, row_sums;
  ek_marks dirty;
  const ek_kernels *kernels;
} ek_follow_window;

/* Those that every instruction set can run. */
void ek_follow_linear_add(void *layer, int y, const ek_change *changes, int n);
void ek_follow_window_add(void *layer, int y, const ek_change *changes, int n);

/* Buffers for the stamps and widened rows of every input row: so many of each, used in turn. */
int ek_upconv_buffers(ek_engine *e, ek_upconv *u, int stamps, int rows);

#endif
