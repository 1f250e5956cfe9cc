/* body.h - a body model: soft ellipsoids on a kinematic chain, seen by its cameras. */
typedef struct {
  uint8_t skipped, n; /* pixels without anything, then pixels of what no joint moves */
} ek_still;

typedef struct {
  const ek_hinge *hinges;
  const ek_ellipsoid *ellipsoids; /* those that move */
  const ek_view *views;
  const uint8_t (*cover)[EK_STEPS]; /* light that is taken, by fade: / 256 */
  const ek_still *spans;            /* of all views, one after the other */
  const int8_t *still;              /* their pixels */
  ek_optics optics;
  int32_t n_hinges, n_ellipsoids, n_views, n_spans, height, width;
} ek_body;

/* Draws all views: (views, height, width), from -127 (no robot) to 127. frames: n_hinges + 1. */
static void ek_predict(const ek_body *b, const int32_t *joints, ek_pose *frames, int8_t *picture) {
  int pixels = b->height * b->width;
  const int8_t *still = b->still;
  int8_t *at = picture;
  __builtin_memset(picture, EK_NOTHING, (size_t)(b->n_views * pixels));
  for (const ek_still *s = b->spans; s < b->spans + b->n_spans; s++) {
    at += s->skipped;
    __builtin_memcpy(at, still, s->n);
    at += s->n, still += s->n;
  }
  for (int v = 0; v < b->n_views; v++) {
    frames[0] = b->views[v].base;
    ek_frames(b->hinges, b->n_hinges, joints, frames);
    for (const ek_ellipsoid *e = b->ellipsoids; e < b->ellipsoids + b->n_ellipsoids; e++) {
      ek_outline o;
      if (ek_project(e, &frames[e->frame], &b->views[v], &b->optics, &o))
        ek_draw(&o, b->cover[e->of], picture + v * pixels, b->width, b->height);
    }
  }
}
