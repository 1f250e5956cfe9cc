/* The training step of a decoder's last layers: the derivative is that of the loss, whatever the threads, and bad
 * layouts are refused. */
#include "check.h"
#include "edgekin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 3, N_DEPTH = 2, CODE = 8, ROWS = 3, COLUMNS = 7, CHANNELS = 3, CELLS = ROWS * COLUMNS * CHANNELS };
enum { VIEWS = 2, FACTOR = 2, OUT = 16, HEIGHT = 6, WIDTH = 13, PIXELS = VIEWS * HEIGHT * WIDTH };
enum { CONVS = 2 * (9 * CHANNELS + 1) * CHANNELS + (9 * CHANNELS + 1) * OUT };

static float spread[CELLS * CODE], bias[CELLS], convs[CONVS], code[N * CODE], targets[N * PIXELS], depth[N * PIXELS];
static float dspread[CELLS * CODE], dbias[CELLS], dconvs[CONVS], dcode[N * CODE];

static ek_tail_layout layout(int isa, int n_threads) {
  return (ek_tail_layout){.code = CODE,
                          .rows = ROWS,
                          .columns = COLUMNS,
                          .channels = CHANNELS,
                          .n_convs = 3,
                          .out = {CHANNELS, CHANNELS, OUT},
                          .residual = 1,
                          .depth = 1,
                          .n_views = VIEWS,
                          .factor = FACTOR,
                          .height = HEIGHT,
                          .width = WIDTH,
                          .isa = isa,
                          .n_threads = n_threads,
                          .smoothing = 1e-4,
                          .logit_limit = 0.5,
                          .feature_limit = 0.5,
                          .range_weight = 1,
                          .activity_weight = 0.1,
                          .log_squared = 0.5,
                          .depth_weight = 0.3,
                          .depth_middle_m = 1,
                          .depth_unit_m = 0.2};
}

static double value(ek_tail *tail) {
  static float a[CELLS * CODE], b[CELLS], c[CONVS], d[N * CODE];
  ek_tail_batch batch = {spread, bias, convs, code, targets, depth, N, N_DEPTH, a, b, c, d, 0, 0};
  CHECK(!ek_tail_learn(tail, &batch));
  return batch.loss + batch.penalty;
}

static void check_slope(ek_tail *tail, float *x, float found) {
  const float at = *x, step = 3e-3f;
  *x = at + step;
  double more = value(tail);
  *x = at - step;
  double less = value(tail);
  *x = at;
  CHECK(fabs((more - less) / (2 * (double)step) - (double)found) < 3e-2 * (fabs((double)found) + 0.05));
}

static void fill(float *x, int n, float low, float high) {
  for (int i = 0; i < n; i++)
    x[i] = low + (high - low) * (float)rand() / (float)RAND_MAX;
}

static void fill_all(void) {
  srand(1);
  fill(spread, CELLS * CODE, -0.1f, 0.2f), fill(bias, CELLS, 0, 0.3f), fill(convs, CONVS, -0.1f, 0.2f);
  fill(code, N * CODE, 0, 1), fill(depth, N * PIXELS, 0.5f, 1.5f);
  for (int i = 0; i < N * PIXELS; i++) {
    targets[i] = (float)(rand() % 2);
    depth[i] = targets[i] > 0 ? depth[i] : INFINITY;
  }
}

static void test_derivative(int isa) {
  int status;
  const ek_tail_layout l = layout(isa, 2);
  ek_tail *tail = ek_tail_create(&l, &status);
  CHECK(tail && ek_tail_n_parameters(tail) == CONVS);
  ek_tail_batch batch = {spread, bias, convs, code, targets, depth, N, N_DEPTH, dspread, dbias, dconvs, dcode, 0, 0};
  CHECK(!ek_tail_learn(tail, &batch));
  CHECK(batch.loss > 0 && fabs(batch.penalty) > 0);
  for (int i = 0; i < CELLS * CODE; i += 17)
    check_slope(tail, &spread[i], dspread[i]);
  for (int i = 0; i < CELLS; i += 5)
    check_slope(tail, &bias[i], dbias[i]);
  for (int i = 0; i < CONVS; i += 7)
    check_slope(tail, &convs[i], dconvs[i]);
  for (int i = 0; i < N * CODE; i++)
    check_slope(tail, &code[i], dcode[i]);
  ek_tail_destroy(tail);
}

static void test_threads(void) {
  float first[CELLS * CODE];
  double loss = 0;
  for (int threads = 1; threads <= 4; threads++) {
    const ek_tail_layout l = layout(EK_ISA_AUTO, threads);
    ek_tail *tail = ek_tail_create(&l, NULL);
    ek_tail_batch batch = {spread, bias, convs, code, targets, depth, N, N_DEPTH, dspread, dbias, dconvs, dcode, 0, 0};
    for (int turn = 0; turn < 20; turn++)
      CHECK(tail && !ek_tail_learn(tail, &batch));
    if (threads == 1)
      memcpy(first, dspread, sizeof first), loss = batch.loss;
    CHECK(!memcmp(first, dspread, sizeof first) && fabs(loss - batch.loss) <= 0);
    ek_tail_destroy(tail);
  }
}

static void test_refusals(void) {
  int status;
  ek_tail_layout bad = layout(EK_ISA_SCALAR, 1);
  bad.columns = 4;
  CHECK(!ek_tail_create(&bad, &status) && status < 0);
  bad = layout(EK_ISA_SCALAR, 1), bad.n_convs = EK_TAIL_CONVS + 1;
  CHECK(!ek_tail_create(&bad, &status));
  bad = layout(EK_ISA_SCALAR, 1), bad.out[2] = OUT - 1;
  CHECK(!ek_tail_create(&bad, &status));
  bad = layout(EK_ISA_SCALAR, 1), bad.out[1] = CHANNELS + 1;
  CHECK(!ek_tail_create(&bad, &status));
  bad = layout(EK_ISA_SCALAR, 1), bad.code = CODE + 1;
  CHECK(!ek_tail_create(&bad, &status));
  bad = layout(EK_ISA_SCALAR, 0);
  CHECK(!ek_tail_create(&bad, &status));
  bad = layout(EK_ISA_SCALAR, 1), bad.width = COLUMNS * FACTOR + 1;
  CHECK(!ek_tail_create(&bad, NULL));
  bad = layout(EK_ISA_SCALAR, 1), bad.smoothing = 0;
  CHECK(!ek_tail_create(&bad, NULL) && !ek_tail_create(NULL, NULL));
  CHECK(ek_tail_n_parameters(NULL) < 0);
  ek_tail_destroy(NULL);
  ek_tail_layout good = layout(EK_ISA_SCALAR, 1);
  ek_tail *tail = ek_tail_create(&good, &status);
  ek_tail_batch batch = {spread, bias, convs, code, targets, depth, N, N + 1, dspread, dbias, dconvs, dcode, 0, 0};
  CHECK(tail && ek_tail_learn(tail, &batch) < 0 && ek_tail_learn(tail, NULL) < 0);
  ek_tail_destroy(tail);
}

int main(void) {
  fill_all();
  test_derivative(EK_ISA_SCALAR);
  test_derivative(EK_ISA_AUTO);
  test_threads();
  test_refusals();
  return 0;
}
