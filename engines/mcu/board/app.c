/* app.c - the smallest program that uses a model: of its image flash and RAM are reported. */
#include "edgekin_model.h"

const int32_t *volatile ek_encoders; /* where a driver has the latest joint angles and the latest mask */
const uint8_t *volatile ek_camera;
void ek_decide(const edgekin_score_t *score);

int main(void) {
  for (;;) {
    edgekin_score_t score;
    edgekin_predict(ek_encoders);
    edgekin_score(ek_camera, &score);
    ek_decide(&score);
  }
}

void ek_decide(const edgekin_score_t *score) {
  (void)score;
}
