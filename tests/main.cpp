// Runs the tests of one storey. Exit codes: 0, 1 when anything failed, kSkippedExitCode when
// nothing failed and a test case left early for want of something.
#define CATCH_CONFIG_RUNNER
#include "tests/support.h"

int main(int argc, char** argv) {
  if (Catch::Session().run(argc, argv) != 0) return 1;
  return ptynet::tests::skipped ? ptynet::tests::kSkippedExitCode : 0;
}
