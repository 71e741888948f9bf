/* ptynet in an acquisition server, in C: open once, then frames in and patches out.
 *
 *   embed WEIGHTS.h5
 *
 * The frames here are made up: a broad peak as a detector would count it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef PTYNET_IN_TREE
#include "engine/ptynet.h"
#else
#include <ptynet/ptynet.h>
#endif

enum { kSide = 128, kFrames = 8 };

static void make_frame(uint16_t* frame, int shift) {
  for (int r = 0; r < kSide; ++r) {
    for (int c = 0; c < kSide; ++c) {
      const double y = r - kSide / 2 + shift;
      const double x = c - kSide / 2;
      frame[r * kSide + c] = (uint16_t)(1000.0 * exp(-(x * x + y * y) / 800.0));
    }
  }
}

int main(int argc, char** argv) {
  if (argc != 2) {
    fprintf(stderr, "usage: %s WEIGHTS.h5\n", argv[0]);
    return 2;
  }
  ptynet_options options;
  ptynet_options_init(&options, sizeof options);
  options.frame_type = PTYNET_U16;
  options.height = kSide;
  options.width = kSide;
  options.batch = kFrames;

  ptynet_session* session = NULL;
  if (ptynet_open(argv[1], &options, &session) != PTYNET_OK) {
    fprintf(stderr, "cannot open: %s\n", ptynet_open_error());
    return 1;
  }

  const size_t pixels = (size_t)kSide * kSide;
  uint16_t* frames = malloc(kFrames * pixels * sizeof *frames);
  float* amplitude = malloc(kFrames * pixels * sizeof *amplitude);
  float* phase = malloc(kFrames * pixels * sizeof *phase);
  int failed = frames == NULL || amplitude == NULL || phase == NULL;

  /* One frame at a time, for the lowest latency ... */
  for (int i = 0; !failed && i < kFrames; ++i) {
    make_frame(frames + (size_t)i * pixels, i - kFrames / 2);
    failed = ptynet_run(session, frames + (size_t)i * pixels, 1, amplitude, phase) != PTYNET_OK;
  }
  /* ... or a batch in the background, while the next frames arrive. */
  if (!failed) {
    failed = ptynet_submit(session, frames, kFrames, amplitude, phase) != PTYNET_OK ||
             ptynet_wait(session) != PTYNET_OK;
  }
  if (failed) fprintf(stderr, "cannot reconstruct: %s\n", ptynet_last_error(session));

  ptynet_latency latency;
  if (!failed && ptynet_get_latency(session, &latency) == PTYNET_OK) {
    const size_t middle = pixels / 2 + kSide / 2;
    printf("ptynet %s: %lld calls, median %.3f ms; in the middle amplitude %.4f, phase %.4f rad\n",
           ptynet_version(), (long long)latency.calls, 1e3 * latency.median_s, amplitude[middle],
           phase[middle]);
  }
  free(frames);
  free(amplitude);
  free(phase);
  ptynet_close(session);
  return failed ? 1 : 0;
}
