/* A libcuda.so.1 for tests of what is said about drivers: PTYNET_STUB_DRIVER is the CUDA version
 * that it supports (11080 is 11.8; 0: none is loaded). It has no device. */
#include <stdlib.h>

enum { kSuccess = 0, kNoDevice = 100 };

int cuDriverGetVersion(int* version) {
  const char* set = getenv("PTYNET_STUB_DRIVER");
  *version = set ? atoi(set) : 0;
  return kSuccess;
}

int cuInit(unsigned flags) {
  (void)flags;
  return kNoDevice;
}

int cuGetProcAddress(const char* symbol, void** function, int version, unsigned long long flags) {
  (void)symbol;
  (void)version;
  (void)flags;
  *function = 0;
  return kSuccess;
}
