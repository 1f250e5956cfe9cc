/* body.cuh - a body model: engines/splat, pose by pose, outline by outline, and pixel by pixel instead of outline by
 * outline. Poses and outlines are little work, so every block computes all of them for itself and needs no barrier. */
#ifndef EK_CUDA_BODY_CUH
#define EK_CUDA_BODY_CUH

#include "score.cuh"

#define EK_BODY_DARK 0x1p-20f

/* Entry i (of 3x4) of a b. */
template <class A, class B> EK_DEVICE double ek_composed(const A *a, const B *b, int i) {
  int r = i / 4 * 4, c = i % 4;
  return a[r] * b[c] + a[r + 1] * b[4 + c] + a[r + 2] * b[8 + c] + (c == 3 ? a[r + 3] : 0);
}

/* Where a coordinate moves a link: core/joints.h. */
EK_DEVICE void ek_motion(const ek_gpu_joint *joint, double q, double *out) {
  const double *a = joint->axis;
  for (int i = 0; i < 12; i++)
    out[i] = i % 5 == 0 ? 1 : 0;
  if (joint->kind == 2) {
    for (int r = 0; r < 3; r++)
      out[4 * r + 3] = q * a[r];
  } else if (joint->kind == 1) {
    double c = ek_sine(q, 1), s = ek_sine(q, 0), v = 1 - c;
    for (int r = 0; r < 3; r++)
      for (int k = 0; k < 3; k++)
        out[4 * r + k] = v * a[r] * a[k] + (r == k ? c : 0);
    out[1] -= s * a[2], out[4] += s * a[2];
    out[2] += s * a[1], out[8] -= s * a[1];
    out[6] -= s * a[0], out[9] += s * a[0];
  }
}

/* Joints side by side, then one after another along the tree with a thread for each entry, then all views. */
EK_DEVICE void ek_body_poses(const ek_tick *t, const ek_gpu_program *p, const ek_gpu_body *b) {
  double *locals = reinterpret_cast<double *>(t->shared + b->locals);
  double *links = reinterpret_cast<double *>(t->shared + b->links);
  float *seen = reinterpret_cast<float *>(t->shared + b->seen);
  const ek_gpu_joint *joints = ek_constant<ek_gpu_joint>(t, b->joints);
  const ek_gpu_camera *cameras = ek_constant<ek_gpu_camera>(t, b->cameras);
  int id = (int)threadIdx.x, n = (int)blockDim.x;
  for (int j = id; j < b->n_joints; j += n) {
    double motion[12];
    ek_motion(&joints[j], joints[j].coordinate < 0 ? joints[j].rest : t->in->joints[joints[j].coordinate], motion);
    for (int i = 0; i < 12; i++)
      locals[12 * j + i] = ek_composed(joints[j].corrected, motion, i);
  }
  if (id < 12)
    links[id] = b->base[id];
  ek_sync();
  for (int j = 0; id < 32 && j < b->n_joints; j++) {
    if (id < 12)
      links[12 * joints[j].child + id] = ek_composed(links + 12 * joints[j].parent, locals + 12 * j, id);
    ek_warp();
  }
  ek_sync();
  for (int i = id; i < p->n_views * b->n_links * 12; i += n)
    seen[i] = (float)ek_composed(cameras[i / 12 / b->n_links].world_to_cam, links + i / 12 % b->n_links * 12, i % 12);
  ek_sync();
}

/* The whole numbers within reach of middle and [0, size - 1]; none: first > last. */
EK_DEVICE void ek_whole(float middle, float reach, int size, int32_t *first, int32_t *last) {
  float end = (float)(size - 1), low = middle - reach, high = middle + reach;
  *first = 1, *last = 0;
  if (!(low <= end && high >= 0))
    return;
  low = low > 0 ? low : 0, high = high < end ? high : end;
  *first = (int32_t)low, *last = (int32_t)high;
  *first += (float)*first < low;
}

