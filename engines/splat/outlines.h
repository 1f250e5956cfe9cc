/* outlines.h - eight ellipsoids of a link become outlines in a picture. Text of isas.h; see outlines.c. */

/* The whole numbers within reach of middle and [0, size - 1]; none: first > last. */
ISA_TARGET static inline void ISA(whole)(const v8f *middle, const v8f *reach, int size, v8i *first, v8i *last) {
  v8f zero = {0}, end = zero + (float)(size - 1), low = *middle - *reach, high = *middle + *reach;
  v8i some = (low <= end) & (high >= zero);
  low = ISA_MAX(low, zero), high = ISA_MIN(high, end);
  low = (v8f)(some & (v8i)low), high = (v8f)(some & (v8i)high);
  v8i from = __builtin_convertvector(low, v8i), to = __builtin_convertvector(high, v8i);
  from -= __builtin_convertvector(from, v8f) < low; /* a comparison yields -1 */
  *first = (some & from) | (~some & 1), *last = some & to;
}

/* Half axes and centre in the camera's frame, then the outline as outlines.c derives it. */
ISA_TARGET static void ISA(outline8)(const ek_pack *pack, const float *pose, const ek_lens *lens, float edge_px,
                                     ek_outline *out) {
  v8f zero = {0}, centre[3], axes[9], rise, reach, x[3], m[9], a[3], b[3];
  for (int k = 0; k < 3; k++) /* one by one: whole arrays would be copied by a slow string instruction */
    memcpy(&centre[k], pack->centre[k], sizeof centre[k]);
  for (int k = 0; k < 9; k++)
    memcpy(&axes[k], pack->axes[k], sizeof axes[k]);
  memcpy(&rise, pack->rise, sizeof rise);
  memcpy(&reach, pack->reach, sizeof reach);
  for (int r = 0; r < 3; r++, pose += 4) {
    x[r] = centre[0] * pose[0] + centre[1] * pose[1] + (centre[2] * pose[2] + pose[3]);
    for (int c = 0; c < 3; c++)
      m[3 * r + c] = axes[c] * pose[0] + axes[3 + c] * pose[1] + axes[6 + c] * pose[2];
  }
  v8f szz = m[6] * m[6] + m[7] * m[7] + m[8] * m[8], square = x[2] * x[2], g = square - szz;
  v8i visible = (x[2] > zero + lens->near_m) & (g > square * 0.01f);
  g = CHOOSE(visible, g, zero + 1.0f);
  v8f depth = CHOOSE(visible, x[2], zero + 1.0f), flat = 1.0f / depth, inverse = 1.0f / g;
  v8f mx = x[0] * flat, my = x[1] * flat, az = zero, bz = zero, aa = zero, ab = zero, bb = zero;
  for (int c = 0; c < 3; c++) {
    a[c] = m[c] - mx * m[6 + c], b[c] = m[3 + c] - my * m[6 + c];
    az += a[c] * m[6 + c], bz += b[c] * m[6 + c];
    aa += a[c] * a[c], ab += a[c] * b[c], bb += b[c] * b[c];
  }
  v8f px = az * inverse, py = bz * inverse, det = zero;
  v8f hxx = (aa + az * px) * inverse, hxy = (ab + az * py) * inverse, hyy = (bb + bz * py) * inverse;
  for (int c = 0; c < 3; c++) {
    v8f cross = a[(c + 1) % 3] * b[(c + 2) % 3] - a[(c + 2) % 3] * b[(c + 1) % 3], across = bz * a[c] - az * b[c];
    det += cross * cross + across * across * inverse;
  }
  float fx = lens->fx, fy = lens->fy, low = lens->low_pass_px2, both = fx * fy;
  v8f cxx = hxx * (fx * fx), cyy = hyy * (fy * fy), u = (mx - px) * fx + lens->cx, v = (my - py) * fy + lens->cy;
  det = det * inverse * inverse * (both * both) + ((cxx + cyy) * low + low * low);
  cxx = cxx + low, cyy = cyy + low;
  if (edge_px > 0) {
    v8f narrow = det / (cxx + cyy); /* between half and all of the smaller half axis' square */
    ISA_ROOT(narrow, narrow);
    narrow = narrow * (0.5f / edge_px);
    rise = ISA_MIN(rise, narrow);
    reach = 0.5f / rise;
  }
  v8f scale = rise / det, grow = reach + 1.0f, wide = grow * cxx, high = grow * cyy;
  v8i left, right, top, bottom;
  ISA_ROOT(wide, wide);
  ISA_ROOT(high, high);
  ISA(whole)(&u, &wide, lens->width, &left, &right);
  ISA(whole)(&v, &high, lens->height, &top, &bottom);
  v8i seen = visible & (left <= right);
  top = (seen & top) | (~seen & 1), bottom = seen & bottom;
  v8f fields[8] = {u, v, scale * cyy, hxy * (-2 * both) * scale, scale * cxx, zero + 0.5f - rise};
  v8i rows = top | bottom << 16, columns = left | right << 16; /* none is negative */
  memcpy(&fields[6], pack->opacity, sizeof fields[6]);
  memcpy(&fields[7], pack->rest, sizeof fields[7]);
  ISA(transpose)(fields);
  for (int i = 0; i < pack->n; i++) {
    ek_outline *o = &out[pack->of[i]];
    int32_t ends[2] = {rows[i], columns[i]};
    memcpy(o, &fields[i], sizeof fields[i]);
    memcpy(&o->top, ends, sizeof ends);
  }
}
