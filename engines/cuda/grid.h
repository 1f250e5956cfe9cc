/* grid.h - our kernels as the work of a launch: a program (program.h), and the grid of threads that walks it. */
#ifndef EK_CUDA_GRID_H
#define EK_CUDA_GRID_H

#include "launch.h"
#include "program.h"

enum { EK_GPU_MAX_LAUNCHES = EK_GPU_SLOTS };

typedef struct {
  ek_launch launch; /* the first member: a work is given this one */
  ek_gpu_program program;
  const uint32_t *source; /* of the image, and the compiled kernels: only while it is opened */
  const void *kernels;
  ek_cu_handle module, function;
  ek_cu_pointer image, arena;
  ek_gpu_args args[EK_GPU_MAX_LAUNCHES]; /* of each launch of a tick */
  int n_launches, cooperative;
} ek_grid;

/* image: program.h, image_words of it. module: a cubin or PTX. grid: zeroed; ek_launch_close(&grid->launch) frees it.
 */
int ek_grid_open(ek_grid *grid, const uint32_t *image, const void *module, const ek_cuda_options *options);
/* Runs a tick. Returns its tiles, or NULL with a status. masks NULL: as they were. */
const ek_gpu_tile *ek_grid_tick(ek_grid *grid, const float *joints, const uint8_t *masks, int *status);
/* Copies words of the arena. */
int ek_grid_read(ek_grid *grid, int32_t at, void *out, size_t bytes);

#endif
