/* profile.c - where the time of one engine goes: its operations one after another with a clock between them, summed per
 * layer. ek_engine_run stays as it is: it reads no clock. */
#include "engine.h"
#include "../core/status.h"
#include <string.h>

void ek_profile_prepare(ek_engine *e, const ek_model *m) {
  int bytes = m->precision == EK_PRECISION_INT8 ? 1 : 4;
  for (int i = 0; i < m->n_layers; i++) {
    const ek_layer *l = &m->layers[i];
    ek_layer_info *info = &e->layers[i];
    *info = (ek_layer_info){.kind = (int32_t)l->kind, .relu = l->relu};
    info->in_c = l->in.c, info->in_h = l->in.h, info->in_w = l->in.w;
    info->out_c = l->out.c, info->out_h = l->out.h, info->out_w = l->out.w;
    info->macs = ek_layer_macs(l);
    if (ek_has_weights(l))
      info->weight_bytes = ek_layer_weights(l) * bytes + (int64_t)l->out.c * (bytes == 1 ? 8 : 4);
    if (l->kind == EK_ELLIPSOIDS)
      info->weight_bytes = l->weight_bytes;
    info->map_bytes = (ek_elements(l->in) * (i ? bytes : 4)) + ek_elements(l->out) * bytes;
  }
  for (int i = 0; i < e->n_ops; i++)
    e->layers[e->op_layer[i]].n_ops++;
}

int ek_engine_layer(const ek_engine *e, int layer, ek_layer_info *info) {
  if (!e || !info || layer < 0 || layer >= e->info.n_layers)
    return EK_E_ARGUMENT;
  *info = e->layers[layer];
  return EK_OK;
}

static void one_tick(ek_engine *e, const uint8_t *masks, int32_t *ns) {
  int64_t before = ek_clock_ns();
  for (int i = 0; i < e->n_ops; i++) {
    e->ops[i].run(e->ops[i].args);
    int64_t now = ek_clock_ns();
    ns[e->op_layer[i]] += (int32_t)(now - before);
    before = now;
  }
  if (!masks)
    return;
  ek_score score;
  ek_engine_score(e, masks, &score);
  ns[e->info.n_layers] = (int32_t)(ek_clock_ns() - before);
}

int ek_engine_profile(ek_engine *e, const float *joints, const uint8_t *masks, int ticks, int32_t *ns) {
  if (!e || !joints || !ns || ticks < 1)
    return EK_E_ARGUMENT;
  int status = ek_engine_run(e, joints); /* checks the joints, and warms up */
  if (status)
    return status;
  ek_follow_forget(e); /* below, all layers are computed anew */
  size_t columns = (size_t)e->info.n_layers + 1;
  memset(ns, 0, sizeof *ns * columns * (size_t)ticks);
  for (int t = 0; t < ticks; t++)
    one_tick(e, masks, ns + columns * (size_t)t);
  return EK_OK;
}
