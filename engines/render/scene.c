/* scene.c - builds the scene: checks, lays triangles out by link, finds which links are closed surfaces. */
#include "scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../core/status.h"

typedef struct {
  float a[3], b[3]; /* the edge's ends, a < b lexicographically */
  int direction;    /* +1 from a to b, -1 from b to a */
} edge_t;

static int compare_points(const float *p, const float *q) {
  for (int i = 0; i < 3; i++) {
    if (p[i] != q[i])
      return p[i] < q[i] ? -1 : 1;
  }
  return 0;
}

static int compare_edges(const void *left, const void *right) {
  const edge_t *l = left, *r = right;
  int order = compare_points(l->a, r->a);
  return order ? order : compare_points(l->b, r->b);
}

/* Corners are compared by position: meshes repeat a vertex for every face. If each directed edge occurs as often as
 * its reverse, the surface bounds a volume, and any line of sight meets as many front faces as back faces. */
static int is_closed(const edge_t *edges, int n) {
  for (int i = 0; i < n;) {
    int sum = 0, j = i;
    for (; j < n && compare_edges(&edges[i], &edges[j]) == 0; j++)
      sum += edges[j].direction;
    if (sum != 0)
      return 0;
    i = j;
  }
  return 1;
}

static void add_edges(const float *const corner[3], edge_t *edges, int *n) {
  for (int k = 0; k < 3; k++) {
    const float *p = corner[k], *q = corner[(k + 1) % 3];
    int order = compare_points(p, q);
    if (order == 0)
      continue; /* an edge of no length bounds nothing */
    edge_t *edge = &edges[(*n)++];
    memcpy(edge->a, order < 0 ? p : q, sizeof edge->a);
    memcpy(edge->b, order < 0 ? q : p, sizeof edge->b);
    edge->direction = order < 0 ? 1 : -1;
  }
}

static int check(const float *vertices, int n_vertices, const int32_t *triangles, const int32_t *link_of_triangle,
                 int n_triangles, int n_links) {
  if (n_vertices < 0 || n_triangles < 0 || n_links < 1 ||
      (n_triangles > 0 && (!vertices || !triangles || !link_of_triangle)))
    return EK_E_ARGUMENT;
  if (n_triangles > (1 << 26))
    return EK_E_RANGE;
  for (int i = 0; i < 3 * n_triangles; i++) {
    if (triangles[i] < 0 || triangles[i] >= n_vertices)
      return EK_E_RANGE;
  }
  for (int i = 0; i < n_triangles; i++) {
    if (link_of_triangle[i] < 0 || link_of_triangle[i] >= n_links)
      return EK_E_RANGE;
  }
  for (int i = 0; i < 3 * n_vertices; i++) {
    if (!isfinite(vertices[i]))
      return EK_E_NONFINITE;
  }
  return EK_OK;
}

static void fill_link(ek_scene *scene, int link, const float *vertices, const int32_t *triangles,
                      const int32_t *link_of_triangle, int n_triangles, edge_t *edges, float *soup, float *keys) {
  ek_link_range *range = &scene->links[link];
  int n_edges = 0, n = 0;
  for (int i = 0; i < 3; i++) {
    range->low[i] = INFINITY;
    range->high[i] = -INFINITY;
  }
  for (int t = 0; t < n_triangles; t++) {
    if (link_of_triangle[t] != link)
      continue;
    const float *corner[3];
    for (int k = 0; k < 3; k++) {
      corner[k] = &vertices[3 * triangles[3 * t + k]];
      for (int i = 0; i < 3; i++) {
        float value = soup[9 * n + 3 * k + i] = corner[k][i];
        range->low[i] = fminf(range->low[i], value);
        range->high[i] = fmaxf(range->high[i], value);
      }
    }
    add_edges(corner, edges, &n_edges);
    n++;
  }
  qsort(edges, (size_t)n_edges, sizeof *edges, compare_edges);
  range->closed = is_closed(edges, n_edges);
  range->large = ek_cluster_large(soup, n, keys);
  ek_cluster_sort(soup, range->large);
  ek_cluster_sort(soup + 9 * range->large, n - range->large);
  for (int t = 0; t < range->count; t++) {
    /* Padding is a point of the link itself: it has no area and never brings the near plane into play. */
    const float *triangle = soup + 9 * (t < n ? t : n - 1);
    for (int i = 0; i < 9; i++)
      scene->corner[i][range->first + t] = triangle[t < n ? i : i % 3];
  }
  for (int t = 0; t < n; t += EK_RENDER_BLOCK)
    ek_cluster_bounds(scene, (range->first + t) / EK_RENDER_BLOCK, soup + 9 * t,
                      n - t < EK_RENDER_BLOCK ? n - t : EK_RENDER_BLOCK);
}

