/* body_pose.h - where the moving parts of the robot are, as a camera sees them.
 *
 * Every moving joint turns about, or slides along, the z axis of its own frame: the exporter chose the frames so, and
 * took fixed joints into what lies behind them.
 */
typedef struct {
  int32_t turn[9];  /* row-major, 2^-30 */
  int32_t shift[3]; /* in the model's unit of length */
} ek_pose;

typedef struct {
  ek_pose from; /* in the frame of `parent`, at joint angle 0 */
  uint8_t parent, joint;
  int32_t slide; /* of a prismatic joint: units of length for 2^-28 of a turn, in 2^-16; else 0 */
} ek_hinge;

static void ek_compose(const ek_pose *a, const ek_pose *b, ek_pose *out) {
  for (int c = 0; c < 3; c++) {
    const int32_t column[3] = {b->turn[c], b->turn[3 + c], b->turn[6 + c]};
    for (int r = 0; r < 3; r++)
      out->turn[3 * r + c] = (int32_t)(ek_dot3(a->turn + 3 * r, column) >> 30);
  }
  for (int r = 0; r < 3; r++)
    out->shift[r] = (int32_t)(ek_dot3(a->turn + 3 * r, b->shift) >> 30) + a->shift[r];
}

/* frames: the first one is given; then those of the hinges, in their order. */
static void ek_frames(const ek_hinge *hinge, int n, const int32_t *joints, ek_pose *frames) {
  for (int i = 0; i < n; i++, hinge++) {
    ek_pose *out = &frames[i + 1];
    int32_t q = joints[hinge->joint];
    ek_compose(&frames[hinge->parent], &hinge->from, out);
    if (hinge->slide) {
      int32_t by = (int32_t)(((int64_t)q * hinge->slide) >> 16);
      for (int r = 0; r < 3; r++)
        out->shift[r] += (int32_t)(((int64_t)out->turn[3 * r + 2] * by) >> 30);
      continue;
    }
    int32_t s = ek_sine((uint32_t)q << 4), c = ek_sine(((uint32_t)q << 4) + (UINT32_C(1) << 30));
    for (int32_t *row = out->turn; row < out->turn + 9; row += 3) {
      int32_t x = row[0], y = row[1];
      row[0] = (int32_t)(((int64_t)c * x + (int64_t)s * y) >> 30);
      row[1] = (int32_t)(((int64_t)c * y - (int64_t)s * x) >> 30);
    }
  }
}
