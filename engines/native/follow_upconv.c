/* follow_upconv.c - convolutions of enlarged maps that follow their input: what they are made of is kept for every
 * input row, and made anew in the columns that a change reaches. */
#include "follow.h"
#include "../core/status.h"

enum { MAX_KEPT_BYTES = 1 << 24 };

typedef struct {
  const ek_upconv *blocks; /* (n_blocks): each with buffers of its own for every input row */
  int n_blocks;
  const int32_t *begin, *end; /* (in.w): the output columns that an input column reaches */
  ek_marks wide, dirty;       /* the columns of (in.h) widened rows, and of (out.h) output rows, that are not right */
} upconv;

static void stamp(const upconv *u, int y, int begin, int end) {
  for (int i = 0; i < u->n_blocks; i++)
    u->blocks[i].loops->stamp(&u->blocks[i], y, begin, end);
  ek_mark(&u->wide, y, 1, u->begin[begin], u->end[end - 1]);
}

static void upconv_restart(void *layer) {
  const upconv *u = layer;
  const ek_shape in = u->blocks->in.shape;
  for (int y = 0; y < in.h; y++)
    stamp(u, y, 0, in.w);
}

static void upconv_add(void *layer, int y, const ek_change *changes, int n) {
  for (int i = 0, end; i < n;) {
    int begin = changes[i].x;
    for (end = begin + 1; i < n && changes[i].x <= end; i++) /* neighbours, and those with one pixel between them */
      end = changes[i].x + 1;
    stamp(layer, y, begin, end);
  }
}

/* Runs of marked columns of row y, through one of the loops. */
static void redo(const upconv *u, const ek_marks *marks, int y, void (*loop)(const ek_upconv *, int, int, int)) {
  const uint64_t *bits = marks->bits + (int64_t)y * marks->words;
  for (int begin, end = 0; ek_next_run(bits, marks->words, &begin, &end);)
    for (int i = 0; i < u->n_blocks; i++)
      loop(&u->blocks[i], y, begin, end);
}

static void upconv_finish(void *layer) {
  const upconv *u = layer;
  const ek_upconv *first = u->blocks;
  int in_h = first->in.shape.h, out_h = first->out.shape.h;
  for (int y = 0; y < in_h; y++)
    redo(u, &u->wide, y, first->loops->widen);
  for (int y = 0; y < out_h; y++) {
    uint64_t *bits = u->dirty.bits + (int64_t)y * u->dirty.words;
    int from = first->ty[y ? y - 1 : 0].first, to = first->ty[y + 1 < out_h ? y + 1 : y].second;
    for (; from <= to; from++)
      for (int i = 0; i < u->dirty.words; i++)
        bits[i] |= u->wide.bits[(int64_t)from * u->wide.words + i];
    redo(u, &u->dirty, y, first->loops->blend);
  }
  ek_clear_marks(&u->wide);
  ek_clear_marks(&u->dirty);
}

/* The output columns that see input column x. */
static void find_reach(const ek_upconv *u, int x, int32_t *begin, int32_t *end) {
  int width = u->out.shape.w;
  *begin = width, *end = 0;
  for (int o = 0; o < width; o++) {
    const ek_tap *before = &u->tx[o ? o - 1 : 0], *after = &u->tx[o + 1 < width ? o + 1 : o];
    if (x < before->first || x > after->second)
      continue;
    *begin = o < *begin ? o : *begin;
    *end = o + 1;
  }
}

int ek_plan_follow_upconv(ek_engine *e, const ek_upconv *blocks, int n_blocks) {
  ek_shape in = blocks->in.shape, out = blocks->out.shape;
  if (((int64_t)in.w * 72 + (int64_t)out.w * 24) * 2 * in.h * n_blocks > MAX_KEPT_BYTES)
    return EK_OK; /* computed anew for every frame */
  upconv *u = ek_pool(e, sizeof *u);
  ek_upconv *kept = ek_pool(e, (int64_t)sizeof *kept * n_blocks);
  int32_t *begin = ek_pool(e, 4 * (int64_t)in.w), *end = ek_pool(e, 4 * (int64_t)in.w);
  if (!u || !kept || !begin || !end)
    return EK_E_MEMORY;
  for (int i = 0; i < n_blocks; i++) {
    kept[i] = blocks[i];
    if (ek_upconv_buffers(e, &kept[i], in.h, in.h))
      return EK_E_MEMORY;
  }
  for (int x = 0; x < in.w; x++)
    find_reach(kept, x, &begin[x], &end[x]);
  *u = (upconv){kept, n_blocks, begin, end, {0}, {0}};
  if (ek_make_marks(e, in.h, out.w, &u->wide) || ek_make_marks(e, out.h, out.w, &u->dirty))
    return EK_E_MEMORY;
  return ek_plan_follow(e, &blocks->in, 1.0, (ek_follow_fns){upconv_restart, upconv_add, upconv_finish}, u);
}