static int allocate(ek_scene *scene, const int32_t *link_of_triangle, int n_triangles) {
  scene->links = calloc((size_t)scene->n_links, sizeof *scene->links);
  if (!scene->links)
    return EK_E_MEMORY;
  for (int t = 0; t < n_triangles; t++)
    scene->links[link_of_triangle[t]].count++;
  for (int l = 0; l < scene->n_links; l++) {
    ek_link_range *range = &scene->links[l];
    range->first = scene->n_triangles;
    range->count = (range->count + EK_RENDER_BLOCK - 1) / EK_RENDER_BLOCK * EK_RENDER_BLOCK;
    scene->n_triangles += range->count;
  }
  size_t n = (size_t)scene->n_triangles, blocks = (n / EK_RENDER_BLOCK + 15) / 16 * 16;
  scene->memory = aligned_alloc(64, (9 * n + 11 * blocks + 16) * sizeof(float));
  scene->rows = aligned_alloc(64, sizeof(uint64_t) * EK_RENDER_MAX_PX * EK_RENDER_WORDS);
  if (!scene->memory || !scene->rows)
    return EK_E_MEMORY;
  for (size_t i = 0; i < 9; i++)
    scene->corner[i] = scene->memory + i * n;
  float *next = scene->memory + 9 * n, **bounds[11];
  for (int i = 0; i < 3; i++) {
    bounds[3 * i] = &scene->bounds.centre[i];
    bounds[3 * i + 1] = &scene->bounds.half[i];
    bounds[3 * i + 2] = &scene->bounds.axis[i];
  }
  bounds[9] = &scene->bounds.radius;
  bounds[10] = &scene->bounds.sine;
  for (int i = 0; i < 11; i++, next += blocks)
    *bounds[i] = next;
  return EK_OK;
}

ek_scene *ek_scene_create(const float *vertices, int n_vertices, const int32_t *triangles,
                          const int32_t *link_of_triangle, int n_triangles, int n_links, int *status) {
  int ignored;
  if (!status)
    status = &ignored;
  *status = check(vertices, n_vertices, triangles, link_of_triangle, n_triangles, n_links);
  if (*status != EK_OK)
    return NULL;
  ek_scene *scene = calloc(1, sizeof *scene);
  edge_t *edges = malloc(sizeof *edges * 3 * ((size_t)n_triangles + 1));
  float *soup = malloc(sizeof *soup * 10 * ((size_t)n_triangles + 1));
  if (scene)
    scene->n_links = n_links;
  *status = scene && edges && soup ? allocate(scene, link_of_triangle, n_triangles) : EK_E_MEMORY;
  if (*status != EK_OK) {
    free(edges);
    free(soup);
    ek_scene_destroy(scene);
    return NULL;
  }
  for (int l = 0; l < n_links; l++)
    fill_link(scene, l, vertices, triangles, link_of_triangle, n_triangles, edges, soup,
              soup + 9 * (size_t)n_triangles);
  free(edges);
  free(soup);
  return scene;
}

void ek_scene_destroy(ek_scene *scene) {
  if (!scene)
    return;
  free(scene->memory);
  free(scene->links);
  free(scene->rows);
  free(scene);
}
