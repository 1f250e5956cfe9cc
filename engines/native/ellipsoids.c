/* ellipsoids.c - a body model as the one operation of an engine: joints to logits. */
#include "../core/status.h"
#include "../splat/weights.h"
#include "engine.h"

static void run_body(const void *args) {
  ek_engine *e = *(ek_engine *const *)args;
  ek_body_run(e->body, e->joints); /* the joints have been checked */
}

int ek_plan_body(ek_engine *e, const ek_model *m, int isa) {
  const ek_layer *l = &m->layers[0];
  const int size[4] = {m->n_joints, m->n_views, m->height, m->width};
  int status;
  e->body = ek_body_read(l->weight, (size_t)l->weight_bytes, isa, size, &status);
  if (!e->body)
    return status;
  ek_engine **self = ek_pool(e, sizeof *self);
  if (!self)
    return EK_E_MEMORY;
  *self = e;
  e->info.parameters = ek_body_n_parameters(e->body);
  return ek_push(e, run_body, self);
}

ek_body *ek_engine_body(ek_engine *e) {
  return e ? e->body : NULL;
}
