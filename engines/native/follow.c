/* follow.c - decides, layer by layer, whether a frame is near enough to the one before to be followed. */
#include "follow.h"
#include "../core/status.h"
#include <string.h>

/* Sums are begun, one layer a frame, after so many frames that were near each other, and not again for some time where
 * they were lost: to begin costs as much as to compute anew, and each frame has a deadline. */
enum { CALM_FRAMES = 4, PAUSE_FRAMES = 8, MAX_SEEN_BYTES = 1 << 22 };

typedef uint64_t two_words __attribute__((vector_size(16)));

static int differs_64(const int8_t *a, const int8_t *b) {
  two_words x[4], y[4];
  memcpy(x, a, sizeof x);
  memcpy(y, b, sizeof y);
  two_words any = (x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]);
  return (any[0] | any[1]) != 0;
}

/* Bytes of a word that are not zero. */
static int count_bytes(uint64_t word) {
  const uint64_t ones = UINT64_C(0x0101010101010101);
  word |= word >> 4, word |= word >> 2, word |= word >> 1;
  return (int)((word & ones) * ones >> 56);
}

/* Appends those of up to 8 words of a row, from byte `at` on, that have changed, and remembers them. */
static int changes_of_words(const ek_follow *f, const int8_t *x, int8_t *seen, int at, int words, int n,
                            int64_t *total) {
  uint64_t now[8], before[8];
  memcpy(now, x + at, 8 * (size_t)words);
  memcpy(before, seen + at, 8 * (size_t)words);
  uint32_t changed = 0;
  for (int i = 0; i < words; i++) /* no branch: which have changed cannot be foretold */
    changed |= (uint32_t)(now[i] != before[i]) << i;
  for (; changed; changed &= changed - 1, n++) {
    int i = __builtin_ctz(changed), pixel = f->pixels[at / 8 + i];
    ek_change *c = &f->changes[n];
    c->x = pixel, c->channel = at + 8 * i - pixel * f->in.pixel;
    memcpy(c->now, &now[i], 8);
    memcpy(c->before, &before[i], 8);
    *total += count_bytes(now[i] ^ before[i]);
  }
  memcpy(seen + at, now, 8 * (size_t)words);
  return n;
}

static int changes_of_row(const ek_follow *f, int y, int64_t *total) {
  const int8_t *x = (const int8_t *)f->in.data + (int64_t)y * f->in.row;
  int8_t *seen = f->seen + (int64_t)y * f->row_bytes;
  int n = 0, at = 0;
  for (; at + 64 <= f->row_bytes; at += 64)
    if (differs_64(x + at, seen + at))
      n = changes_of_words(f, x, seen, at, 8, n, total);
  return at < f->row_bytes ? changes_of_words(f, x, seen, at, (f->row_bytes - at) / 8, n, total) : n;
}

/* How many inputs have changed, all added to the sums; -1: more than the limit, and the sums are lost. */
static int64_t add_changes(ek_follow *f, int64_t limit) {
  int64_t total = 0;
  for (int y = 0; y < f->in.shape.h; y++) {
    int n = changes_of_row(f, y, &total);
    if (total > limit)
      return -1;
    if (n)
      f->fns.add(f->layer, y, f->changes, n);
  }
  return total;
}

/* Whether the frame is near the one before, as the first layer that follows sees it. */
static int is_near(ek_engine *e, const ek_follow *f) {
  int64_t changed = 0;
  for (int y = 0; y < f->in.shape.h; y++) {
    const int8_t *x = (const int8_t *)f->in.data + (int64_t)y * f->in.row;
    int8_t *last = e->last_input + (int64_t)y * f->row_bytes;
    for (int i = 0; i < f->row_bytes; i++)
      changed += x[i] != last[i];
    memcpy(last, x, (size_t)f->row_bytes);
  }
  return changed <= f->limit;
}

static int begin(ek_engine *e, ek_follow *f) {
  if (e->calm < CALM_FRAMES || e->begun || f->pause-- > 0)
    return 0;
  e->begun = 1;
  f->pause = 0;
  memset(f->seen, 0, (size_t)f->row_bytes * (size_t)f->in.shape.h);
  f->fns.restart(f->layer);
  add_changes(f, INT64_MAX);
  f->fns.finish(f->layer); /* also of an input of nothing but zeros */
  return f->current = 1;
}

int ek_follow_layer(ek_engine *e, int layer) {
  ek_follow *f = e->follow[layer];
  if (!f)
    return 0;
  if (layer == e->first_follow) {
    e->calm = !is_near(e, f) ? 0 : e->calm < CALM_FRAMES ? e->calm + 1 : CALM_FRAMES;
    e->begun = 0;
  }
  if (!e->calm)
    return f->current = 0;
  if (!f->current)
    return begin(e, f);
  int64_t changed = add_changes(f, f->limit);
  if (changed > 0)
    f->fns.finish(f->layer);
  else if (changed < 0)
    f->current = 0, f->pause = PAUSE_FRAMES;
  return f->current;
}

void ek_follow_forget(ek_engine *e) {
  for (int i = 0; i < EK_MAX_LAYERS; i++)
    if (e->follow[i])
      e->follow[i]->current = 0;
  e->calm = 0;
}

int ek_plan_follow(ek_engine *e, const ek_map *in, double share, ek_follow_fns fns, void *layer) {
  ek_shape s = in->shape;
  int64_t row_bytes = (int64_t)s.w * in->pixel, bytes = row_bytes * s.h;
  if (bytes > MAX_SEEN_BYTES)
    return EK_OK; /* computed anew for every frame */
  ek_follow *f = ek_pool(e, sizeof *f);
  int32_t *pixels = ek_pool(e, row_bytes / 2);
  if (!f || !pixels)
    return EK_E_MEMORY;
  *f = (ek_follow){.in = *in, .row_bytes = (int32_t)row_bytes, .pixels = pixels, .fns = fns, .layer = layer};
  f->limit = (int32_t)(share * (double)ek_elements(s));
  f->seen = ek_pool(e, bytes);
  f->changes = ek_pool(e, (row_bytes / 8 + 1) * (int64_t)sizeof *f->changes);
  for (int i = 0; i < row_bytes / 8; i++)
    pixels[i] = 8 * i / in->pixel;
  if (!e->last_input) {
    e->first_follow = e->planning;
    e->last_input = ek_pool(e, bytes);
  }
  e->follow[e->planning] = f;
  return f->seen && f->changes && e->last_input ? EK_OK : EK_E_MEMORY;
}

/* ---- marks
 * ------------------------------------------------------------------------------------------------------------ */

int ek_make_marks(ek_engine *e, int rows, int columns, ek_marks *marks) {
  marks->rows = rows, marks->words = (columns + 63) / 64;
  marks->bits = ek_pool(e, 8 * (int64_t)rows * marks->words);
  return marks->bits ? EK_OK : EK_E_MEMORY;
}

void ek_clear_marks(const ek_marks *m) {
  memset(m->bits, 0, 8 * (size_t)m->rows * (size_t)m->words);
}

int ek_next_run(const uint64_t *bits, int words, int *begin, int *end) {
  int word = *end / 64;
  uint64_t left = word < words ? bits[word] & ~UINT64_C(0) << *end % 64 : 0;
  while (!left)
    if (++word >= words)
      return 0;
    else
      left = bits[word];
  int first = __builtin_ctzll(left);
  uint64_t gap = ~(left >> first);
  int length = gap ? __builtin_ctzll(gap) : 64;
  *begin = 64 * word + first;
  *end = *begin + (length < 64 - first ? length : 64 - first);
  return 1;
}
