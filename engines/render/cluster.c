/* cluster.c - groups a link's triangles so that whole blocks can be skipped: unseen, seen from behind, already filled.
 */
#include "scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_KEYS 6        /* centroid and normal */
#define LARGE_SHARE 0.8 /* of the surface; fewer leave more to the small triangles, more have larger boxes */

/* Twice the area times the unit normal. */
static void cross_of(const float *t, float *normal) {
  float a[3], b[3];
  for (int i = 0; i < 3; i++) {
    a[i] = t[3 + i] - t[i];
    b[i] = t[6 + i] - t[i];
  }
  normal[0] = a[1] * b[2] - a[2] * b[1];
  normal[1] = a[2] * b[0] - a[0] * b[2];
  normal[2] = a[0] * b[1] - a[1] * b[0];
}

static int unit_normal(const float *t, float *normal) {
  cross_of(t, normal);
  float length = sqrtf(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
  for (int i = 0; i < 3; i++)
    normal[i] = length > 0 ? normal[i] / length : 0;
  return length > 0;
}

static float key_of(const float *t, int key, float weight) {
  if (key < 3)
    return (t[key] + t[3 + key] + t[6 + key]) / 3;
  float normal[3];
  unit_normal(t, normal);
  return weight * normal[key - 3];
}

static void swap_triangles(float *a, float *b) {
  float keep[9];
  memcpy(keep, a, sizeof keep);
  memcpy(a, b, sizeof keep);
  memcpy(b, keep, sizeof keep);
}

/* Hoare's quickselect: afterwards the first k have keys no larger than the rest. */
static void partition(float *triangles, int n, int k, int key, float weight) {
  int low = 0, high = n - 1;
  while (low < high) {
    float pivot = key_of(triangles + 9 * ((low + high) / 2), key, weight);
    int i = low, j = high;
    while (i <= j) {
      while (key_of(triangles + 9 * i, key, weight) < pivot)
        i++;
      while (key_of(triangles + 9 * j, key, weight) > pivot)
        j--;
      if (i <= j)
        swap_triangles(triangles + 9 * i++, triangles + 9 * j--);
    }
    if (k <= j)
      high = j;
    else if (k >= i)
      low = i;
    else
      return;
  }
}

static void split(float *triangles, int n, float weight) {
  while (n > EK_RENDER_BLOCK) {
    int widest = 0;
    float width = -1;
    for (int key = 0; key < N_KEYS; key++) {
      float low = INFINITY, high = -INFINITY;
      for (int t = 0; t < n; t++) {
        float value = key_of(triangles + 9 * t, key, weight);
        low = fminf(low, value);
        high = fmaxf(high, value);
      }
      if (high - low > width) {
        width = high - low;
        widest = key;
      }
    }
    /* The left half is whole blocks, so that only a link's last block is padded. */
    int blocks = (n + EK_RENDER_BLOCK - 1) / EK_RENDER_BLOCK, left = blocks / 2 * EK_RENDER_BLOCK;
    partition(triangles, n, left, widest, weight);
    split(triangles, left, weight);
    triangles += 9 * left;
    n -= left;
  }
}

void ek_cluster_sort(float *triangles, int n) {
  float extent = 0;
  for (int i = 0; i < 3; i++) {
    float low = INFINITY, high = -INFINITY;
    for (int t = 0; t < n; t++) {
      low = fminf(low, triangles[9 * t + i]);
      high = fmaxf(high, triangles[9 * t + i]);
    }
    extent = n > 0 ? fmaxf(extent, high - low) : 0;
  }
  /* Opposite normals count as far apart as half the link is long. */
  split(triangles, n, 0.25f * extent);
}

static int descending(const void *left, const void *right) {
  float l = *(const float *)left, r = *(const float *)right;
  return (l < r) - (l > r);
}

int ek_cluster_large(float *triangles, int n, float *keys) {
  float normal[3];
  double sum = 0, covered = 0;
  for (int t = 0; t < n; t++) {
    cross_of(triangles + 9 * t, normal);
    keys[t] = sqrtf(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
    sum += keys[t];
  }
  qsort(keys, (size_t)n, sizeof *keys, descending);
  int large = 0;
  while (large < n && covered < LARGE_SHARE * sum)
    covered += keys[large++];
  large = (large + EK_RENDER_BLOCK - 1) / EK_RENDER_BLOCK * EK_RENDER_BLOCK;
  if (large >= n)
    return 0;
  float least = keys[large - 1];
  int front = 0;
  for (int pass = 0; pass < 2; pass++) { /* those above first, then as many of the same size as still fit */
    for (int t = front; t < n && front < large; t++) {
      cross_of(triangles + 9 * t, normal);
      float size = sqrtf(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
      if (pass ? size == least : size > least)
        swap_triangles(triangles + 9 * t, triangles + 9 * front++);
    }
  }
  return large;
}

void ek_cluster_bounds(ek_scene *scene, int block, const float *triangles, int n) {
  float low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
  float sum[3] = {0, 0, 0}, normal[3], cosine = 1, length = 0, radius = 0;
  ek_bounds *bounds = &scene->bounds;
  for (int t = 0; t < n; t++) {
    for (int i = 0; i < 9; i++) {
      low[i % 3] = fminf(low[i % 3], triangles[9 * t + i]);
      high[i % 3] = fmaxf(high[i % 3], triangles[9 * t + i]);
    }
    unit_normal(triangles + 9 * t, normal);
    for (int i = 0; i < 3; i++)
      sum[i] += normal[i];
  }
  for (int i = 0; i < 3; i++) {
    length += sum[i] * sum[i];
    bounds->centre[i][block] = (low[i] + high[i]) / 2;
    /* Slack for the rounding of the centre: a block is never skipped by a hair. */
    bounds->half[i][block] = (high[i] - low[i]) / 2 * 1.0001f + 1e-7f;
    radius += bounds->half[i][block] * bounds->half[i][block];
  }
  length = sqrtf(length);
  for (int i = 0; i < 3; i++)
    bounds->axis[i][block] = length > 0 ? sum[i] / length : 0;
  for (int t = 0; t < n; t++) {
    if (!unit_normal(triangles + 9 * t, normal))
      continue;
    float dot = 0;
    for (int i = 0; i < 3; i++)
      dot += normal[i] * bounds->axis[i][block];
    cosine = fminf(cosine, dot);
  }
  bounds->radius[block] = sqrtf(radius);
  bounds->sine[block] = length > 0 && cosine > 0.02f ? sqrtf(fmaxf(0, 1 - cosine * cosine)) + 1e-4f : 2.0f;
}
