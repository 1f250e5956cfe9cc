/* compare.c - what the pictures are worth beside masks: the loss and its derivative, and scores by blocks.
 *
 * Only cells that an ellipsoid touched are looked at pixel by pixel; in the others the masks' bits are counted. */
#include "body.h"
#include "score.h"

/* Rows of pixels of a picture that blocks share, and their masks. */
typedef struct {
  const float *light;
  const uint8_t *masks;
  int stride, rows, columns, width; /* columns: of blocks */
  uint64_t cells;                   /* touched in any of the rows */
  int cell;
} band;

/* What a pixel adds that nothing touched. */
typedef struct {
  double odds, softplus, squared, twice, entropy; /* twice: what one that is on adds to squared */
} blank;

#define ISA_TEXT "light.h"
#include "isas.h"

/* A row of a picture, and from where to where its pixels are not simply empty. */
typedef struct {
  const float *light;
  const uint8_t *mask;
  int first, last; /* first: a multiple of 8; first > last: nowhere */
} line;

static line line_of(const ek_body *b, const uint8_t *masks, int64_t row) {
  uint64_t cells = b->touched[row];
  int first = cells ? __builtin_ctzll(cells) << b->cell : 0;
  int last = cells ? ((64 - __builtin_clzll(cells)) << b->cell) - 1 : -1;
  return (line){b->light + row * b->stride, masks + row * ((b->width + 7) / 8), first,
                last < b->width - 1 ? last : b->width - 1};
}

/* Pixels that are on beside the line's, and all beside it. */
static int outside(const line *l, int width, int *pixels) {
  int on = 0, any = l->first <= l->last;
  for (int byte = 0; byte < (width + 7) / 8; byte++) {
    int n = width - 8 * byte < 8 ? width - 8 * byte : 8;
    if (any && 8 * byte >= l->first && 8 * byte <= l->last)
      continue;
    on += __builtin_popcount(l->mask[byte] & (0xff00u >> n) & 255u);
    *pixels += n;
  }
  return on;
}

void ek_body_measure(const ek_body *b, const uint8_t *masks, double *nll, double *squared) {
  double empty = (float)b->layout.empty;
  int on = 0, pixels = 0;
  *nll = *squared = 0;
  for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++) {
    line l = line_of(b, masks, row);
    float product = 1;
    int32_t power = 0;
    on += outside(&l, b->width, &pixels);
    if (l.first > l.last)
      continue;
    ISA_OF(b, measure)(l.light, l.mask, l.first, l.last, squared, &product, &power);
    *nll -= log(product) + 0.6931471805599453 * power;
  }
  *nll -= on * log(empty) + (pixels - on) * log1p(-empty);
  *squared += on * (1 - empty) * (1 - empty) + (pixels - on) * empty * empty;
}

double ek_body_missed(const ek_body *b, const uint8_t *masks) {
  double sum = 0;
  for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++)
    for (int byte = 0; byte < (b->width + 7) / 8; byte++, masks++)
      for (unsigned bits = *masks; bits; bits &= bits - 1) {
        int x = 8 * byte + 7 - __builtin_ctz(bits);
        double light = x < b->width ? (double)b->light[row * b->stride + x] : 0;
        sum += light * light;
      }
  return sum;
}

int ek_body_shift(const ek_body *b, int view, const uint8_t *masks, double shift[2]) {
  double seen[3] = {0}, drawn[3] = {0}; /* weight, and sums over x and y */
  int columns = (b->width + 7) / 8;
  masks += (size_t)view * (size_t)b->height * (size_t)columns;
  for (int y = 0; y < b->height; y++, masks += columns) {
    const float *light = b->light + ((int64_t)view * b->height + y) * b->stride;
    for (int x = 0; x < b->width; x++) {
      double on = masks[x / 8] >> (7 - x % 8) & 1, there = 1 - (double)light[x];
      seen[0] += on, seen[1] += on * x, seen[2] += on * y;
      drawn[0] += there, drawn[1] += there * x, drawn[2] += there * y;
    }
  }
  if (seen[0] < 1 || drawn[0] < 1)
    return 0;
  for (int axis = 0; axis < 2; axis++)
    shift[axis] = seen[1 + axis] / seen[0] - drawn[1 + axis] / drawn[0];
  return 1;
}

void ek_body_differ(ek_body *b, const uint8_t *masks, double nll, double squared) {
  for (int64_t row = 0; row < (int64_t)b->layout.n_views * b->height; row++) {
    line l = line_of(b, masks, row);
    if (l.first <= l.last)
      ISA_OF(b, differ)(l.light, l.mask, l.first, l.last, (float)nll, (float)squared, b->pull + row * b->stride);
  }
}

void ek_body_log_odds(const ek_body *b, int64_t row, float *out) {
  ISA_OF(b, logits)(b->light + row * b->stride, b->width, out);
}

void ek_body_score(const ek_body *b, const uint8_t *masks, ek_block_score *blocks) {
  int columns = (b->width + EK_BLOCK - 1) / EK_BLOCK;
  double p = b->layout.empty;
  const blank none = {b->odds, b->softplus, p * p, 1 - 2 * p, b->softplus - b->odds * p};
  for (int view = 0; view < b->layout.n_views; view++)
    for (int y = 0; y < b->height; y += EK_BLOCK, blocks += columns) {
      int64_t row = (int64_t)view * b->height + y;
      band d = {.light = b->light + row * b->stride,
                .masks = masks + row * columns,
                .stride = b->stride,
                .columns = columns,
                .width = b->width,
                .cell = b->cell};
      d.rows = b->height - y < EK_BLOCK ? b->height - y : EK_BLOCK;
      for (int i = 0; i < d.rows; i++)
        d.cells |= b->touched[row + i];
      ISA_OF(b, blocks)(&d, &none, blocks);
    }
}
