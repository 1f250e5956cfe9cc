/* body.h - a body model: soft ellipsoids on a kinematic chain, seen by its cameras. */
typedef struct {
  const ek_hinge *hinges;
  const ek_ellipsoid *ellipsoids;
  const ek_view *views;
  const uint8_t (*cover)[EK_STEPS]; /* light that is taken, by fade: / 256 */
  const uint8_t *background;        /* (views, height, width) light without the robot; NULL: all of it */
  ek_optics optics;
  int32_t n_hinges, n_ellipsoids, n_views, height, width;
} ek_body;

/* Draws all views: (views, height, width), from -127 (no robot) to 127. frames: n_hinges + 1. */
static void ek_predict(const ek_body *b, const int32_t *joints, ek_pose *frames, int8_t *picture) {
  int pixels = b->height * b->width;
  for (int v = 0; v < b->n_views; v++) {
    uint8_t *light = (uint8_t *)picture + v * pixels;
    uint32_t word;
    int i = 0;
    if (b->background)
      __builtin_memcpy(light, b->background + v * pixels, (size_t)pixels);
    else
      __builtin_memset(light, EK_LIGHT, (size_t)pixels);
    frames[0] = b->views[v].base;
    ek_frames(b->hinges, b->n_hinges, joints, frames);
    for (const ek_ellipsoid *e = b->ellipsoids; e < b->ellipsoids + b->n_ellipsoids; e++) {
      ek_outline o;
      if (ek_project(e, &frames[e->frame], &b->views[v], &b->optics, &o))
        ek_draw(&o, b->cover[e->of], light, b->width, b->height);
    }
    for (; i + 4 <= pixels; i += 4) { /* 127 - light */
      __builtin_memcpy(&word, light + i, 4);
      word ^= UINT32_C(0x7F7F7F7F);
      __builtin_memcpy(light + i, &word, 4);
    }
    for (; i < pixels; i++)
      light[i] ^= 0x7F;
  }
}
