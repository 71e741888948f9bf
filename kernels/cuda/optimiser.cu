#include <algorithm>

#include "kernels/cuda/launching.h"
#include "kernels/cuda/optimiser.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = kPerAccess<float>;
constexpr std::int64_t kChunkValues = 2048;
constexpr std::int64_t kPartValues = 4096;  // at least, of x

// Adds up what the threads of a block have; all threads call it, once, and get the sum.
PTYNET_DEVICE double sum_of_block(double value) {
  constexpr int kWarps = kThreads / kWarpLanes;
  double* of_warps = shared<double, kWarps>();
  PTYNET_UNROLL
  for (int step = kWarpLanes / 2; step > 0; step /= 2) value += shuffle_xor(value, step);
  if (lane() == 0) store(of_warps + warp(), value);
  barrier();
  double sum = 0;
  PTYNET_UNROLL
  for (int i = 0; i < kWarps; ++i) sum += load(of_warps + i);
  return sum;
}

// A block: whether all gradients of its chunk are finite.
PTYNET_KERNEL(kThreads)
finite_kernel(const AdamChunk* chunks, int* finite) {
  const AdamChunk* chunk = chunks + block().x;
  const float* gradient = load_readonly(&chunk->gradient);
  const std::int64_t count = load_readonly(&chunk->count);
  bool mine = true;
  for (std::int64_t i = thread(); i < count; i += kThreads) {
    mine = mine && std::isfinite(load_readonly(gradient + i));
  }
  const double others = sum_of_block(mine ? 0.0 : 1.0);
  if (thread() == 0) store(finite + block().x, others == 0.0 ? 1 : 0);
}

// One block. The two of AdamStep that depend on the step's number, and what gradients are
// multiplied by, 0 where the step is left out.
PTYNET_KERNEL(kThreads)
adam_rates_kernel(AdamOptions options, AdamTable table, AdamState state) {
  bool taken = true;
  double scale = 1;
  if (state.scaling != nullptr) {
    for (int i = thread(); i < table.count; i += kThreads) {
      taken = taken && load_readonly(table.finite + i) != 0;
    }
    taken = sum_of_block(taken ? 0.0 : 1.0) == 0.0;
  }
  if (thread() > 0) return;
  if (state.scaling != nullptr) {
    LossScale kept{load(&state.scaling->scale), load(&state.scaling->since),
                   load(&state.scaling->left_out)};
    scale = kept.scale;
    kept.follow(taken, options.adapts_scale);
    store(&state.scaling->scale, kept.scale);
    store(&state.scaling->since, kept.since);
    store(&state.scaling->left_out, kept.left_out);
  }
  store(table.rates + 2, taken ? static_cast<float>(1 / scale) : 0.0F);
  if (!taken) return;
  const double number = load(state.steps + 1) + 1.0;
  const auto step = AdamStep<float>::of(options, load(state.steps), number);
  store(state.steps + 1, number);
  store(table.rates, step.rate);
  store(table.rates + 1, step.second_scale);
}

// Values of one chunk.
struct AdamUpdate {
  AdamChunk chunk;
  AdamStep<float> step;
  float by;  // of the gradients

  PTYNET_DEVICE AdamUpdate(const AdamChunk* from, const AdamStep<float>& shared_step, float factor)
      : chunk{load_readonly(&from->value), load_readonly(&from->gradient),
              load_readonly(&from->first_moment), load_readonly(&from->second_moment),
              load_readonly(&from->count)},
        step(shared_step),
        by(factor) {}

  template <int N>
  PTYNET_DEVICE void run(std::int64_t first) const {
    const Vector<float, N> gradient = load_floats<N>(chunk.gradient + first);
    Vector<float, N> value = load_floats<N>(chunk.value + first);
    Vector<float, N> first_moment = load_floats<N>(chunk.first_moment + first);
    Vector<float, N> second_moment = load_floats<N>(chunk.second_moment + first);
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      step.update(gradient[i] * by, value[i], first_moment[i], second_moment[i]);
    }
    store_floats(chunk.value + first, value);
    store_floats(chunk.first_moment + first, first_moment);
    store_floats(chunk.second_moment + first, second_moment);
  }

  PTYNET_DEVICE bool is_aligned() const {
    const auto together = reinterpret_cast<std::uintptr_t>(chunk.value) |
                          reinterpret_cast<std::uintptr_t>(chunk.gradient) |
                          reinterpret_cast<std::uintptr_t>(chunk.first_moment) |
                          reinterpret_cast<std::uintptr_t>(chunk.second_moment);
    return together % 16 == 0;
  }
};

