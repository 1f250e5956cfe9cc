/* The training step of a decoder's convolutions: the derivative is that of the loss, and bad layouts are refused. */
#include "check.h"
#include "edgekin.h"

#include <math.h>
#include <stdlib.h>

enum { N = 2, ROWS = 3, COLUMNS = 7, CHANNELS = 3, HIDDEN = 5, VIEWS = 2, FACTOR = 2, OUT = 8, HEIGHT = 6, WIDTH = 13 };
enum { PARAMETERS = (9 * CHANNELS + 1) * HIDDEN + (9 * HIDDEN + 1) * OUT };
enum { INPUTS = N * CHANNELS * ROWS * COLUMNS, PIXELS = N * VIEWS * HEIGHT * WIDTH };

static ek_tail_layout layout(int isa) {
  return (ek_tail_layout){ROWS,  COLUMNS, CHANNELS, 2,   {HIDDEN, OUT}, VIEWS, FACTOR, HEIGHT,
                          WIDTH, isa,     1e-4,     0.5, 0.5,           1,     0.5};
}

static float parameters[PARAMETERS], features[INPUTS], targets[PIXELS], dparameters[PARAMETERS], dfeatures[INPUTS];

static double value(ek_tail *tail) {
  static float ignored[PARAMETERS], also[INPUTS];
  double loss, penalty;
  CHECK(!ek_tail_learn(tail, parameters, features, targets, N, &loss, &penalty, ignored, also));
  return loss + penalty;
}

static double slope(ek_tail *tail, float *x) {
  const float at = *x, step = 1e-2f;
  *x = at + step;
  double more = value(tail);
  *x = at - step;
  double less = value(tail);
  *x = at;
  return (more - less) / (2 * (double)step);
}

static void test_derivative(int isa) {
  int status;
  const ek_tail_layout l = layout(isa);
  ek_tail *tail = ek_tail_create(&l, &status);
  CHECK(tail && ek_tail_n_parameters(tail) == PARAMETERS);
  srand(1);
  for (int i = 0; i < PARAMETERS; i++)
    parameters[i] = (float)rand() / (float)RAND_MAX - 0.4f;
  for (int i = 0; i < INPUTS; i++)
    features[i] = (float)rand() / (float)RAND_MAX;
  for (int i = 0; i < PIXELS; i++)
    targets[i] = (float)(rand() % 2);
  double loss, penalty;
  CHECK(!ek_tail_learn(tail, parameters, features, targets, N, &loss, &penalty, dparameters, dfeatures));
  CHECK(loss > 0 && fabs(penalty) > 0);
  for (int i = 0; i < PARAMETERS; i += 7)
    CHECK(fabs(slope(tail, &parameters[i]) - (double)dparameters[i]) < 2e-2 * (fabs((double)dparameters[i]) + 0.05));
  for (int i = 0; i < INPUTS; i += 5)
    CHECK(fabs(slope(tail, &features[i]) - (double)dfeatures[i]) < 2e-2 * (fabs((double)dfeatures[i]) + 0.05));
  ek_tail_destroy(tail);
}

static void test_refusals(void) {
  int status;
  ek_tail_layout bad = layout(EK_ISA_SCALAR);
  bad.columns = 4;
  CHECK(!ek_tail_create(&bad, &status) && status < 0);
  bad = layout(EK_ISA_SCALAR), bad.n_convs = EK_TAIL_CONVS + 1;
  CHECK(!ek_tail_create(&bad, &status));
  bad = layout(EK_ISA_SCALAR), bad.out[1] = OUT - 1;
  CHECK(!ek_tail_create(&bad, &status));
  bad = layout(EK_ISA_SCALAR), bad.width = COLUMNS * FACTOR + 1;
  CHECK(!ek_tail_create(&bad, NULL));
  bad = layout(EK_ISA_SCALAR), bad.smoothing = 0;
  CHECK(!ek_tail_create(&bad, NULL) && !ek_tail_create(NULL, NULL));
  CHECK(ek_tail_n_parameters(NULL) < 0);
  ek_tail_destroy(NULL);
}

int main(void) {
  test_derivative(EK_ISA_SCALAR);
  test_derivative(EK_ISA_AUTO);
  test_refusals();
  return 0;
}
