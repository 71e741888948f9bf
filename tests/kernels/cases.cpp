#include "tests/kernels/cases.h"

namespace ptynet::tests {

OperationCases operation_cases() {
  OperationCases cases;
  add_convolution_cases(cases);
  add_pointwise_cases(cases);
  add_physics_cases(cases);
  add_learning_cases(cases);
  add_drawing_cases(cases);
  add_step_queue_cases(cases);
  return cases;
}

}  // namespace ptynet::tests
