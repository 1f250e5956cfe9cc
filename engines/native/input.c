/* input.c - the first layer: joint angles to sines and cosines, or as they are. The one float step of INT8. */
#include "engine.h"
#include "../core/status.h"
#include <math.h>

typedef struct {
  const float *joints;
  void *out;
  int n, sincos, int8;
  float scale;
} input_args;

/* Taylor polynomials in t = r^2 at |r| <= pi/4; edgekin.models.reference.sincos is the same in numpy, bit for bit. */
static double sin_tail(double t) {
  double p = 1.0 / 6227020800.0;
  p = p * t + -1.0 / 39916800.0;
  p = p * t + 1.0 / 362880.0;
  p = p * t + -1.0 / 5040.0;
  p = p * t + 1.0 / 120.0;
  return p * t + -1.0 / 6.0;
}

static double cos_tail(double t) {
  double p = -1.0 / 87178291200.0;
  p = p * t + 1.0 / 479001600.0;
  p = p * t + -1.0 / 3628800.0;
  p = p * t + 1.0 / 40320.0;
  p = p * t + -1.0 / 720.0;
  p = p * t + 1.0 / 24.0;
  return p * t + -0.5;
}

static void sincos_of(float q, float *sine, float *cosine) {
  const double pi = 3.141592653589793;
  double x = q, n = rint(x * (2.0 / pi));
  double r = x - n * (pi / 2.0), t = r * r;
  double s = r + r * (t * sin_tail(t)), c = 1.0 + t * cos_tail(t);
  switch ((int64_t)n & 3) {
  case 0:
    *sine = (float)s, *cosine = (float)c;
    break;
  case 1:
    *sine = (float)c, *cosine = (float)-s;
    break;
  case 2:
    *sine = (float)-s, *cosine = (float)-c;
    break;
  default:
    *sine = (float)-c, *cosine = (float)s;
  }
}

static void run_input(const void *args) {
  const input_args *a = args;
  float x[2 * EK_MAX_JOINTS];
  int n = a->sincos ? 2 * a->n : a->n;
  for (int i = 0; i < a->n; i++) {
    if (a->sincos)
      sincos_of(a->joints[i], &x[i], &x[a->n + i]);
    else
      x[i] = a->joints[i];
  }
  for (int i = 0; i < n; i++) {
    if (!a->int8) {
      ((float *)a->out)[i] = x[i];
      continue;
    }
    float level = rintf(x[i] / a->scale);
    ((int16_t *)a->out)[i] = (int16_t)fminf(fmaxf(level, -EK_JOINT_MAX), EK_JOINT_MAX);
  }
}

int ek_push_input(ek_engine *e, const ek_layer *l, void *out) {
  input_args *a = ek_pool(e, sizeof *a);
  if (!a)
    return EK_E_MEMORY;
  *a =
      (input_args){e->joints, out, l->in.c, l->kind == EK_SINCOS, e->info.precision == EK_PRECISION_INT8, l->out_scale};
  return ek_push(e, run_input, a);
}