/* splat/outlines.h for one ellipsoid. */
EK_DEVICE void ek_outline(const ek_gpu_ellipsoid *e, const float *pose, const ek_gpu_camera *lens, float low, int width,
                          int height, ek_gpu_outline *o) {
  float x[3], m[9], a[3], b[3];
  for (int r = 0; r < 3; r++, pose += 4) {
    x[r] = e->centre[0] * pose[0] + e->centre[1] * pose[1] + (e->centre[2] * pose[2] + pose[3]);
    for (int c = 0; c < 3; c++)
      m[3 * r + c] = e->axes[c] * pose[0] + e->axes[3 + c] * pose[1] + e->axes[6 + c] * pose[2];
  }
  float szz = m[6] * m[6] + m[7] * m[7] + m[8] * m[8], square = x[2] * x[2], g = square - szz;
  int visible = x[2] > lens->near_m && g > square * 0.01f;
  g = visible ? g : 1;
  float flat = 1.0f / (visible ? x[2] : 1.0f), inverse = 1.0f / g;
  float mx = x[0] * flat, my = x[1] * flat, az = 0, bz = 0, aa = 0, ab = 0, bb = 0, det = 0;
  for (int c = 0; c < 3; c++) {
    a[c] = m[c] - mx * m[6 + c], b[c] = m[3 + c] - my * m[6 + c];
    az += a[c] * m[6 + c], bz += b[c] * m[6 + c];
    aa += a[c] * a[c], ab += a[c] * b[c], bb += b[c] * b[c];
  }
  float px = az * inverse, py = bz * inverse;
  float hxx = (aa + az * px) * inverse, hxy = (ab + az * py) * inverse, hyy = (bb + bz * py) * inverse;
  for (int c = 0; c < 3; c++) {
    float cross = a[(c + 1) % 3] * b[(c + 2) % 3] - a[(c + 2) % 3] * b[(c + 1) % 3], across = bz * a[c] - az * b[c];
    det += cross * cross + across * across * inverse;
  }
  float fx = lens->fx, fy = lens->fy, both = fx * fy;
  float cxx = hxx * (fx * fx), cyy = hyy * (fy * fy);
  o->u = (mx - px) * fx + lens->cx, o->v = (my - py) * fy + lens->cy;
  det = det * inverse * inverse * (both * both) + ((cxx + cyy) * low + low * low);
  cxx = cxx + low, cyy = cyy + low;
  float scale = e->rise / det, grow = e->reach + 1.0f;
  ek_whole(o->u, sqrtf(grow * cxx), width, &o->left, &o->right);
  ek_whole(o->v, sqrtf(grow * cyy), height, &o->top, &o->bottom);
  if (!visible || o->left > o->right)
    o->top = 1, o->bottom = 0;
  o->a = scale * cyy, o->b2 = hxy * (-2 * both) * scale, o->c = scale * cxx, o->inner = 0.5f - e->rise;
  o->opacity = e->opacity, o->rest = e->rest;
}

EK_DEVICE ek_gpu_outline *ek_outlines_at(const ek_tick *t, const ek_gpu_body *b) {
  return reinterpret_cast<ek_gpu_outline *>((b->outlines_shared ? t->shared : t->arena) + b->outlines);
}

EK_DEVICE void ek_body_outlines(const ek_tick *t, const ek_gpu_program *p, const ek_gpu_body *b) {
  const ek_gpu_camera *cameras = ek_constant<ek_gpu_camera>(t, b->cameras);
  const ek_gpu_ellipsoid *ellipsoids = ek_constant<ek_gpu_ellipsoid>(t, b->ellipsoids);
  const float *seen = reinterpret_cast<const float *>(t->shared + b->seen);
  int id = (int)threadIdx.x, n = (int)blockDim.x;
  if (!b->outlines_shared)
    id += n * (int)blockIdx.x, n *= (int)gridDim.x;
  for (int i = id; i < p->n_views * b->n_ellipsoids; i += n) {
    int view = i / b->n_ellipsoids;
    const ek_gpu_ellipsoid *e = &ellipsoids[i % b->n_ellipsoids];
    ek_outline(e, seen + 12 * (view * b->n_links + e->link), &cameras[view], b->low_pass_px2, p->width, p->height,
               ek_outlines_at(t, b) + i);
  }
}

/* The share of the light that an outline leaves a pixel; splat/raster.h. */
EK_DEVICE float ek_left(const ek_gpu_outline *o, int x, int y) {
  float dx = (float)x - o->u, dy = (float)y - o->v;
  float f = dy * (dy * o->c + dx * o->b2) + (dx * o->a * dx + o->inner);
  f = f > 0 ? f : 0, f = f < 1 ? f : 1;
  return f * f * (3.0f - (f + f)) * o->opacity + o->rest;
}

