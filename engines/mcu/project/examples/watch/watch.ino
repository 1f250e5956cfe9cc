/* watch.ino - scores a mask against the self-model, again and again, and prints how well they agree. */
#include <edgekin_model.h>

static int32_t joints[EDGEKIN_JOINTS];   /* to be filled by the encoders */
static uint8_t mask[EDGEKIN_MASK_BYTES]; /* to be filled by the camera */

void setup() {
  Serial.begin(115200);
}

void loop() {
  edgekin_score_t score;
  @predict@
  edgekin_score(mask, &score);
  uint32_t either = score.predicted + score.observed - score.intersection;
  Serial.print("agreement, 1/1000: ");
  Serial.println(either ? 1000UL * score.intersection / either : 1000UL);
}
