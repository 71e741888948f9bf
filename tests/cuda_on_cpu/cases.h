// The table of cases that every hand-written kernel runs, through its launcher: on the twin and,
// from the same source, on a device.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace ptynet::cuda::tests {

// How a kernel's output compares with the reference backend's. NaN fails.
struct Outcome {
  double error = 0;   // of the norm, relative
  double worst = 0;   // largest error of one element over what it may be: above 1 fails
  std::string where;  // of that element
};

struct Case {
  std::string kernel;     // "conv2d"
  std::string precision;  // "fp16"; empty where there is no choice
  std::string name;       // shape and options
  std::function<Outcome()> run;
  std::string skipped = {};  // why it cannot run here; empty: it can
};

std::vector<Case> convolution_cases();
std::vector<Case> conv_gradient_cases();
std::vector<Case> fused_cases();
std::vector<Case> pointwise_cases();
std::vector<Case> batch_norm_cases();
std::vector<Case> batch_norm_training_cases();
std::vector<Case> value_cases();
std::vector<Case> resize_cases();
std::vector<Case> input_cases();
std::vector<Case> object_cases();
std::vector<Case> far_field_cases();
std::vector<Case> diffraction_cases();
std::vector<Case> drawing_cases();
std::vector<Case> loss_cases();
std::vector<Case> simulation_cases();
std::vector<Case> stitch_cases();
std::vector<Case> step_queue_cases();
std::vector<Case> optimiser_cases();

}  // namespace ptynet::cuda::tests
