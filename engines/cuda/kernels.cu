/* kernels.cu - one launch from joint angles to the scores of all tiles: every block walks the steps of the network, and
 * the grid meets at a barrier where a step reads what other blocks wrote. Steps that end at such a barrier can be
 * launched one by one instead (first, last), where the GPU cannot hold all blocks at once. */
#include "body.cuh"
#include "score.cuh"

/* All blocks have to be resident: a cooperative launch. */
EK_DEVICE void ek_grid_barrier(uint32_t *slot) {
  ek_sync();
  if (threadIdx.x == 0) {
    ek_fence();
    ek_count(slot);
    while (ek_poll(slot) < gridDim.x) {
    }
    ek_fence();
  }
  ek_sync();
}

/* The last block to come here clears the barriers for the next tick and says that this one is done. */
EK_DEVICE void ek_finish(const ek_tick *t) {
  ek_sync();
  if (threadIdx.x != 0)
    return;
  ek_fence_system();
  if (ek_count(t->arena + EK_GPU_SLOTS - 1) + 1 < gridDim.x)
    return;
  for (int i = 0; i < EK_GPU_SLOTS; i++)
    t->arena[i] = 0;
  ek_fence_system();
  *const_cast<volatile uint32_t *>(&t->out->tick) = t->in->tick;
}

template <class T> EK_DEVICE void ek_step(const ek_tick *t, const ek_gpu_step *s) {
  switch (s->kind) {
  case EK_GPU_INPUT:
    return ek_step_input<T>(t, s);
  case EK_GPU_JOINTS_DOT:
  case EK_GPU_DOT:
    return ek_step_dot<T, false>(t, s);
  case EK_GPU_STAMP:
    return ek_step_dot<T, true>(t, s);
  case EK_GPU_BLEND:
    return ek_step_blend<T>(t, s);
  case EK_GPU_RESIZE:
    return ek_step_resize<T>(t, s);
  case EK_GPU_SCORE:
    return ek_step_score<T>(t, s);
  default:
    return ek_step_move<T>(t, s);
  }
}

template <class T> EK_DEVICE void ek_walk(const ek_gpu_args *args) {
  EK_SHARED(shared);
  ek_tick t = {args->image, args->arena, shared, args->in, args->out};
  const ek_gpu_program *p = ek_constant<ek_gpu_program>(&t, 0);
  const ek_gpu_step *steps = reinterpret_cast<const ek_gpu_step *>(p + 1);
  for (int i = args->first; i < args->last; i++) {
    ek_step<T>(&t, steps + i);
    if (i + 1 == (int)p->n_steps)
      ek_finish(&t);
    else if (steps[i].after == EK_GPU_BLOCK)
      ek_sync();
    else if (i + 1 < args->last)
      ek_grid_barrier(t.arena + i);
  }
}

EK_KERNEL ek_tick_int8(const ek_gpu_args args) {
  ek_walk<ek_int8>(&args);
}

EK_KERNEL ek_tick_fp16(const ek_gpu_args args) {
  ek_walk<ek_fp16>(&args);
}

EK_KERNEL ek_tick_fp32(const ek_gpu_args args) {
  ek_walk<ek_fp32>(&args);
}

/* A body model in one launch, or in two where its outlines do not fit into shared memory. */
EK_KERNEL ek_tick_body(const ek_gpu_args args) {
  EK_SHARED(shared);
  ek_tick t = {args.image, args.arena, shared, args.in, args.out};
  const ek_gpu_program *p = ek_constant<ek_gpu_program>(&t, 0);
  const ek_gpu_body *b = ek_constant<ek_gpu_body>(&t, (int)p->body);
  if (args.first == 0) {
    ek_body_poses(&t, p, b);
    ek_body_outlines(&t, p, b);
    if (b->outlines_shared)
      ek_sync();
    else if (args.last > 1)
      ek_grid_barrier(t.arena);
  }
  if (args.last > 1) {
    ek_body_tiles(&t, p, b);
    ek_finish(&t);
  }
}
