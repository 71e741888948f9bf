// Runs the table of cases and prints, per kernel and precision, how many there are and the largest
// error. On the twin each runs with the fibers in three orders. Exit status 1 when one fails.
//
//   cuda_on_cpu [--first-failure] [WORDS ...]   only cases whose line contains one of WORDS; until
//                                               one fails
//   cuda_on_cpu --count FILE                    what the layers cost, beside FILE (pinned_counts.h)
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/error.h"
#include "tests/cuda_on_cpu/cases.h"
#ifdef PTYNET_ON_GPU
#include <cuda_runtime_api.h>
#else
#include "tests/cuda_on_cpu/pinned_counts.h"
#include "tests/cuda_on_cpu/twin.h"
#endif

namespace {

using ptynet::cuda::tests::Case;
using ptynet::cuda::tests::Outcome;

#ifdef PTYNET_ON_GPU
const std::vector<std::string> kOrders{"on the device"};
void set_order(const std::string&) {}
#else
const std::vector<std::string> kOrders{"ascending", "descending", "random"};
void set_order(const std::string& name) {
  using ptynet::cuda::twin::Order;
  constexpr std::uint64_t kSeed = 20;
  ptynet::cuda::twin::set_order(name == "ascending"    ? Order::kAscending
                                : name == "descending" ? Order::kDescending
                                                       : Order::kRandom,
                                kSeed);
}
#endif

struct Summary {
  int cases = 0;
  int failed = 0;
  double error = 0;
  double worst = 0;
};

std::vector<Case> all_cases() {
  using namespace ptynet::cuda::tests;
  std::vector<Case> all;
  for (const auto table :
       {convolution_cases, fused_cases, pointwise_cases, batch_norm_cases,
        batch_norm_training_cases, value_cases, resize_cases, input_cases, object_cases,
        far_field_cases, drawing_cases, simulation_cases, step_queue_cases, stitch_cases,
        optimiser_cases, diffraction_cases, loss_cases, conv_gradient_cases}) {
    for (Case& test : table()) all.push_back(std::move(test));
  }
  return all;
}

std::string line_of(const Case& test) {
  return test.kernel + " " + test.precision + " " + test.name;
}

// Whether its line contains one of the words; any does where there are none.
bool is_wanted(const Case& test, std::span<const std::string_view> words) {
  const std::string line = line_of(test);
  return words.empty() || std::any_of(words.begin(), words.end(), [&](std::string_view word) {
           return line.find(word) != std::string::npos;
         });
}

// Whether it passed.
bool run_case(const Case& test, Summary& summary) {
  const std::string line = line_of(test);
  ++summary.cases;
  for (const std::string& order : kOrders) {
    try {
      set_order(order);
      const Outcome outcome = test.run();
      summary.error = std::max(summary.error, outcome.error);
      summary.worst = std::max(summary.worst, outcome.worst);
      if (outcome.worst <= 1) continue;
      std::printf("FAILED %s (%s): %.3g times what is allowed, %s\n", line.c_str(), order.c_str(),
                  outcome.worst, outcome.where.c_str());
    } catch (const ptynet::Error& error) {
      std::printf("FAILED %s (%s): %s\n", line.c_str(), order.c_str(), error.what());
    }
    ++summary.failed;
    return false;
  }
  return true;
}

#ifndef PTYNET_ON_GPU
// The exit status.
int count(const std::string& pinned) {
  try {
    return ptynet::cuda::tests::check_pinned_counts(pinned) ? 0 : 1;
  } catch (const ptynet::Error& error) {
    std::fprintf(stderr, "cuda_on_cpu: error: %s\n", error.what());
    return 2;
  }
}
#endif

}  // namespace

#ifdef PTYNET_ON_GPU
// CTest's code for a test that was skipped, where there is no device and none is required.
int without_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return 0;
  std::printf("SKIPPED: no usable CUDA device: %s\n", cudaGetErrorString(status));
  constexpr int kSkipped = 77;
  return std::getenv("PTYNET_REQUIRE_CUDA") != nullptr ? 1 : kSkipped;
}
#else
int without_device() { return 0; }
#endif

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // for what reads it when this is killed
  if (const int status = without_device(); status != 0) return status;
  const std::vector<std::string_view> arguments(argv + 1, argv + argc);
  std::span<const std::string_view> words = arguments;
  const std::string_view option = words.empty() ? "" : words.front();
#ifndef PTYNET_ON_GPU
  if (option == "--count") return count(argc > 2 ? argv[2] : "");
#endif
  const bool until_failure = option == "--first-failure";
  if (until_failure) words = words.subspan(1);
  std::map<std::string, Summary> summaries;
  int run = 0;
  int failed = 0;
  int skipped = 0;
  for (const Case& test : all_cases()) {
    if (!is_wanted(test, words)) continue;
    if (!test.skipped.empty()) {
      ++skipped;
      std::printf("SKIPPED %s: %s\n", line_of(test).c_str(), test.skipped.c_str());
      continue;
    }
    ++run;
    failed += run_case(test, summaries[test.kernel + " " + test.precision]) ? 0 : 1;
    if (until_failure && failed > 0) break;
  }
  std::printf("%-24s %6s %6s %12s %14s\n", "kernel", "cases", "failed", "norm error",
              "worst/allowed");
  for (const auto& [name, s] : summaries) {
    std::printf("%-24s %6d %6d %12.2e %14.2f\n", name.c_str(), s.cases, s.failed, s.error, s.worst);
  }
  std::printf("%d cases, %d failed", run, failed);
  if (skipped > 0) std::printf(", and %d lines SKIPPED", skipped);
  std::printf("\n");
  return run == 0 || failed > 0 ? 1 : 0;
}
