/* body_outline.h - the ellipse that a camera sees of an ellipsoid.
 *
 * With x the centre and S the squared half axes (a matrix) in the part's frame, r the rows of the pose: p = r_x - (x /
 * z) r_z and q likewise are the picture's axes at the centre's image. The outline's shape is p S p + (p S r_z)^2 / g
 * and so on, over g = z^2 - r_z S r_z; its middle is off by p S r_z / g (engines/splat/outlines.c).
 *
 * A pixel's fade is 0 inside and 1 outside: inner + d dy^2 + a (x - middle)^2, the middle of a row shifting by `slope`.
 */
enum { EK_FADE_BITS = 22 }; /* 2^-22 */
#define EK_FADED (INT32_C(1) << EK_FADE_BITS)
#define EK_NEAR (INT32_C(1) << 29) /* of the squared half axis along z: the camera is nearly inside */
#define EK_WIDE (INT32_C(1) << 28) /* of those across: 53 degrees of the view to each side */

typedef struct {
  int32_t centre[3];
  int32_t shape[6];  /* xx xy xz yy yz zz, in a unit of its own */
  int32_t rise;      /* of the fade with the square of the distance, 2^-20 */
  int16_t scale;     /* of shape: how far r S r / z^2 is shifted left, less twice the zeros in front of z */
  uint8_t frame, of; /* what carries it; which table of cover */
} ek_ellipsoid;

typedef struct {
  ek_pose base;       /* frame 0 in the camera's */
  int32_t fx, fy;     /* focal lengths, 2^-20 px */
  int32_t cx, cy;     /* 2^-16 px */
  int32_t xx, xy, yy; /* products of focal lengths, px^2, in 2^-(shape_bits + 2) */
} ek_view;

typedef struct {
  int32_t nearest;  /* in the model's unit of length */
  int32_t low_pass; /* px^2, 2^-shape_bits */
  int32_t shape_bits;
} ek_optics;

typedef struct {
  int32_t u, v, slope; /* 2^-16 px */
  int32_t a, d, inner; /* of the fade, 2^-22 */
} ek_outline;

EK_INLINE void ek_times(const int32_t *s, const int32_t *p, int32_t *out) {
  const int32_t y[3] = {s[1], s[3], s[4]}, z[3] = {s[2], s[4], s[5]};
  out[0] = (int32_t)(ek_dot3(s, p) >> 32), out[1] = (int32_t)(ek_dot3(y, p) >> 32);
  out[2] = (int32_t)(ek_dot3(z, p) >> 32);
}

/* v 2^left, within 0 and 2^30. */
EK_INLINE int32_t ek_share(int32_t v, int left) {
  if (v <= 0)
    return 0;
  return left > 0 && v >> (left < 30 ? 30 - left : 0) ? INT32_C(1) << 30 : ek_shifted(v, left);
}

/* Returns 0 where there is nothing to see. */
static int ek_project(const ek_ellipsoid *e, const ek_pose *pose, const ek_view *view, const ek_optics *optics,
                      ek_outline *out) {
  int32_t x[3], p[3], q[3], sp[3], sq[3], sz[3];
  const int32_t *rx = pose->turn, *ry = rx + 3, *rz = rx + 6;
  for (int r = 0; r < 3; r++)
    x[r] = (int32_t)(ek_dot3(rx + 3 * r, e->centre) >> 30) + pose->shift[r];
  if (x[2] <= optics->nearest || x[0] >> 2 >= x[2] || -(x[0] >> 2) >= x[2] || x[1] >> 2 >= x[2] || -(x[1] >> 2) >= x[2])
    return 0;
  int zeros = ek_zeros((uint32_t)x[2]);
  int32_t flat = ek_reciprocal((uint32_t)x[2] << zeros);
  int32_t mx = ek_high_product(x[0], flat) * (1 << (zeros - 2)), my = ek_high_product(x[1], flat) * (1 << (zeros - 2));
  for (int c = 0; c < 3; c++) {
    p[c] = (rx[c] >> 2) - (int32_t)(((int64_t)mx * rz[c]) >> 30);
    q[c] = (ry[c] >> 2) - (int32_t)(((int64_t)my * rz[c]) >> 30);
  }
  ek_times(e->shape, p, sp), ek_times(e->shape, q, sq), ek_times(e->shape, rz, sz);
  int32_t square = ek_high_product(flat, flat), scale = e->scale + 2 * zeros;
  /* Shares of z^2, 2^-30. */
  int32_t zz = ek_share(ek_high_product((int32_t)(ek_dot3(rz, sz) >> 32), square), scale);
  int32_t aa = ek_share(ek_high_product((int32_t)(ek_dot3(p, sp) >> 32), square), scale + 4);
  int32_t bb = ek_share(ek_high_product((int32_t)(ek_dot3(q, sq) >> 32), square), scale + 4);
  if (zz >= EK_NEAR || aa >= EK_WIDE || bb >= EK_WIDE)
    return 0;
  int32_t ab = ek_shifted(ek_high_product((int32_t)(ek_dot3(q, sp) >> 32), square), scale + 4);
  int32_t az = ek_shifted(ek_high_product((int32_t)(ek_dot3(rz, sp) >> 32), square), scale + 2);
  int32_t bz = ek_shifted(ek_high_product((int32_t)(ek_dot3(rz, sq) >> 32), square), scale + 2);
  int32_t rest = (INT32_C(1) << 30) - zz;
  int ahead = ek_zeros((uint32_t)rest);
  int32_t inverse = ek_reciprocal((uint32_t)rest << ahead) >> (8 - ahead); /* z^2 / g, 2^-24 */
  int32_t px = (int32_t)(((int64_t)az * inverse) >> 24), py = (int32_t)(((int64_t)bz * inverse) >> 24);
  aa = (int32_t)(((int64_t)(aa + ek_q30(az, px)) * inverse) >> 24);
  ab = (int32_t)(((int64_t)(ab + ek_q30(az, py)) * inverse) >> 24);
  bb = (int32_t)(((int64_t)(bb + ek_q30(bz, py)) * inverse) >> 24);
  int32_t xx = ek_high_product(aa, view->xx) + optics->low_pass, xy = ek_high_product(ab, view->xy);
  int32_t yy = ek_high_product(bb, view->yy) + optics->low_pass;
  out->u = ek_high_product(mx - (px >> 2), view->fx) + view->cx;
  out->v = ek_high_product(my - (py >> 2), view->fy) + view->cy;
  /* From here on: 1 / yy, and what is left of xx at a row. */
  int more = ek_zeros((uint32_t)yy);
  int32_t high = ek_reciprocal((uint32_t)yy << more);
  out->slope = (int32_t)(((int64_t)xy * high) >> (46 - more));
  int32_t wide = xx - (int32_t)(((int64_t)xy * out->slope) >> 16), least = optics->low_pass >> 1, rise = e->rise;
  wide = wide > least ? wide : least;
  /* What is small fades no faster than differences of differences fit: a, d <= 2^28. */
  least = wide < yy ? wide : yy;
  rise = rise >> (26 - optics->shape_bits) < least ? rise : least << (26 - optics->shape_bits);
  out->d = (int32_t)(((int64_t)rise * high) >> (60 - optics->shape_bits - more));
  more = ek_zeros((uint32_t)wide);
  high = ek_reciprocal((uint32_t)wide << more);
  out->a = (int32_t)(((int64_t)rise * high) >> (60 - optics->shape_bits - more));
  out->inner = EK_FADED / 2 - 4 * rise;
  return 1;
}
