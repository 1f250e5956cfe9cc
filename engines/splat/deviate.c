/* deviate.c - the body as its deviations leave it, and what pictures say about them. */
#include "deviate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../core/joints.h"
#include "../core/pose.h"
#include "../core/status.h"

static const ek_pose IDENTITY = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0};

static int of_camera(const ek_deviation *d) {
  return d->kind == EK_DEVIATION_CAMERA_TURN || d->kind == EK_DEVIATION_CAMERA_SHIFT;
}

static int check(const ek_body *b, const ek_deviation *list, int n) {
  if (n < 0 || n > EK_MAX_DEVIATIONS || (n && !list))
    return EK_E_ARGUMENT;
  for (int i = 0; i < n; i++) {
    const ek_deviation *d = &list[i];
    const double *a = d->axis;
    if (d->kind < EK_DEVIATION_TURN || d->kind > EK_DEVIATION_CAMERA_SHIFT)
      return EK_E_ARGUMENT;
    if (of_camera(d) ? d->of < 0 || d->of >= b->layout.n_views : d->of < 1 || d->of >= b->layout.n_links)
      return EK_E_RANGE;
    if (!(fabs(a[0] * a[0] + a[1] * a[1] + a[2] * a[2] - 1) < 1e-6))
      return EK_E_ARGUMENT;
    for (int k = 0; k < i && d->kind == EK_DEVIATION_STRETCH; k++)
      if (list[k].kind == EK_DEVIATION_STRETCH && list[k].of == d->of)
        return EK_E_ARGUMENT;
  }
  return EK_OK;
}

void ek_deviator_free(ek_deviator *d) {
  if (!d)
    return;
  void *owned[] = {d->shape,   d->cameras,  d->group, d->link,  d->slope,   d->products,
                   d->met,     d->jacobian, d->half,  d->head,  d->touched, d->records,
                   d->edge_px, d->outlines, d->light, d->cells, d->through};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
    free(owned[i]);
  free(d);
}

