/* plan.h - writes what the kernels walk: program.h. */
#ifndef EK_CUDA_PLAN_H
#define EK_CUDA_PLAN_H

#include "../native/model.h"
#include "program.h"

/* An image under construction: a head of fixed size, then constants. */
typedef struct {
  const ek_model *model;
  int type;    /* EK_GPU_INT8, ... */
  int packing; /* of what is being packed: type, or EK_GPU_INT16 */
  uint32_t *image;
  int64_t words, capacity;
  int64_t arena, shared; /* words given away */
  ek_gpu_program head;
  ek_gpu_step steps[EK_MAX_LAYERS + 1];
  int failed; /* memory ended or a limit was passed */
} ek_gpu_plan;

/* Channels in a word, and words of a block of four channels. */
static inline int ek_gpu_per_word(int type) {
  return type == EK_GPU_INT8 ? 4 : type == EK_GPU_FP16 || type == EK_GPU_INT16 ? 2 : 1;
}
static inline int ek_gpu_per_block(int type) {
  return 4 / ek_gpu_per_word(type);
}

/* Where so many words of the image begin, zeroed and 16-byte aligned; 0 and failed when that is not possible. */
int32_t ek_gpu_reserve(ek_gpu_plan *plan, int64_t words);
int32_t ek_gpu_constants(ek_gpu_plan *plan, const void *data, int64_t bytes);
/* The same of the arena or of shared memory. */
int32_t ek_gpu_take(ek_gpu_plan *plan, int64_t *from, int64_t words);
/* Of elements as `packing` says. */
ek_gpu_map ek_gpu_new_map(ek_gpu_plan *plan, ek_shape shape, int border, int shared);
ek_gpu_step *ek_gpu_push(ek_gpu_plan *plan, int kind, int64_t items);

/* dot.c: a layer with weights. stamp: what a 3x3 convolution of an enlarged map does before it is enlarged. */
void ek_gpu_push_dot(ek_gpu_plan *plan, const ek_layer *layer, const ek_gpu_map *in, const ek_gpu_map *out, int stamp);
/* Writes element i of the word (or words) at a place of the image: a weight of the layer, by its index. */
void ek_gpu_put_weight(ek_gpu_plan *plan, int64_t at, int64_t element, const ek_layer *layer, int64_t index);
/* (n) int32 biases or multipliers of channels, -1: none; floats pass as they are. */
int32_t ek_gpu_channels(ek_gpu_plan *plan, const uint8_t *values, const int32_t *channel, int n);

/* Begins with a head for a model; *image: to be freed. pixels (2, 256): of native/score.c, int8 only. */
int ek_gpu_begin(ek_gpu_plan *plan, const ek_model *model, int type);
int ek_gpu_end(ek_gpu_plan *plan, uint32_t **image);
int ek_gpu_plan_decoder(const ek_model *model, int type, const void *pixels, uint32_t **image);
int ek_gpu_plan_body(const ek_model *model, uint32_t **image);

#endif
