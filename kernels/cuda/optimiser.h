// The end of a training step, as kernels/backend.h defines it. Arrays are f32 on the device; where
// they are aligned to 16 bytes, four values move at once.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cuda/stream.h"

namespace ptynet::cuda {

// What one block of Adam updates: some of a tensor's values.
struct AdamChunk {
  float* value;
  const float* gradient;
  float* first_moment;
  float* second_moment;
  std::int64_t count;
};
// Of all tensors, made once; the kernel reads them from the device.
std::vector<AdamChunk> adam_chunks(const std::vector<AdamTensor>& tensors);

struct AdamTable {
  const AdamChunk* chunks;  // on the device
  int count;
  float* rates;  // scratch [kAdamRates]
  int* finite;   // scratch [count], or null without a LossScale
};
inline constexpr int kAdamRates = 3;

// On the device.
struct AdamState {
  double* steps;       // [2]: learning rate, steps done
  LossScale* scaling;  // null: gradients are taken as they are
};
// All chunks in one launch, after one that looks for gradients that are not finite, where there is
// a LossScale, and one of a single block, which counts the step and writes what all values share to
// table.rates.
void adam(const AdamOptions& options, const AdamTable& table, const AdamState& state,
          Stream stream);

// x *= sqrt(power / sum x^2), unless x is all zeros. The sum is in double and in an order that
// count and alignment decide. parts: scratch [kPowerParts].
inline constexpr int kPowerParts = 256;
void keep_power(float* x, std::int64_t count, double power, double* parts, Stream stream);

}  // namespace ptynet::cuda
