/* test_body.c - the body model without Python: derivatives against finite differences, and hostile layouts and blocks,
 * which the sanitizer build (make -C engines asan) watches for stray reads and writes. */
#include "check.h"
#include "core/status.h"
#include "edgekin.h"
#include "splat/weights.h"
#include <math.h>
#include <string.h>

enum { LINKS = 3, VIEWS = 2, N = 5, WIDTH = 21, HEIGHT = 18, ROW = 3, PARAMETERS = 12 * N + 6 * 2 + 10 * VIEWS };

static uint64_t state = 88172645463325252u;
static uint32_t rnd(void) { /* xorshift64* */
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return (uint32_t)((state * UINT64_C(2685821657736338717)) >> 32);
}
static double unit(void) { /* [-1, 1) */
  return rnd() / 2147483648.0 - 1;
}

static const int32_t OWNER[N] = {0, 1, 1, 2, 2};
static ek_joint joints[LINKS - 1];
static ek_camera cameras[VIEWS];

static ek_body_layout layout(void) {
  for (int j = 0; j < LINKS - 1; j++)
    joints[j] = (ek_joint){.kind = j ? EK_JOINT_PRISMATIC : EK_JOINT_REVOLUTE,
                           .parent = j,
                           .child = j + 1,
                           .coordinate = j,
                           .axis = {0, j, !j},
                           .origin = {1, 0, 0, 0.1, 0, 1, 0, 0, 0, 0, 1, 0.1}};
  for (int v = 0; v < VIEWS; v++)
    cameras[v] = (ek_camera){.width = WIDTH,
                             .height = HEIGHT,
                             .fx = 25,
                             .fy = 25,
                             .cx = 10.5 + v,
                             .cy = 9,
                             .near_m = 0.01,
                             .world_to_cam = {0, 1, 0, 0, 0, 0, -1, 0.1, -1, 0, 0, 0.8}};
  return (ek_body_layout){.n_joints = LINKS - 1,
                          .n_links = LINKS,
                          .n_q = 2,
                          .n_views = VIEWS,
                          .n_ellipsoids = N,
                          .joints = joints,
                          .base = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0},
                          .cameras = cameras,
                          .link_of_ellipsoid = OWNER,
                          .low_pass_px2 = 0.15,
                          .empty = 1e-3};
}

static void randomise(float *p) {
  for (int i = 0; i < PARAMETERS; i++)
    p[i] = (float)(0.02 * unit());
  for (int i = 0; i < N; i++) {
    float *e = p + 12 * i;
    for (int k = 0; k < 3; k++)
      e[k] = (float)(0.06 * unit()), e[3 + k] = (float)(log(0.06) + 0.5 * unit());
    for (int k = 6; k < 10; k++)
      e[k] = (float)unit();
    e[10] = (float)(1 + 0.5 * unit()), e[11] = (float)(1 + unit());
  }
}

/* The squared error alone is smooth enough in float32 for a difference over a finite step. */
static double loss_at(ek_body *b, const float *p, const float *q, const uint8_t *masks) {
  const ek_body_loss loss = {0, 1, 0};
  double value;
  CHECK(!ek_body_set(b, p) && !ek_body_run(b, q) && !ek_body_compare(b, masks, &loss, &value));
  return value;
}

static void test_derivatives(void) {
  int status;
  ek_body_layout l = layout();
  ek_body *b = ek_body_create(&l, &status);
  CHECK(b && ek_body_n_parameters(b) == PARAMETERS);
  float p[PARAMETERS], q[2] = {0.4f, 0.05f}, dp[PARAMETERS] = {0}, dq[2] = {0};
  uint8_t masks[VIEWS * HEIGHT * ROW];
  randomise(p);
  for (size_t i = 0; i < sizeof masks; i++)
    masks[i] = (uint8_t)rnd();
  loss_at(b, p, q, masks);
  CHECK(!ek_body_backward(b, dp, dq));
  double largest = 0, worst = 0;
  for (int i = 0; i < PARAMETERS + 2; i++) {
    float *x = i < PARAMETERS ? &p[i] : &q[i - PARAMETERS], before = *x, step = 1e-3f;
    *x = before + step;
    double up = loss_at(b, p, q, masks);
    *x = before - step;
    double down = loss_at(b, p, q, masks), slope = (up - down) / (2 * (double)step);
    *x = before;
    double found = i < PARAMETERS ? dp[i] : dq[i - PARAMETERS], error = fabs(found - slope);
    largest = fmax(largest, fabs(slope));
    worst = fmax(worst, error / (1 + fabs(slope)));
  }
  CHECK(largest > 10);
  CHECK(worst < 0.05);
  ek_body_destroy(b);
}