/* x = m 2^power, m in [sqrt(1/2), sqrt(2)). */
EK_DEVICE float ek_split(float x, float *power) {
  int32_t bits;
  memcpy(&bits, &x, sizeof bits);
  int32_t p = (bits - 0x3f3504f3) >> 23;
  bits -= (int32_t)((uint32_t)p << 23);
  memcpy(&x, &bits, sizeof x);
  *power = (float)p;
  return x;
}

EK_DEVICE float ek_series(float z, float power) {
  float s = z * z, p = ((s * (1.0f / 7) + 1.0f / 5) * s + 1.0f / 3) * s, twice = z + z;
  return power * 0.693147181f + (twice * p + twice);
}

/* The logarithms of the light and of what it lacks; splat/light.h. */
EK_DEVICE void ek_logs(float t, float *log_t, float *log_p) {
  float tp, pp, tm = ek_split(t, &tp), pm = ek_split(1.0f - t, &pp);
  float up = tm + 1.0f, down = pm + 1.0f, both = 1.0f / (up * down);
  *log_t = ek_series((tm - 1.0f) * (down * both), tp);
  *log_p = ek_series((pm - 1.0f) * (up * both), pp);
}

EK_DEVICE void ek_add_light(float light, int observed, ek_sums_real *sum, float *logit) {
  float t = light > EK_BODY_DARK ? light : EK_BODY_DARK, off, on;
  t = t < 1.0f - EK_BODY_DARK ? t : 1.0f - EK_BODY_DARK;
  ek_logs(t, &off, &on);
  float p = 1.0f - t, miss = observed ? t : p;
  int predicted = t < 0.5f;
  sum->nll -= observed ? on : off, sum->squared += miss * miss, sum->entropy -= p * on + t * off;
  sum->counts += predicted | observed << 8 | (predicted & observed) << 16;
  *logit = on - off;
}

/* Multiplies the outlines that meet a tile into its pixels' light; 32 of them are asked at a time. */
EK_DEVICE void ek_body_light(const ek_tick *t, const ek_gpu_body *b, const ek_pixel *at, float *light) {
  int lane = (int)threadIdx.x % 32, top = at[0].y - lane / EK_GPU_TILE, left = at[0].x - lane % EK_GPU_TILE;
  const ek_gpu_outline *outlines = ek_outlines_at(t, b) + at[0].view * b->n_ellipsoids;
  for (int from = 0; from < b->n_ellipsoids; from += 32) {
    int i = from + lane, meets = 0;
    if (i < b->n_ellipsoids) {
      const ek_gpu_outline *o = &outlines[i];
      meets = o->top <= o->bottom && o->left < left + EK_GPU_TILE && o->right >= left && o->top < top + EK_GPU_TILE &&
              o->bottom >= top;
    }
    for (uint32_t some = ek_ballot(meets); some; some &= some - 1) {
      const ek_gpu_outline *o = &outlines[from + ek_first_bit(some)];
      for (int half = 0; half < 2; half++) {
        int inside = at[half].x >= o->left && at[half].x <= o->right && at[half].y >= o->top && at[half].y <= o->bottom;
        float darker = light[half] * ek_left(o, at[half].x, at[half].y);
        light[half] = !inside ? light[half] : darker > 0x1p-24f ? darker : 0x1p-24f;
      }
    }
  }
}

EK_DEVICE void ek_body_tiles(const ek_tick *t, const ek_gpu_program *p, const ek_gpu_body *b) {
  const float *background = b->background ? ek_constant<float>(t, b->background) : 0;
  int warp = (int)(threadIdx.x / 32 * gridDim.x + blockIdx.x), warps = (int)(blockDim.x / 32 * gridDim.x);
  for (int tile = warp; tile < p->n_views * p->tile_rows * p->tile_columns; tile += warps) {
    ek_pixel at[2];
    float light[2], logit;
    ek_sums_real sum = {};
    for (int half = 0; half < 2; half++) {
      at[half] = ek_pixel_of(t, p, tile, half);
      light[half] = background && at[half].live ? background[ek_pixel_index(p, &at[half])] : b->empty;
    }
    ek_body_light(t, b, at, light);
    for (int half = 0; half < 2; half++) {
      if (!at[half].live)
        continue;
      ek_add_light(light[half], at[half].observed, &sum, &logit);
      ek_keep_logit(t, p, ek_pixel_index(p, &at[half]), logit);
    }
    ek_put_sums(ek_tiles(t) + tile, &sum);
  }
}

#endif
