/* narrow.c - packs the 1x1 convolution that ends a network. In blocks of 8 outputs most of its products would be with
 * outputs that do not exist. */
#include "../core/status.h"
#include "engine.h"
#include <string.h>

int ek_push_narrow(ek_engine *e, const ek_layer *l, const ek_map *in, const ek_map *out, int negative,
                   void (*run)(const void *)) {
  int bytes = e->info.precision == EK_PRECISION_INT8 ? 1 : 4;
  char *weights = ek_pool(e, 8 * (int64_t)l->out.c * bytes), *bias = ek_pool(e, 4 * (int64_t)l->out.c);
  char *mult = ek_pool(e, 4 * (int64_t)l->out.c);
  ek_narrow *n = ek_pool(e, sizeof *n);
  if (!weights || !bias || !mult || !n)
    return EK_E_MEMORY;
  for (int o = 0; o < l->out.c; o++)
    memcpy(weights + 8 * (int64_t)o * bytes, l->weight + ek_weight_index(l, o, 0, 0, 0) * bytes,
           (size_t)(l->in.c * bytes));
  memcpy(bias, l->bias, 4 * (size_t)l->out.c);
  if (l->mult)
    memcpy(mult, l->mult, 4 * (size_t)l->out.c);
  *n = (ek_narrow){*in, *out, weights, bias, (const int32_t *)mult, l->shift, l->relu, negative};
  return ek_push(e, run, n);
}
