/* move.c - layers that only move elements: crop, reshape, pixel shuffle, and the change of layout at the end. */
#include "engine.h"
#include <string.h>

static inline char *at(const ek_map *m, int bytes, int64_t c, int64_t y, int64_t x) {
  return (char *)m->data + bytes * (c * m->channel + y * m->row + x * m->pixel);
}

static inline void put(char *out, const char *in, int bytes) {
  if (bytes == 1)
    *out = *in;
  else
    memcpy(out, in, 4);
}

/* One plane of a channels-last map into a planar one. */
static void gather_plane(const ek_move *m, int c) {
  for (int y = 0; y < m->out.shape.h; y++) {
    const char *in = at(&m->in, m->bytes, c, y, 0);
    char *out = at(&m->out, m->bytes, c, y, 0);
    int step = m->in.pixel * m->bytes, w = m->out.shape.w;
    if (m->bytes == 1)
      for (int x = 0; x < w; x++)
        out[x] = in[x * step];
    else
      for (int x = 0; x < w; x++)
        memcpy(out + 4 * x, in + x * step, 4);
  }
}

void ek_move_copy(const void *args) {
  const ek_move *m = args;
  ek_shape s = m->out.shape;
  if (m->out.pixel == 1) {
    for (int c = 0; c < s.c; c++)
      gather_plane(m, c);
    return;
  }
  for (int y = 0; y < s.h; y++)
    for (int x = 0; x < s.w; x++)
      for (int c = 0; c < s.c; c++)
        put(at(&m->out, m->bytes, c, y, x), at(&m->in, m->bytes, c, y, x), m->bytes);
}

void ek_move_reshape(const void *args) {
  const ek_move *m = args;
  ek_shape i = m->in.shape, o = m->out.shape;
  int ic = 0, iy = 0, ix = 0;
  for (int c = 0; c < o.c; c++)
    for (int y = 0; y < o.h; y++)
      for (int x = 0; x < o.w; x++) {
        put(at(&m->out, m->bytes, c, y, x), at(&m->in, m->bytes, ic, iy, ix), m->bytes);
        if (++ix == i.w) {
          ix = 0;
          if (++iy == i.h)
            iy = 0, ic++;
        }
      }
}

/* Channels last -> planar: a run of bytes of an input pixel is a run in an output row, too. */
static inline __attribute__((always_inline)) void copy_runs(const ek_move *m, const char *in, char *out, int run) {
  for (int x = 0; x < m->in.shape.w; x++)
    memcpy(out + (int64_t)run * x, in + (int64_t)x * m->in.pixel * m->bytes, (size_t)run);
}

typedef int32_t v4 __attribute__((vector_size(16)));

/* Factor 4 in bytes, channels last -> planar: four pixels are a 4 x 4 square of words to transpose. */
static void shuffle4_row(const ek_move *m, int c, int y) {
  const char *in = at(&m->in, 1, 16 * c, y, 0);
  char *out[4];
  int x = 0, width = m->in.shape.w, step = m->in.pixel;
  for (int i = 0; i < 4; i++)
    out[i] = at(&m->out, 1, c, 4 * y + i, 0);
  for (; x + 4 <= width; x += 4) {
    v4 p[4], q[4], r[4];
    for (int i = 0; i < 4; i++)
      memcpy(&p[i], in + (int64_t)(x + i) * step, 16);
    const v4 low = {0, 4, 1, 5}, high = {2, 6, 3, 7}, first = {0, 1, 4, 5}, second = {2, 3, 6, 7};
    q[0] = __builtin_shuffle(p[0], p[1], low), q[1] = __builtin_shuffle(p[2], p[3], low);
    q[2] = __builtin_shuffle(p[0], p[1], high), q[3] = __builtin_shuffle(p[2], p[3], high);
    r[0] = __builtin_shuffle(q[0], q[1], first), r[1] = __builtin_shuffle(q[0], q[1], second);
    r[2] = __builtin_shuffle(q[2], q[3], first), r[3] = __builtin_shuffle(q[2], q[3], second);
    for (int i = 0; i < 4; i++)
      memcpy(out[i] + 4 * x, &r[i], 16);
  }
  for (; x < width; x++)
    for (int i = 0; i < 4; i++)
      memcpy(out[i] + 4 * x, in + (int64_t)x * step + 4 * i, 4);
}

static void shuffle_row(const ek_move *m, int c, int y, int i) {
  int f = m->factor, run = f * m->bytes;
  const char *in = at(&m->in, m->bytes, c * f * f + i * f, y, 0);
  char *out = at(&m->out, m->bytes, c, y * f + i, 0);
  switch (run) {
  case 2:
    copy_runs(m, in, out, 2);
    break;
  case 4:
    copy_runs(m, in, out, 4);
    break;
  case 16:
    copy_runs(m, in, out, 16);
    break;
  default:
    copy_runs(m, in, out, run);
  }
}

void ek_move_shuffle(const void *args) {
  const ek_move *m = args;
  int f = m->factor;
  ek_shape s = m->in.shape;
  int square = f == 4 && m->bytes == 1 && m->in.channel == 1 && m->out.pixel == 1;
  for (int c = 0; c < m->out.shape.c; c++)
    for (int y = 0; y < s.h; y++) {
      if (square) {
        shuffle4_row(m, c, y);
        continue;
      }
      for (int i = 0; i < f; i++) {
        if (m->in.channel == 1 && m->out.pixel == 1) {
          shuffle_row(m, c, y, i);
          continue;
        }
        for (int x = 0; x < s.w; x++)
          for (int j = 0; j < f; j++)
            put(at(&m->out, m->bytes, c, y * f + i, x * f + j), at(&m->in, m->bytes, c * f * f + i * f + j, y, x),
                m->bytes);
      }
    }
}
