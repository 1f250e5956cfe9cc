/* outlines.c - every ellipsoid's outline in every picture, exactly: a pinhole sees an ellipsoid as an ellipse.
 *
 * project.c has the formula, in double, for the derivatives. Here it is arranged for float: with x the centre and m_x,
 * m_y, m_z the rows of the half axes in the camera's frame, move the picture's middle to the centre's image: a = m_x -
 * (x / z) m_z, b likewise. Then with g = z^2 - m_z^2 the outline is (a.a + (a.m_z)^2 / g) / g and so on about (x / z -
 * a.m_z / g): sums of squares, where the quadric subtracts numbers of order one to get a thousandth. So is its
 * determinant: |a x b|^2 + |(b.m_z) a - (a.m_z) b|^2 / g (Lagrange's identity). */
#include "body.h"

#include <stdlib.h>

#define ISA_TEXT "outlines.h"
#include "isas.h"

void ek_body_pack(ek_body *b) {
  int n = 0;
  for (int view = 0; view < b->layout.n_views; view++)
    for (int i = 0; i < b->layout.n_ellipsoids; i++)
      b->outlines[view * b->layout.n_ellipsoids + i] = (ek_outline){.top = 1};
  for (int link = 0; link < b->layout.n_links; link++) {
    ek_pack *p = NULL;
    for (int i = 0; i < b->layout.n_ellipsoids; i++) {
      const ek_ellipsoid *e = &b->ellipsoids[i];
      if (b->layout.link_of_ellipsoid[i] != link || e->opacity < EK_SPLAT_FAINT)
        continue;
      if (!p || p->n == EK_SPLAT_LANES) {
        p = &b->packs[n++];
        memset(p, 0, sizeof *p); /* lanes without an ellipsoid are points at the link's origin */
        p->link = link;
      }
      for (int k = 0; k < 3; k++)
        p->centre[k][p->n] = (float)e->centre[k];
      for (int k = 0; k < 9; k++)
        p->axes[k][p->n] = (float)e->axes[k];
      p->rise[p->n] = (float)e->rise, p->reach[p->n] = (float)e->reach;
      p->opacity[p->n] = (float)e->opacity, p->rest[p->n] = (float)(1 - e->opacity);
      p->of[p->n++] = i;
    }
  }
  b->n_packs = n;
}

void ek_body_outline(ek_body *b, const float *edge_px) {
  for (int view = 0; view < b->layout.n_views; view++) {
    const double *lens = b->lens[view];
    const ek_lens l = {(float)lens[0],
                       (float)lens[1],
                       (float)lens[2],
                       (float)lens[3],
                       (float)b->layout.cameras[view].near_m,
                       (float)b->layout.low_pass_px2,
                       b->width,
                       b->height};
    for (int i = 0; i < b->n_packs; i++) {
      const ek_pack *p = &b->packs[i];
      const double *pose = b->seen[view * b->layout.n_links + p->link];
      float seen[12];
      if (b->hidden[p->link]) {
        for (int k = 0; k < p->n; k++)
          b->outlines[view * b->layout.n_ellipsoids + p->of[k]].top = 1,
                                                      b->outlines[view * b->layout.n_ellipsoids + p->of[k]].bottom = 0;
        continue;
      }
      for (int k = 0; k < 12; k++)
        seen[k] = (float)pose[k];
      ISA_OF(b, outline8)
      (p, seen, &l, edge_px ? edge_px[p->link] : 0, b->outlines + (int64_t)view * b->layout.n_ellipsoids);
    }
  }
}