static void test_hostile_layouts(void) {
  int status;
  for (int i = 0; i < 12; i++) {
    ek_body_layout l = layout();
    int32_t owner[N] = {0, 1, 1, 2, i == 0 ? LINKS : 2};
    l.link_of_ellipsoid = owner;
    joints[0].parent = i == 1 ? 2 : joints[0].parent, joints[1].child = i == 2 ? 1 : joints[1].child;
    joints[1].coordinate = i == 3 ? 2 : joints[1].coordinate, joints[0].kind = i == 4 ? 7 : joints[0].kind;
    cameras[1].width = i == 5 ? 22 : WIDTH;
    l.n_views = i == 6 ? EK_MAX_VIEWS + 1 : l.n_views, l.n_q = i == 7 ? 0 : l.n_q;
    l.low_pass_px2 = i == 8 ? 0 : l.low_pass_px2, l.empty = i == 9 ? NAN : l.empty;
    l.n_ellipsoids = i == 10 ? 0 : l.n_ellipsoids, l.isa = i == 11 ? 99 : l.isa;
    CHECK(!ek_body_create(&l, &status) && status < 0);
  }
  ek_body_layout l = layout();
  ek_body *b = ek_body_create(&l, &status);
  float p[PARAMETERS], q[2] = {NAN, 0}, far[2] = {1e9f, 0};
  randomise(p);
  CHECK(!ek_body_set(b, p) && ek_body_run(b, q) == EK_E_NONFINITE && ek_body_run(b, far) == EK_E_RANGE);
  p[3] = INFINITY;
  CHECK(ek_body_set(b, p) == EK_E_NONFINITE);
  ek_body_destroy(b);
}

/* Whatever the parameters are, drawing and differentiating stay inside their arrays and give numbers. */
static void test_wild_parameters(void) {
  int status;
  ek_body_layout l = layout();
  ek_body *b = ek_body_create(&l, &status);
  const ek_body_loss loss = {1, 1, 1};
  uint8_t masks[VIEWS * HEIGHT * ROW] = {255, 1, 7};
  for (int round = 0; round < 300; round++) {
    float p[PARAMETERS], dp[PARAMETERS] = {0}, q[2] = {(float)(3 * unit()), (float)unit()};
    double value, size = round % 3 ? 1 : 8;
    randomise(p);
    for (int i = 0; i < 12 * N; i++)
      p[i] += (float)(size * unit() * unit() * unit());
    CHECK(!ek_body_set(b, p));
    CHECK(!ek_body_learn(b, q, masks, 1, &loss, &value, dp));
    CHECK(isfinite(value));
    for (int i = 0; i < PARAMETERS; i++)
      CHECK(isfinite(dp[i]));
  }
  ek_body_destroy(b);
}

static size_t block_of(uint8_t *out, int int8) {
  ek_body_layout l = layout();
  float p[PARAMETERS];
  randomise(p);
  const uint32_t head[8] = {LINKS, LINKS - 1, VIEWS, N, 0, 0, (uint32_t)int8, 0};
  size_t at = 192;
  memset(out, 0, at);
  memcpy(out, head, 32), memcpy(out + 32, &l.low_pass_px2, 8), memcpy(out + 40, &l.empty, 8);
  memcpy(out + 48, l.base, 96);
  memcpy(out + at, joints, sizeof joints), at += sizeof joints;
  memcpy(out + at, cameras, sizeof cameras), at += sizeof cameras;
  memcpy(out + at, OWNER, sizeof OWNER), at += sizeof OWNER;
  size_t ellipsoids = int8 ? 96 + (22 * N + 3) / 4 * 4 : sizeof(float) * 12 * N;
  if (int8) {
    for (size_t i = 0; i < ellipsoids; i++)
      out[at + i] = i < 96 ? 0 : (uint8_t)rnd();
    for (int k = 0; k < 12; k++)
      memcpy(out + at + 4 * k, &(float){1e-3f}, 4);
  } else {
    memcpy(out + at, p, ellipsoids);
  }
  at += ellipsoids;
  memcpy(out + at, p + 12 * N, sizeof p - sizeof(float) * 12 * N);
  return at + sizeof p - sizeof(float) * 12 * N;
}

static void test_hostile_blocks(void) {
  static uint8_t good[1 << 14], bad[1 << 14];
  const int size[4] = {2, VIEWS, HEIGHT, WIDTH};
  int status;
  for (int int8 = 0; int8 < 2; int8++) {
    size_t n = block_of(good, int8);
    ek_body *b = ek_body_read(good, n, EK_ISA_AUTO, size, &status);
    CHECK(b && status == EK_OK);
    ek_body_destroy(b);
    CHECK(!ek_body_read(good, n - 4, EK_ISA_AUTO, size, &status) && status == EK_E_FORMAT);
    CHECK(!ek_body_read(good, 100, EK_ISA_AUTO, size, &status) && status == EK_E_FORMAT);
    int opened = 0;
    for (int round = 0; round < 4000; round++) {
      memcpy(bad, good, n);
      for (uint32_t k = rnd() % 4 + 1; k--;)
        bad[rnd() % (round % 2 ? 192 : n)] = (uint8_t)(rnd() % 3 ? rnd() : 255);
      b = ek_body_read(bad, n, EK_ISA_AUTO, size, &status);
      CHECK(!b == (status < 0));
      const float q[2] = {0.2f, 0.1f};
      if (b)
        CHECK(ek_body_run(b, q) == EK_OK);
      opened += b != NULL;
      ek_body_destroy(b);
    }
    CHECK(opened > 100 && opened < 3900);
  }
}

int main(void) {
  test_derivatives();
  test_hostile_layouts();
  test_wild_parameters();
  test_hostile_blocks();
  return 0;
}
