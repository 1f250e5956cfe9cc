/* launch.h - one program on one GPU: its memory, its stream, and the graph that is replayed for every tick. */
#ifndef EK_CUDA_LAUNCH_H
#define EK_CUDA_LAUNCH_H

#include "driver.h"
#include "edgekin.h"
#include "program.h"

enum { EK_GPU_MAX_LAUNCHES = EK_GPU_SLOTS };

typedef struct {
  ek_driver driver;
  ek_cuda_options options;
  ek_cuda_info info;
  ek_gpu_program program;
  int device;
  ek_cu_handle context, stream, module, function, event, graph, executable;
  ek_cu_pointer image, arena, device_in, device_out;
  ek_gpu_input *in;
  ek_gpu_output *out;
  size_t in_bytes, out_bytes;
  ek_gpu_args args[EK_GPU_MAX_LAUNCHES]; /* of each launch of a tick */
  int n_launches, cooperative;
  uint32_t tick;
  char why[256];
} ek_launch;

/* image: program.h, image_words of it. module: a cubin or PTX. Fills launch, which ek_launch_close frees in any case.
 */
int ek_launch_open(ek_launch *launch, const uint32_t *image, const void *module, const ek_cuda_options *options);
/* Runs a tick and waits for its tiles, which follow launch->out. masks NULL: as they were. */
int ek_launch_tick(ek_launch *launch, const float *joints, const uint8_t *masks);
/* Copies words of the arena. */
int ek_launch_read(ek_launch *launch, int32_t at, void *out, size_t bytes);
void ek_launch_close(ek_launch *launch);

#endif
