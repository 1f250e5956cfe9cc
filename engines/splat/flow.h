/* flow.h - slopes of outlines, records of pixels, and their products. Text of isas.h; see flow.c. */
#include "span.h"

/* For eight ellipsoids of a link what each flow does to the fade: with (p, q) = half the fade's slope along x and y it
 * grows by slope[0] p + slope[1] q + slope[2] p^2 + slope[3] p q + slope[4] q^2, flow by flow. */
ISA_TARGET static void ISA(slopes8)(const ek_pack *pack, const float *pose, const float *lens, const ek_flow *flows,
                                    const ek_outline *outlines, float *slope) {
  v8f zero = {0}, centre[3], axes[9], rise, x[3], m[9], q[3][3];
  memcpy(centre, pack->centre, sizeof centre);
  memcpy(axes, pack->axes, sizeof axes);
  for (int i = 0; i < EK_SPLAT_LANES; i++)
    rise[i] = 0.5f - outlines[pack->of[i]].inner; /* as it is drawn */
  for (int r = 0; r < 3; r++, pose += 4) {
    x[r] = centre[0] * pose[0] + centre[1] * pose[1] + (centre[2] * pose[2] + pose[3]);
    for (int c = 0; c < 3; c++)
      m[3 * r + c] = axes[c] * pose[0] + axes[3 + c] * pose[1] + axes[6 + c] * pose[2];
  }
  for (int r = 0; r < 3; r++)
    for (int c = 0; c <= r; c++)
      q[r][c] = q[c][r] =
          x[r] * x[c] - (m[3 * r] * m[3 * c] + m[3 * r + 1] * m[3 * c + 1] + m[3 * r + 2] * m[3 * c + 2]);
  v8f inverse = 1.0f / q[2][2], steep = 1.0f / rise, n[2] = {q[0][2] * inverse, q[1][2] * inverse};
  for (int k = 0; k < EK_FLOWS; k++) {
    const ek_flow *flow = &flows[k];
    v8f moved[3][3], dq[3][3], dn[2], dh[2][2];
    for (int r = 0; r < 3; r++)
      for (int c = 0; c < 3; c++)
        moved[r][c] = q[0][c] * flow->turn[3 * r] + q[1][c] * flow->turn[3 * r + 1] +
                      (q[2][c] * flow->turn[3 * r + 2] + x[c] * flow->shift[r]);
    for (int r = 0; r < 3; r++)
      for (int c = 0; c < 3; c++)
        dq[r][c] = (moved[r][c] + moved[c][r]) * inverse;
    for (int r = 0; r < 2; r++)
      dn[r] = dq[r][2] - n[r] * dq[2][2];
    for (int r = 0; r < 2; r++)
      for (int c = 0; c < 2; c++)
        dh[r][c] = dn[r] * n[c] + n[r] * dn[c] - (dq[r][c] - q[r][c] * inverse * dq[2][2]);
    v8f out[5] = {dn[0] * (-2 * lens[0]), dn[1] * (-2 * lens[1]), dh[0][0] * steep * (-lens[0] * lens[0]),
                  dh[0][1] * steep * (-2 * lens[0] * lens[1]), dh[1][1] * steep * (-lens[1] * lens[1])};
    for (int i = 0; i < pack->n; i++)
      for (int j = 0; j < 5; j++)
        slope[EK_FLOW_ROW * (5 * pack->of[i] + j) + k] = out[j][i];
  }
  for (int i = 0; i < pack->n; i++)
    for (int j = 0; j < 5; j++)
      slope[EK_FLOW_ROW * (5 * pack->of[i] + j) + EK_FLOWS] = zero[0];
}

/* Records eight pixels of a row, which is dy below the centre in every lane, from column x on. */
ISA_TARGET static inline void ISA(record8)(const ek_outline *o, const v8f *slope, int group, int x, int y,
                                           const ek_canvas *canvas) {
  const v8i lane = {0, 1, 2, 3, 4, 5, 6, 7};
  const v8f along = {0, 1, 2, 3, 4, 5, 6, 7};
  v8f zero = {0}, light, dx = along + ((float)x - o->u), dy = zero + ((float)y - o->v);
  v8f p = dx * o->a + dy * (o->b2 / 2), q = dx * (o->b2 / 2) + dy * o->c, f = dx * p + dy * q + o->inner;
  int at = y * canvas->stride + x, bits;
  memcpy(&light, canvas->light + at, sizeof light);
  f = ISA_MAX(f, zero);
  f = ISA_MIN(f, zero + 1.0f);
  v8f smooth = f * f * (3.0f - (f + f));
  v8f steep = light * (f - f * f) * (-6.0f * o->opacity) / (smooth * o->opacity + o->rest);
  v8i answers = (steep < -0.01f) & (lane < canvas->width - x);
  ISA_BITS(answers, bits);
  float all[3][8];
  memcpy(all[0], &steep, sizeof steep), memcpy(all[1], &p, sizeof p), memcpy(all[2], &q, sizeof q);
  for (; bits; bits &= bits - 1) {
    int i = __builtin_ctz((unsigned)bits);
    ek_flow_pixel *r = record_of(canvas->d, y * canvas->width + x + i, group);
    if (!r)
      return;
    float s = all[0][i], px = s * all[1][i], qx = s * all[2][i];
    v8f g;
    memcpy(&g, r->g, sizeof g);
    g += slope[0] * px + slope[1] * qx + slope[2] * (px * all[1][i]) + slope[3] * (px * all[2][i]) +
         slope[4] * (qx * all[2][i]);
    memcpy(r->g, &g, sizeof g);
  }
}

