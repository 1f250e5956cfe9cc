/* score.cuh - logits out of the last map, and what they are worth beside the mask: a warp for 8 x 8 pixels. */
#ifndef EK_CUDA_SCORE_CUH
#define EK_CUDA_SCORE_CUH

#include "layers.cuh"

/* The sum over a warp. */
template <class V> EK_DEVICE V ek_warp_sum(V v) {
  for (int step = 16; step; step /= 2)
    v += ek_other(v, step);
  return v;
}

/* A pixel of a tile, and whether the mask shows the robot there. */
struct ek_pixel {
  int view, y, x, live, observed;
};

EK_DEVICE ek_pixel ek_pixel_of(const ek_tick *t, const ek_gpu_program *p, int tile, int half) {
  int lane = (int)threadIdx.x % 32, columns = p->tile_columns;
  ek_pixel at;
  at.view = tile / (p->tile_rows * columns);
  at.y = tile / columns % p->tile_rows * EK_GPU_TILE + lane / EK_GPU_TILE + 4 * half;
  at.x = tile % columns * EK_GPU_TILE + lane % EK_GPU_TILE;
  at.live = at.y < p->height && at.x < p->width;
  at.observed = 0;
  if (at.live && at.view < p->n_views) {
    const uint8_t *masks = reinterpret_cast<const uint8_t *>(t->in + 1);
    at.observed = masks[(at.view * p->height + at.y) * columns + at.x / 8] >> (7 - at.x % 8) & 1;
  }
  return at;
}

EK_DEVICE int ek_pixel_index(const ek_gpu_program *p, const ek_pixel *at) {
  return (at->view * p->height + at->y) * p->width + at->x;
}

/* The log-odds (or depth) of a pixel that is there. */
template <class T> EK_DEVICE typename T::value ek_logit(const ek_tick *t, const ek_gpu_step *s, const ek_pixel *at) {
  int f = s->factor;
  const uint32_t *in = ek_map_at(t, &s->in) + at->y / f * s->in.row + at->x / f * s->in.pixel;
  if (!s->narrow)
    return T::get(in, (at->view * f + at->y % f) * f + at->x % f);
  const uint32_t *weights = ek_constant<uint32_t>(t, s->narrow) + at->view * 2 * T::PER_BLOCK;
  typename T::value sum = 0;
  for (int i = 0; i < s->n_blocks * T::PER_BLOCK; i++)
    sum = T::add(sum, in[i], weights[i]);
  return T::finish(t, s, sum, at->view);
}

/* ---- int8: score.c looks up what a pixel adds, and so does this -------------------------------------------------- */

struct ek_sums_int8 {
  uint64_t first, second;
};

EK_DEVICE void ek_add_pixel(const ek_tick *t, const ek_gpu_program *p, int32_t logit, int observed, ek_sums_int8 *sum) {
  const uint64_t *pixel = ek_constant<uint64_t>(t, p->pixels) + 2 * (logit + 128 + 256 * observed);
  sum->first += pixel[0], sum->second += pixel[1];
}

EK_DEVICE void ek_keep_logit(const ek_tick *t, const ek_gpu_program *p, int index, int32_t logit) {
  reinterpret_cast<int8_t *>(t->arena + p->logits)[index] = (int8_t)logit;
}

EK_DEVICE void ek_put_sums(ek_gpu_tile *out, const ek_sums_int8 *sum) {
  uint64_t first = ek_warp_sum(sum->first), second = ek_warp_sum(sum->second);
  if (threadIdx.x % 32 == 0)
    out->sums[0] = first, out->sums[1] = second;
}

/* ---- floats ------------------------------------------------------------------------------------------------------ */

struct ek_sums_real {
  float nll, squared, entropy;
  int32_t counts; /* predicted | observed << 8 | intersection << 16 */
};

EK_DEVICE void ek_add_pixel(const ek_tick *, const ek_gpu_program *, float logit, int observed, ek_sums_real *sum) {
  float e = expf(-fabsf(logit)), tail = log1pf(e), inverse = 1.0f / (1.0f + e);
  int predicted = logit > 0;
  float probability = predicted ? inverse : e * inverse, softplus = (predicted ? logit : 0) + tail;
  float miss = probability - (float)observed;
  sum->nll += softplus - (observed ? logit : 0), sum->squared += miss * miss;
  sum->entropy += softplus - logit * probability;
  sum->counts += predicted | observed << 8 | (predicted & observed) << 16;
}

EK_DEVICE void ek_keep_logit(const ek_tick *t, const ek_gpu_program *p, int index, float logit) {
  reinterpret_cast<float *>(t->arena + p->logits)[index] = logit;
}

EK_DEVICE void ek_put_sums(ek_gpu_tile *out, const ek_sums_real *sum) {
  float nll = ek_warp_sum(sum->nll), squared = ek_warp_sum(sum->squared), entropy = ek_warp_sum(sum->entropy);
  uint32_t counts = (uint32_t)ek_warp_sum(sum->counts);
  if (threadIdx.x % 32 == 0)
    out->real.nll = nll, out->real.squared = squared, out->real.entropy = entropy, out->real.counts = counts;
}

/* ---- both -------------------------------------------------------------------------------------------------------- */

template <class T> struct ek_sums_of { typedef ek_sums_real type; };
template <> struct ek_sums_of<ek_int8> { typedef ek_sums_int8 type; };

EK_DEVICE ek_gpu_tile *ek_tiles(const ek_tick *t) {
  return reinterpret_cast<ek_gpu_tile *>(t->out + 1);
}

template <class T> EK_DEVICE void ek_step_score(const ek_tick *t, const ek_gpu_step *s) {
  const ek_gpu_program *p = ek_constant<ek_gpu_program>(t, 0);
  ek_worker w = ek_worker_of(s);
  for (int tile = w.id / 32; tile < s->n; tile += w.n / 32) {
    typename ek_sums_of<T>::type sum = {};
    for (int half = 0; half < 2; half++) {
      ek_pixel at = ek_pixel_of(t, p, tile, half);
      if (!at.live)
        continue;
      typename T::value logit = ek_logit<T>(t, s, &at);
      ek_keep_logit(t, p, ek_pixel_index(p, &at), logit);
      if (at.view < p->n_views)
        ek_add_pixel(t, p, logit, at.observed, &sum);
    }
    if (tile < p->n_views * p->tile_rows * p->tile_columns)
      ek_put_sums(ek_tiles(t) + tile, &sum);
  }
}

#endif