/* For vectors of eight floats. */
static void *aligned(size_t bytes) {
  return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static int count_groups(ek_deviator *d, const ek_body *b) {
  d->group = malloc(sizeof *d->group * (size_t)b->layout.n_links);
  d->link = malloc(sizeof *d->link * (size_t)b->layout.n_links);
  if (!d->group || !d->link)
    return EK_E_MEMORY;
  for (int i = 0; i < b->layout.n_links; i++)
    d->group[i] = -1;
  for (int i = 0; i < b->layout.n_ellipsoids; i++)
    d->group[b->layout.link_of_ellipsoid[i]] = 0;
  for (int i = 0; i < b->layout.n_links; i++)
    if (!d->group[i])
      d->link[d->n_groups] = i, d->group[i] = d->n_groups++;
  return EK_OK;
}

/* The joint before a link, and whether a link is another or hangs on it; through: the joint by which it leaves that. */
static int joint_of(const ek_body *b, int link) {
  for (int j = 0; j < b->layout.n_joints; j++)
    if (b->layout.joints[j].child == link)
      return j;
  return -1;
}

static int hangs_on(const ek_body *b, int link, int other, int *through) {
  *through = -1;
  while (link != other) {
    *through = joint_of(b, link);
    if (*through < 0)
      return 0;
    link = b->layout.joints[*through].parent;
  }
  return 1;
}

/* Of `through`: the link hangs on something else, or it is the deviating one itself. */
enum { APART = -2, ITSELF = -1 };

static void find_through(ek_deviator *d, const ek_body *b) {
  for (int i = 0; i < d->n; i++)
    for (int g = 0; g < d->n_groups; g++) {
      int through = APART;
      if (!of_camera(&d->list[i]) && !hangs_on(b, d->link[g], d->list[i].of, &through))
        through = APART;
      d->through[i * d->n_groups + g] = (int16_t)through;
    }
}

static int allocate(ek_deviator *d, const ek_body *b) {
  if (count_groups(d, b))
    return EK_E_MEMORY;
  size_t links = (size_t)b->layout.n_links, pairs = (size_t)d->n_groups * (size_t)d->n_groups;
  size_t pixels = (size_t)b->height * (size_t)b->width, wide = (size_t)d->n_groups * EK_FLOWS * EK_MAX_DEVIATIONS;
  d->capacity = (int)pixels * (d->n_groups < EK_FLOW_DEPTH ? d->n_groups : EK_FLOW_DEPTH);
  d->shape = malloc(sizeof *d->shape * links);
  d->cameras = calloc((size_t)b->layout.n_views, sizeof *d->cameras); /* nothing is seen before the first run */
  d->slope = aligned(sizeof(float) * 5 * EK_FLOW_ROW * (size_t)b->layout.n_ellipsoids);
  d->products = aligned(sizeof(float) * EK_FLOW_ROW * EK_FLOW_ROW * pairs);
  d->met = malloc(pairs);
  d->jacobian = calloc(wide, sizeof(float)), d->half = malloc(sizeof(float) * wide);
  d->head = malloc(sizeof *d->head * pixels), d->touched = malloc(sizeof *d->touched * pixels);
  d->records = aligned(sizeof *d->records * (size_t)d->capacity);
  size_t views = (size_t)b->layout.n_views, rows = views * (size_t)b->height;
  d->through = malloc(sizeof *d->through * (size_t)d->n * (size_t)d->n_groups);
  d->edge_px = calloc(links, sizeof *d->edge_px);
  d->outlines = malloc(sizeof *d->outlines * views * (size_t)b->layout.n_ellipsoids);
  d->light = malloc(sizeof *d->light * (rows * (size_t)b->stride + EK_SPLAT_CLEARED));
  d->cells = malloc(sizeof *d->cells * rows);
  if (!d->shape || !d->cameras || !d->slope || !d->products || !d->met || !d->jacobian || !d->half || !d->head ||
      !d->touched || !d->records || !d->edge_px || !d->outlines || !d->light || !d->cells || !d->through)
    return EK_E_MEMORY;
  for (size_t i = 0; i < links; i++)
    memcpy(d->shape[i], IDENTITY, sizeof(ek_pose));
  memset(d->head, 0xff, sizeof *d->head * pixels);
  find_through(d, b);
  return EK_OK;
}

int ek_body_deviations(ek_body *b, const ek_deviation *list, int n) {
  int status = b ? check(b, list, n) : EK_E_ARGUMENT;
  if (status)
    return status;
  ek_deviator *d = NULL;
  if (n) {
    d = calloc(1, sizeof *d);
    if (!d)
      return EK_E_MEMORY;
    d->n = n;
    memcpy(d->list, list, sizeof *list * (size_t)n);
    status = allocate(d, b);
    if (status) {
      ek_deviator_free(d);
      return status;
    }
  }
  ek_deviator_free(b->deviator);
  b->deviator = d;
  if (d)
    ek_deviator_reset(b);
  return EK_OK;
}

void ek_deviator_reset(ek_body *b) {
  ek_deviator *d = b->deviator;
  size_t rows = (size_t)b->layout.n_views * (size_t)b->height;
  memcpy(d->light, b->empty, sizeof *d->light * rows * (size_t)b->stride);
  memset(d->cells, 0, sizeof *d->cells * rows);
}

int ek_body_soften(ek_body *b, const double *edge_px) {
  if (!b || !b->deviator || !edge_px)
    return EK_E_ARGUMENT;
  for (int i = 0; i < b->layout.n_links; i++)
    if (!(edge_px[i] >= 0 && edge_px[i] <= 100))
      return EK_E_RANGE;
  for (int i = 0; i < b->layout.n_links; i++)
    b->deviator->edge_px[i] = (float)edge_px[i];
  return EK_OK;
}

int ek_body_deviate(ek_body *b, const double *sizes) {
  if (!b || !b->deviator || !sizes)
    return EK_E_ARGUMENT;
  ek_deviator *d = b->deviator;
  for (int i = 0; i < d->n; i++)
    if (!(fabs(sizes[i]) < (d->list[i].kind == EK_DEVIATION_STRETCH ? 0.9 : 3)))
      return EK_E_RANGE;
  memcpy(d->size, sizes, sizeof *sizes * (size_t)d->n);
  for (int i = 0; i < d->n; i++) {
    if (d->list[i].kind != EK_DEVIATION_STRETCH)
      continue;
    double *shape = d->shape[d->list[i].of];
    const double *a = d->list[i].axis;
    for (int r = 0; r < 3; r++)
      for (int c = 0; c < 3; c++)
        shape[4 * r + c] = (r == c) + sizes[i] * a[r] * a[c];
  }
  return EK_OK;
}

/* How its axis turns: as a joint's. */
static void turn_by(const ek_deviation *d, double size, double *out) {
  ek_joint about = {.kind = EK_JOINT_REVOLUTE};
  memcpy(about.axis, d->axis, sizeof about.axis);
  ek_joint_motion(&about, size, out);
}

static void rotate(const double *pose, const double *v, double *out) {
  for (int r = 0; r < 3; r++)
    out[r] = pose[4 * r] * v[0] + pose[4 * r + 1] * v[1] + pose[4 * r + 2] * v[2];
}

void ek_deviate_place(const ek_body *b, int joint, double *place) {
  const double *shape = b->deviator->shape[b->layout.joints[joint].parent];
  const double at[3] = {place[3], place[7], place[11]};
  for (int r = 0; r < 3; r++)
    place[4 * r + 3] = shape[4 * r] * at[0] + shape[4 * r + 1] * at[1] + shape[4 * r + 2] * at[2];
}

void ek_deviate_link(ek_body *b, int link) {
  ek_deviator *d = b->deviator;
  for (int i = 0; i < d->n; i++) {
    if (d->list[i].of != link || d->list[i].kind != EK_DEVIATION_TURN)
      continue;
    ek_pose turn, turned;
    rotate(b->links[link], d->list[i].axis, d->axis[i]);
    turn_by(&d->list[i], d->size[i], turn);
    ek_pose_compose(b->links[link], turn, turned);
    memcpy(b->links[link], turned, sizeof turned);
  }
  for (int i = 0; i < d->n; i++)
    if (d->list[i].of == link && d->list[i].kind == EK_DEVIATION_STRETCH)
      rotate(b->links[link], d->list[i].axis, d->axis[i]);
}

/* The first of the list is what the camera sees last: it stands as it is written. */
void ek_deviate_camera(ek_body *b, int view) {
  ek_deviator *d = b->deviator;
  ek_pose all;
  memcpy(all, IDENTITY, sizeof all);
  for (int i = 0; i < d->n; i++) {
    if (d->list[i].of != view || !of_camera(&d->list[i]))
      continue;
    ek_pose one, next;
    memcpy(one, IDENTITY, sizeof one);
    if (d->list[i].kind == EK_DEVIATION_CAMERA_TURN)
      turn_by(&d->list[i], d->size[i], one);
    for (int r = 0; r < 3 && d->list[i].kind == EK_DEVIATION_CAMERA_SHIFT; r++)
      one[4 * r + 3] = d->size[i] * d->list[i].axis[r];
    rotate(all, d->list[i].axis, d->axis[i]);
    ek_pose_compose(all, one, next);
    memcpy(all, next, sizeof all);
  }
  ek_pose_compose(all, b->cameras[view], d->cameras[view]);
}

const double *ek_deviate_direction(const ek_deviator *d, int link) {
  for (int i = 0; i < d->n; i++)
    if (d->list[i].of == link && d->list[i].kind == EK_DEVIATION_STRETCH)
      return d->axis[i];
  return NULL;
}

/* A turn about an axis through a point of the camera's frame. */
static void turn_flow(const double *axis, const double *point, double *flow) {
  for (int r = 0; r < 3; r++) {
    int s = (r + 1) % 3, t = (r + 2) % 3;
    flow[r] = axis[r];
    flow[3 + r] = point[s] * axis[t] - point[t] * axis[s];
  }
}

static void deviation_flow(const ek_body *b, int view, int i, int link, double *flow) {
  const ek_deviator *d = b->deviator;
  const ek_deviation *about = &d->list[i];
  const double zero[3] = {0};
  memset(flow, 0, sizeof *flow * EK_FLOWS);
  if (of_camera(about)) {
    if (about->of != view)
      return;
    if (about->kind == EK_DEVIATION_CAMERA_TURN)
      turn_flow(d->axis[i], zero, flow);
    else
      memcpy(flow + 3, d->axis[i], 3 * sizeof *flow);
    return;
  }
  int through = d->through[i * d->n_groups + d->group[link]];
  if (through == APART)
    return;
  const double *seen = b->seen[view * b->layout.n_links + about->of];
  double axis[3], origin[3] = {seen[3], seen[7], seen[11]};
  rotate(d->cameras[view], d->axis[i], axis);
  if (about->kind == EK_DEVIATION_TURN) {
    turn_flow(axis, origin, flow);
  } else if (through == ITSELF) {
    flow[6] = 1 / (1 + d->size[i]); /* a flow through what is stretched already */
  } else {
    const double *place = b->corrected[through], *a = about->axis;
    double along = a[0] * place[3] + a[1] * place[7] + a[2] * place[11];
    for (int r = 0; r < 3; r++)
      flow[3 + r] = along * axis[r];
  }
}

static void fill_jacobian(ek_body *b, int view) {
  ek_deviator *d = b->deviator;
  for (int g = 0; g < d->n_groups; g++)
    for (int i = 0; i < d->n; i++) {
      double flow[EK_FLOWS];
      deviation_flow(b, view, i, d->link[g], flow);
      for (int k = 0; k < EK_FLOWS; k++)
        d->jacobian[(g * EK_FLOWS + k) * EK_MAX_DEVIATIONS + i] = (float)flow[k];
    }
}

/* Adds J' M J, below the diagonal, and J' r of a view. */
static void project(ek_body *b, double *information, double *score) {
  int n = b->deviator->n;
  float sums[EK_MAX_DEVIATIONS * EK_MAX_DEVIATIONS], scores[EK_MAX_DEVIATIONS];
  ek_body_project_flow(b, sums, scores);
  for (int i = 0; i < n; i++) {
    score[i] += (double)scores[i];
    for (int k = 0; k <= i; k++)
      information[i * n + k] += (double)sums[i * EK_MAX_DEVIATIONS + k];
  }
}

/* The soft picture takes the place of the sharp one, and gives it back. */
static void exchange(ek_body *b) {
  ek_deviator *d = b->deviator;
  ek_outline *outlines = b->outlines;
  float *light = b->light;
  uint64_t *cells = b->touched;
  b->outlines = d->outlines, b->light = d->light, b->touched = d->cells;
  d->outlines = outlines, d->light = light, d->cells = cells;
}

static void draw_soft(ek_body *b) {
  ek_deviator *d = b->deviator;
  memcpy(d->outlines, b->outlines, sizeof *d->outlines * (size_t)b->layout.n_views * (size_t)b->layout.n_ellipsoids);
  exchange(b);
  ek_body_outline(b, d->edge_px);
  ek_body_draw(b);
}

int ek_body_inform(ek_body *b, const uint8_t *masks, double floor, double *information, double *score) {
  if (!b || !b->deviator || !masks || !(floor > 0 && floor < 1e3) || !information || !score)
    return EK_E_ARGUMENT;
  int n = b->deviator->n;
  memset(information, 0, sizeof *information * (size_t)n * (size_t)n);
  memset(score, 0, sizeof *score * (size_t)n);
  draw_soft(b);
  for (int v = 0; v < b->layout.n_views; v++) {
    ek_body_flow(b, v, masks + (int64_t)v * b->height * ((b->width + 7) / 8), (float)floor);
    fill_jacobian(b, v);
    project(b, information, score);
  }
  exchange(b);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < i; k++)
      information[k * n + i] = information[i * n + k];
  return EK_OK;
}