ISA_TARGET static void ISA(record)(const ek_outline *o, const float *slopes, int group, const ek_canvas *canvas) {
  v8f slope[5];
  memcpy(slope, slopes, sizeof slope);
  int narrow = o->right - o->left < EK_SPLAT_NARROW;
  for (int y = o->top; y <= o->bottom; y++) {
    ek_reach r = narrow ? (ek_reach){o->left, o->right} : ISA(span)(o, (float)y - o->v, canvas->width);
    for (int x = r.first; x <= r.last; x += EK_SPLAT_LANES)
      ISA(record8)(o, slope, group, x, y, canvas);
  }
}

/* Adds weight times a row of one link by all of another's to their products. */
ISA_TARGET static inline void ISA(outer)(float weight, const float *row, const v8f *column, float *products) {
  for (int k = 0; k < EK_FLOWS; k++) {
    v8f sum;
    memcpy(&sum, products + EK_FLOW_ROW * k, sizeof sum);
    sum += *column * (weight * row[k]);
    memcpy(products + EK_FLOW_ROW * k, &sum, sizeof sum);
  }
}

ISA_TARGET static void ISA(products)(const ek_canvas *canvas) {
  ek_deviator *d = canvas->d;
  int columns = (canvas->width + 7) / 8;
  for (int i = 0; i < d->n_touched; i++) {
    int32_t pixel = d->touched[i];
    int x = pixel % canvas->width, y = pixel / canvas->width;
    float light = canvas->light[y * canvas->stride + x], p = 1 - canvas->sharp[y * canvas->stride + x];
    float on = (float)(canvas->mask[y * columns + x / 8] >> (7 - x % 8) & 1);
    float weight = 1 / ((1 - light) * light + canvas->floor);
    for (int32_t at = d->head[pixel]; at >= 0; at = d->records[at].next)
      for (int32_t to = at; to >= 0; to = d->records[to].next) {
        const ek_flow_pixel *a = &d->records[at], *b = &d->records[to];
        const ek_flow_pixel *row = a->group <= b->group ? a : b, *column = row == a ? b : a;
        int pair = row->group * d->n_groups + column->group;
        float *products = d->products + (int64_t)EK_FLOW_ROW * EK_FLOW_ROW * pair;
        v8f other;
        memcpy(&other, column->g, sizeof other);
        if (at == to)
          other[EK_FLOWS] = on - p;
        if (!d->met[pair]) {
          d->met[pair] = 1;
          memset(products, 0, sizeof(float) * EK_FLOW_ROW * EK_FLOW_ROW);
        }
        ISA(outer)(weight, row->g, &other, products);
      }
    d->head[pixel] = -1;
  }
}

/* Adds factor times eights of a row to those of another. */
ISA_TARGET static inline void ISA(add)(float factor, const float *from, int n, float *to) {
  for (int i = 0; i < n; i += 8) {
    v8f a, b;
    memcpy(&a, from + i, sizeof a), memcpy(&b, to + i, sizeof b);
    b += a * factor;
    memcpy(to + i, &b, sizeof b);
  }
}

/* half = M J, then J' half, row by row of J. */
ISA_TARGET static void ISA(project)(ek_deviator *d, float *information, float *score) {
  const int n = d->n, groups = d->n_groups, wide = EK_FLOWS * EK_MAX_DEVIATIONS;
  memset(d->half, 0, sizeof(float) * (size_t)(groups * wide));
  memset(information, 0, sizeof(float) * (size_t)(n * EK_MAX_DEVIATIONS));
  memset(score, 0, sizeof(float) * (size_t)n);
  for (int g = 0; g < groups; g++)
    for (int h = g; h < groups; h++) {
      const float *m = d->products + (int64_t)EK_FLOW_ROW * EK_FLOW_ROW * (g * groups + h);
      for (int k = 0; k < EK_FLOWS && d->met[g * groups + h]; k++)
        for (int l = 0; l < EK_FLOWS; l++) {
          float factor = m[EK_FLOW_ROW * k + l];
          int row = g * wide + k * EK_MAX_DEVIATIONS, column = h * wide + l * EK_MAX_DEVIATIONS;
          ISA(add)(factor, d->jacobian + column, n, d->half + row);
          if (g != h)
            ISA(add)(factor, d->jacobian + row, n, d->half + column);
        }
    }
  for (int row = 0; row < groups * EK_FLOWS; row++) {
    const float *j = d->jacobian + row * EK_MAX_DEVIATIONS, *half = d->half + row * EK_MAX_DEVIATIONS;
    int own = row / EK_FLOWS * (groups + 1);
    float residual = d->met[own] ? d->products[EK_FLOW_ROW * (EK_FLOW_ROW * own + row % EK_FLOWS) + EK_FLOWS] : 0;
    for (int i = 0; i < n; i++) {
      if (j[i] == 0)
        continue;
      score[i] += j[i] * residual;
      ISA(add)(j[i], half, i + 1, information + i * EK_MAX_DEVIATIONS);
    }
  }
}