// A block: one chunk. `step` has all but the rates.
PTYNET_KERNEL(kThreads)
adam_kernel(const AdamChunk* chunks, AdamStep<float> step, const float* rates) {
  const float by = load_readonly(rates + 2);
  if (by == 0.0F) return;
  step.rate = load_readonly(rates);
  step.second_scale = load_readonly(rates + 1);
  const AdamUpdate update(chunks + block().x, step, by);
  const std::int64_t count = update.chunk.count;
  const std::int64_t whole = update.is_aligned() ? count / kVector * kVector : 0;
  for (std::int64_t i = thread() * kVector; i < whole; i += kThreads * kVector) {
    update.run<kVector>(i);
  }
  for (std::int64_t i = whole + thread(); i < count; i += kThreads) update.run<1>(i);
}

template <int N>
PTYNET_DEVICE double squares_at(const float* x) {
  const Vector<float, N> v = load_floats<N>(x);
  double sum = 0;
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) sum += static_cast<double>(v[i]) * static_cast<double>(v[i]);
  return sum;
}

// A block: the sum of squares of `per_block` values, a multiple of N.
template <int N>
PTYNET_KERNEL(kThreads)
squares_kernel(const float* x, std::int64_t count, std::int64_t per_block, double* parts) {
  const std::int64_t first = block().x * per_block;
  const std::int64_t last = std::min(first + per_block, count);
  double sum = 0;
  const std::int64_t whole = first + (last - first) / N * N;
  for (std::int64_t i = first + thread() * N; i < whole; i += kThreads * N) {
    sum += squares_at<N>(x + i);
  }
  for (std::int64_t i = whole + thread(); i < last; i += kThreads) sum += squares_at<1>(x + i);
  sum = sum_of_block(sum);
  if (thread() == 0) store(parts + block().x, sum);
}

template <int N>
PTYNET_DEVICE void scale_at(float* x, float factor) {
  Vector<float, N> v = load_floats<N>(x);
  PTYNET_UNROLL
  for (int i = 0; i < N; ++i) v[i] *= factor;
  store_floats(x, v);
}

struct Power {
  double wanted;
  const double* parts;
  int count;  // of parts, at most kThreads
};

template <int N>
PTYNET_KERNEL(kThreads)
scale_power_kernel(float* x, std::int64_t count, Power power) {
  const double mine = thread() < power.count ? load_readonly(power.parts + thread()) : 0.0;
  const double found = sum_of_block(mine);
  if (found == 0.0) return;
  const auto factor = static_cast<float>(std::sqrt(power.wanted / found));
  std::int64_t i = (static_cast<std::int64_t>(block().x) * kThreads + thread()) * N;
  if (i + N <= count) return scale_at<N>(x + i, factor);
  PTYNET_NO_UNROLL
  for (; i < count; ++i) scale_at<1>(x + i, factor);
}

template <int N>
void run_keep_power(float* x, std::int64_t count, double power, double* parts, Stream stream) {
  constexpr const char* kName = "keep_power";
  const std::int64_t least = (count + kPowerParts - 1) / kPowerParts;
  const std::int64_t per_block = std::max(kPartValues, (least + kVector - 1) / kVector * kVector);
  const auto blocks = static_cast<int>((count + per_block - 1) / per_block);
  launch(kName, squares_kernel<N>, LaunchShape{{blocks}, kThreads}, stream, x, count, per_block,
         parts);
  const int scaling = blocks_for(kName, (count + N - 1) / N, kThreads);
  launch(kName, scale_power_kernel<N>, LaunchShape{{scaling}, kThreads}, stream, x, count,
         Power{power, parts, blocks});
}

}  // namespace

std::vector<AdamChunk> adam_chunks(const std::vector<AdamTensor>& tensors) {
  std::vector<AdamChunk> chunks;
  for (const AdamTensor& tensor : tensors) {
    // A recording may write what it holds: an Array's constness is not that of its elements.
    AdamTensor t = tensor;
    const std::int64_t count = t.value.elements();
    for (std::int64_t first = 0; first < count; first += kChunkValues) {
      chunks.push_back({t.value.data<float>() + first, t.gradient.data<float>() + first,
                        t.first_moment.data<float>() + first, t.second_moment.data<float>() + first,
                        std::min(kChunkValues, count - first)});
    }
  }
  return chunks;
}

void adam(const AdamOptions& options, const AdamTable& table, const AdamState& state,
          Stream stream) {
  constexpr const char* kName = "adam";
  if (state.scaling != nullptr && table.count > 0) {
    launch(kName, finite_kernel, LaunchShape{{table.count}, kThreads}, stream, table.chunks,
           table.finite);
  }
  launch(kName, adam_rates_kernel, LaunchShape{{1}, kThreads}, stream, options, table, state);
  if (table.count == 0) return;
  launch(kName, adam_kernel, LaunchShape{{table.count}, kThreads}, stream, table.chunks,
         AdamStep<float>::of(options, 0, 1), table.rates);
}

void keep_power(float* x, std::int64_t count, double power, double* parts, Stream stream) {
  if (are_aligned(16, x)) {
    run_keep_power<kVector>(x, count, power, parts, stream);
  } else {
    run_keep_power<1>(x, count, power, parts, stream);
  }
}

}  // namespace ptynet::cuda
