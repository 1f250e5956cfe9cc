/* pack.h - a layer on its way into the order in which the kernels read it: what the packers share. */
#ifndef EK_NATIVE_PACK_H
#define EK_NATIVE_PACK_H

#include "engine.h"

/* One spatial position that an output pixel sees. */
typedef struct {
  int32_t offset; /* elements from the input origin of the output pixel */
  int ky, kx;     /* of the kernel */
  int position;   /* linear: y * w + x of the input */
} ek_place;

typedef struct {
  const ek_layer *layer;
  const ek_map *in, *out;
  ek_place *taps;
  int n_taps;
  int *channel;       /* (8 * n_blocks) original output channel of a packed one, -1: padding */
  int32_t *block_off; /* (n_blocks) element offset of a block from the output pixel */
  int n_blocks;
  int blocks_per_group;
  int negative;
} ek_pack;

/* 127 * 258 = 32766 is the largest sum of products that a 16-bit lane can hold. */
enum { EK_LANE_LIMIT = 258 };

/* Where the canonical weights hold the one from input channel c at t to output channel o. */
int64_t ek_pack_index(const ek_pack *j, int o, const ek_place *t, int c);

/* Layers behind a ReLU, most of whose inputs are zero: sparse.c. */
int ek_push_columns(ek_engine *e, const ek_pack *j, const ek_dot *d, const ek_kernels *kernels);
int ek_stamp_pays(const ek_layer *layer, int negative);
int ek_push_stamp(ek_engine *e, const ek_layer *layer, const ek_map *in, const ek_map *out,
                  void (*run)(const void *ek_stamp_args));
int ek_scatter_pays(const ek_layer *layer, int negative);
int ek_push_scatter(ek_engine *e, const ek_layer *layer, const ek_map *in, const ek_map *out, const ek_dot *dense,
                    const ek_kernels *kernels);

#endif
