/* input.c - the first layer: joint angles to sines and cosines, or as they are. The one float step of INT8. */
#include "engine.h"
#include "../core/status.h"
#include "sine.h"
#include <math.h>

typedef struct {
  const float *joints;
  void *out;
  int n, sincos, int8;
  float scale;
} input_args;

static void run_input(const void *args) {
  const input_args *a = args;
  float x[2 * EK_MAX_JOINTS];
  int n = a->sincos ? 2 * a->n : a->n;
  for (int i = 0; i < a->n; i++) {
    x[i] = a->sincos ? (float)ek_sine(a->joints[i], 0) : a->joints[i];
    if (a->sincos)
      x[a->n + i] = (float)ek_sine(a->joints[i], 1);
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
