#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/cpu_backend.h"

namespace ptynet::cpu {

namespace {

// Values of one tensor that one thread updates at a time.
struct AdamRun {
  float* value;
  const float* gradient;
  float* first_moment;
  float* second_moment;
  std::int64_t count;

  bool is_finite() const {
    // A sum of zeros times anything finite: NaN where one is not.
    float zeros = 0;
#pragma omp simd reduction(+ : zeros)
    for (std::int64_t i = 0; i < count; ++i) zeros += 0.0F * gradient[i];
    return zeros == 0.0F;
  }

  // With gradients times `scale`.
  void update(const AdamStep<float>& step, float scale) const {
    float* v = value;
    const float* g = gradient;
    float* m = first_moment;
    float* s = second_moment;
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) step.update(g[i] * scale, v[i], m[i], s[i]);
  }
};

constexpr std::int64_t kRunValues = 16384;

std::vector<AdamRun> runs_of(const std::vector<AdamTensor>& tensors) {
  std::vector<AdamRun> runs;
  for (const AdamTensor& tensor : tensors) {
    // A recording may write what it holds: an Array's constness is not that of its elements.
    AdamTensor t = tensor;
    const std::int64_t count = t.value.elements();
    for (std::int64_t first = 0; first < count; first += kRunValues) {
      runs.push_back({t.value.data<float>() + first, t.gradient.data<float>() + first,
                      t.first_moment.data<float>() + first, t.second_moment.data<float>() + first,
                      std::min(kRunValues, count - first)});
    }
  }
  return runs;
}

}  // namespace

void CpuBackend::adam(const AdamOptions& options, const std::vector<AdamTensor>& tensors,
                      Array& state, Array& scaling) {
  submit("adam", state,
         [options, runs = runs_of(tensors), of_step = state.data<double>(),
          memory = scaling.empty() ? nullptr : scaling.data<double>()] {
           LossScale kept;
           if (memory != nullptr) kept = LossScale::from(memory);
           const auto by = static_cast<float>(1 / kept.scale);
           const auto count = static_cast<std::int64_t>(runs.size());
           if (memory != nullptr) {
             bool taken = true;
#pragma omp parallel for schedule(dynamic) reduction(&& : taken)
             for (std::int64_t i = 0; i < count; ++i) {
               taken = taken && runs[static_cast<std::size_t>(i)].is_finite();
             }
             kept.follow(taken, options.adapts_scale);
             kept.write(memory);
             if (!taken) return;
           }
           of_step[1] += 1.0;
           const auto step = AdamStep<float>::of(options, of_step[0], of_step[1]);
    // Runs are of unequal length, and each value is a matter of its own.
#pragma omp parallel for schedule(dynamic)
           for (std::int64_t i = 0; i < count; ++i) {
             runs[static_cast<std::size_t>(i)].update(step, by);
           }
         });
}

void CpuBackend::multiply(const Array& x, const Array& factor, Array& y) {
  submit("multiply", y,
         [from = x.data<float>(), by = factor.data<double>(), to = y.data<float>(),
          count = x.elements()] {
           const auto scale = static_cast<float>(*by);
#pragma omp parallel for simd
           for (std::int64_t i = 0; i < count; ++i) to[i] = from[i] * scale;
         });
}

void CpuBackend::keep_power(Array& x, double power) {
  submit("keep_power", x, [values = x.data<float>(), count = x.elements(), power] {
    double found = 0;
#pragma omp simd reduction(+ : found)
    for (std::int64_t i = 0; i < count; ++i) found += double{values[i]} * double{values[i]};
    if (found == 0.0) return;
    const auto scale = static_cast<float>(std::sqrt(power / found));
#pragma omp simd
    for (std::int64_t i = 0; i < count; ++i) values[i] *= scale;
  });
}

}  // namespace ptynet::cpu
