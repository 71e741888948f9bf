/* The C interface of ptynet: frames in, patches out, for acquisition servers (C99).
 *
 * A session is used by one thread at a time; several sessions may live side by side. Nothing here
 * throws, prints, raises a signal or ends the program. After ptynet_open() has returned, a call
 * that succeeds allocates no memory of the library's own, up to ptynet_close().
 */
#ifndef PTYNET_PTYNET_H
#define PTYNET_PTYNET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names as C libraries have them. NOLINTBEGIN(readability-identifier-naming) */

/* Codes are only ever added. */
typedef enum ptynet_status {
  PTYNET_OK = 0,
  PTYNET_FAILED = 1,    /* a failure while running */
  PTYNET_BAD_INPUT = 2, /* a file, an option or an argument that does not fit */
  PTYNET_BUSY = 3,      /* frames were submitted and not yet waited for */
  PTYNET_NOTHING_TO_WAIT = 4
} ptynet_status;

typedef enum ptynet_frame_type {
  PTYNET_U8 = 0,
  PTYNET_U16 = 1,
  PTYNET_U32 = 2,
  PTYNET_F32 = 3
} ptynet_frame_type;

/* Of the network's operands; sums are always 32-bit floats, and so are the patches. The CPU has
 * FP32, the default, and BF16 where it has instructions for it; a precision that the device has
 * not is refused. Numbers are only ever added. */
typedef enum ptynet_precision {
  PTYNET_FP32 = 0,
  PTYNET_BF16 = 1,
  PTYNET_TF32 = 2,
  PTYNET_FP16 = 3
} ptynet_precision;

/* Set by ptynet_options_init(), then changed by the caller. Fields are only ever added. */
typedef struct ptynet_options {
  size_t size;              /* of this struct, as the caller was compiled */
  const char* device;       /* "auto", "cpu", "cuda", "cuda:N"; default "auto" */
  const char* architecture; /* name or FILE.json; NULL: the weight file's own */
  int32_t threads;          /* of the CPU, at most 4096; 0: as many as the machine has */
  ptynet_precision precision;
  ptynet_frame_type frame_type; /* default PTYNET_U16 */
  int64_t height;               /* rows of a frame, px; default 128 */
  int64_t width;                /* columns of a frame, px; default 128 */
  int64_t batch;                /* frames of one call at most; default 1 */
  const uint8_t* mask;          /* height * width, 1 is good; NULL: all good. Copied. */
  float scan_max; /* largest count of the scan, for input rules that divide by it; default 0 */
} ptynet_options;

typedef struct ptynet_latency {
  int64_t calls;    /* that succeeded, since opening */
  double last_s;    /* seconds of the last of them */
  double mean_s;    /* of all calls */
  double largest_s; /* of all calls */
  double median_s;  /* of the last 1024 calls */
  double p99_s;     /* of the last 1024 calls */
} ptynet_latency;

typedef struct ptynet_session ptynet_session;

void ptynet_options_init(ptynet_options* options, size_t size);

/* Opens a session on a weight file (.h5, .pth, .ckpt, .safetensors). On failure *session is NULL
 * and ptynet_open_error() says why. `options` may be NULL: the defaults. */
ptynet_status ptynet_open(const char* weights, const ptynet_options* options,
                          ptynet_session** session);

/* Why the last ptynet_open() of the calling thread failed; "" when it did not. Valid until this
 * thread's next ptynet_open(). */
const char* ptynet_open_error(void);

/* Reconstructs n frames, 1 <= n <= batch: frames[n][height][width] of the frame type, zero
 * frequency in the centre -> amplitude[n][height][width] and phase (rad) of the caller. One frame
 * and a full batch are planned for; other numbers take as long as a full batch. */
ptynet_status ptynet_run(ptynet_session* session, const void* frames, int64_t n, float* amplitude,
                         float* phase);

/* The same in the background: the buffers stay the session's until ptynet_wait() has returned,
 * which gives the status of the work. One submission at a time: else PTYNET_BUSY. */
ptynet_status ptynet_submit(ptynet_session* session, const void* frames, int64_t n,
                            float* amplitude, float* phase);
ptynet_status ptynet_wait(ptynet_session* session);

/* Any pointer may be NULL. */
ptynet_status ptynet_shape(const ptynet_session* session, int64_t* height, int64_t* width,
                           int64_t* batch);
/* Submitted work counts as soon as it is done, waited for or not. */
ptynet_status ptynet_get_latency(const ptynet_session* session, ptynet_latency* latency);

/* What the session's last failing call said, one line; "" when none failed (or session is NULL).
 * Work that failed in the background speaks up in ptynet_wait(). Valid until the next call on the
 * session. */
const char* ptynet_last_error(const ptynet_session* session);

/* Waits for work under way, then frees everything. NULL is allowed. */
void ptynet_close(ptynet_session* session);

const char* ptynet_version(void); /* "0.1.0" */

/* NOLINTEND(readability-identifier-naming) */

#ifdef __cplusplus
}
#endif

#endif
