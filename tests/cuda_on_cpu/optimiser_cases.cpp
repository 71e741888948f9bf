#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "kernels/cuda/optimiser.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr double kRounding = 0x1p-24;
constexpr double kLearningRate = 0.01;
constexpr int kSteps = 3;

struct AdamVariant {
  std::vector<std::int64_t> counts;  // of tensors
  double steps_before = 0;
  int unaligned = -1;  // which of value, gradient and the two moments
  // By whose scale of the beginning the gradients are multiplied.
  std::optional<LossScale> scaling = {};
  bool adapts = false;
  int infinite = -1;  // a step whose last gradient is not finite

  AdamOptions options() const {
    AdamOptions out;
    out.adapts_scale = adapts;
    return out;
  }
  bool halves() const { return adapts && infinite >= 0; }
};

// Values of one tensor, in the order of AdamTensor's members.
using Members = std::vector<std::vector<float>>;

Members make_members(const AdamVariant& v, std::size_t tensor) {
  const std::int64_t count = v.counts[tensor];
  const bool fresh = v.steps_before == 0;
  const auto values = [&](const char* name, double low, double high) {
    return random_values(text(name, tensor).c_str(), count, low, high);
  };
  Members out{values("value", -1, 1), values("gradient", -1, 1), values("first", -0.1, 0.1),
              values("second", 0.25, 1)};
  out[1][0] = 0;  // some never have a gradient
  for (const std::size_t moment : {2, 3}) {
    if (fresh) std::fill(out[moment].begin(), out[moment].end(), 0.0F);
  }
  return out;
}

// Each step's gradient is a multiple of the first.
std::vector<float> gradient_of(const AdamVariant& v, const std::vector<Members>& all,
                               std::size_t tensor, int step) {
  std::vector<float> out = all[tensor][1];
  const double scale = v.scaling ? v.scaling->scale : 1;
  for (float& g : out) g *= static_cast<float>(scale * (step == 1 ? -0.5 : 1 + step));
  if (step == v.infinite && tensor + 1 == all.size()) out.back() = -HUGE_VALF;
  return out;
}

std::vector<double> numbers_of(const std::optional<LossScale>& scaling) {
  std::vector<double> out(3);
  if (scaling) scaling->write(out.data());
  return out;
}

// All tensors after some steps, and the state; T of the moments and values.
template <typename T>
struct Stepped {
  std::vector<std::vector<T>> values, first, second;
  std::vector<double> state, scaling;
  bool operator==(const Stepped&) const = default;
};

Stepped<double> expected_steps(const AdamVariant& v) {
  const auto backend = make_reference_backend();
  std::vector<AdamTensor> tensors;
  std::vector<Members> all;
  for (std::size_t i = 0; i < v.counts.size(); ++i) {
    all.push_back(make_members(v, i));
    const auto wide = [&](std::size_t member) {
      const std::vector<float>& from = all.back()[member];
      return Array::copy_of(std::vector<double>(from.begin(), from.end()), {v.counts[i]});
    };
    tensors.push_back({wide(0), wide(1), wide(2), wide(3)});
  }
  Array state = Array::copy_of<double>({kLearningRate, v.steps_before}, {2});
  Array scaling;
  if (v.scaling) scaling = Array::copy_of(numbers_of(v.scaling), {3});
  for (int step = 0; step < kSteps; ++step) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::vector<float> gradient = gradient_of(v, all, i, step);
      std::copy(gradient.begin(), gradient.end(), tensors[i].gradient.data<double>());
    }
    backend->adam(v.options(), tensors, state, scaling);
  }
  Stepped<double> out;
  const auto values = [](const Array& a) {
    return std::vector<double>(a.data<double>(), a.data<double>() + a.elements());
  };
  for (const AdamTensor& t : tensors) {
    out.values.push_back(values(t.value));
    out.first.push_back(values(t.first_moment));
    out.second.push_back(values(t.second_moment));
  }
  out.state = values(state);
  if (v.scaling) out.scaling = values(scaling);
  return out;
}

Stepped<float> found_steps(const AdamVariant& v) {
  std::vector<std::vector<Placed>> memories;
  std::vector<AdamTensor> tensors;
  std::vector<Members> all;
  for (std::size_t i = 0; i < v.counts.size(); ++i) {
    all.push_back(make_members(v, i));
    std::vector<Placed>& members = memories.emplace_back();
    for (int m = 0; m < 4; ++m) {
      members.push_back(
          placed(all[i][static_cast<std::size_t>(m)], v.unaligned == m ? sizeof(float) : 0));
    }
    const auto view = [&](std::size_t m) {
      return Array::view(members[m].data(), {v.counts[i]}, DType::kF32, {}, nullptr);
    };
    tensors.push_back({view(0), view(1), view(2), view(3)});
  }
  const std::vector<AdamChunk> chunks = adam_chunks(tensors);
  // Behind something, so that there is memory where there are no chunks.
  const Placed table = placed(chunks.data(), chunks.size() * sizeof(AdamChunk), sizeof(AdamChunk));
  const Placed state = placed(std::vector<double>{kLearningRate, v.steps_before});
  const Placed rates = unwritten(kAdamRates * sizeof(float));
  const Placed finite = unwritten(std::max<std::size_t>(chunks.size(), 1) * sizeof(int));
  const Placed scaling = placed(numbers_of(v.scaling));
  for (int step = 0; step < kSteps; ++step) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const Placed gradient =
          placed(gradient_of(v, all, i, step), v.unaligned == 1 ? sizeof(float) : 0);
      std::vector<unsigned char> bytes(gradient.memory.bytes());
      gradient.memory.download(bytes.data());
      memories[i][1].memory.upload(bytes.data());
    }
    adam(v.options(),
         {static_cast<const AdamChunk*>(table.data()), static_cast<int>(chunks.size()),
          static_cast<float*>(rates.data()), static_cast<int*>(finite.data())},
         {static_cast<double*>(state.data()),
          v.scaling ? static_cast<LossScale*>(scaling.data()) : nullptr},
         nullptr);
  }
  Stepped<float> out;
  for (const std::vector<Placed>& members : memories) {
    out.values.push_back(values_of<float>(members[0]));
    out.first.push_back(values_of<float>(members[2]));
    out.second.push_back(values_of<float>(members[3]));
  }
  out.state = values_of<double>(state);
  if (v.scaling) out.scaling = values_of<double>(scaling);
  return out;
}

Outcome run_adam(const AdamVariant& v) {
  const Stepped<float> found = found_steps(v);
  if (!(found == found_steps(v))) return {HUGE_VAL, HUGE_VAL, "two runs left different bytes"};
  const Stepped<double> expected = expected_steps(v);
  // Gradients are up to 3, over half the scale twice as much. In each step the first moment rounds
  // three times what is as large; the second, of which nothing cancels, four times itself; the
  // change of a value, which is at most three learning rates, by as much and four operations more;
  // the value once.
  const Tolerance first{kSteps * 3 * kRounding * (v.halves() ? 6 : 3), 0};
  const Tolerance second{0, kSteps * 4 * kRounding};
  const Tolerance value{kSteps * 3 * kLearningRate * (9 + 2 * kSteps + 4) * kRounding,
                        kSteps * 1.01 * kRounding};
  Outcome out = compare(expected.state, found.state, {0, 0});
  if (v.scaling) out = worse(out, compare(expected.scaling, found.scaling, {0, 0}));
  for (std::size_t i = 0; i < v.counts.size(); ++i) {
    out = worse(out, compare(expected.values[i], found.values[i], value));
    out = worse(out, compare(expected.first[i], found.first[i], first));
    out = worse(out, compare(expected.second[i], found.second[i], second));
  }
  return out;
}

void add_adam(const AdamVariant& v, std::vector<Case>& cases) {
  std::string counts;
  for (const std::int64_t count : v.counts) counts += text(" ", count);
  cases.push_back(
      {"adam", "fp32",
       text("of", counts, " after ", v.steps_before,
            v.unaligned < 0 ? "" : text(" unaligned ", v.unaligned),
            v.scaling ? text(" scale ", v.scaling->scale) : "", v.adapts ? " adapts" : "",
            v.infinite < 0 ? "" : text(" not finite in step ", v.infinite)),
       [v] { return run_adam(v); }});
}

Outcome run_keep_power(std::int64_t count, double reach, bool aligned) {
  constexpr double kPower = 12.5;
  const std::vector<float> values = random_values("power", count, -reach, reach);
  const auto run = [&] {
    const Placed x = placed(values, aligned ? 0 : sizeof(float));
    const Placed parts = unwritten(kPowerParts * sizeof(double));
    keep_power(static_cast<float*>(x.data()), count, kPower, static_cast<double*>(parts.data()),
               nullptr);
    return values_of<float>(x);
  };
  const std::vector<float> found = run();
  if (found != run()) return {HUGE_VAL, HUGE_VAL, "two runs left different bytes"};
  Array expected = Array::copy_of(std::vector<double>(values.begin(), values.end()), {count});
  make_reference_backend()->keep_power(expected, kPower);
  // The factor rounds, and the product.
  return compare({expected.data<double>(), expected.data<double>() + count}, found,
                 {0, 2.02 * kRounding});
}

void add_keep_power(std::int64_t count, double reach, bool aligned, std::vector<Case>& cases) {
  cases.push_back({"keep_power", "fp32", text(count, " up to ", reach, aligned ? "" : " unaligned"),
                   [=] { return run_keep_power(count, reach, aligned); }});
}

}  // namespace

std::vector<Case> optimiser_cases() {
  std::vector<Case> cases;
  const std::vector<std::int64_t> assorted{288, 1, 7, 2048, 2049, 16, 3, 5003};
  add_adam({{}}, cases);
  for (const std::int64_t count : assorted) add_adam({{count}}, cases);
  for (const double before : {0.0, 1e5}) {
    for (const int unaligned : {-1, 0, 1, 2, 3}) add_adam({assorted, before, unaligned}, cases);
  }
  const LossScale nearly{1024, LossScale::kPatience - 2, 0};
  const LossScale largest{LossScale::kLargest, LossScale::kPatience, 3};
  for (const LossScale& scaling : {LossScale{}, nearly, largest}) {
    for (const bool adapts : {false, true}) {
      for (const int infinite : {-1, 0, 1}) {
        add_adam({{5003, 2, 257}, 0, -1, scaling, adapts, infinite}, cases);
      }
    }
  }
  // More chunks than a block has threads; and none.
  add_adam({std::vector<std::int64_t>(300, 1), 0, -1, LossScale{}, false, 1}, cases);
  add_adam({{}, 0, -1, LossScale{}}, cases);
  for (const bool aligned : {true, false}) {
    // Of one block and several, their ends cut off, of more than there are parts.
    for (const std::int64_t count : {1, 2, 3, 5, 255, 1025, 4096, 4097, 32768, 9 * 7 * 5 * 64}) {
      add_keep_power(count, 1, aligned, cases);
    }
    add_keep_power(kPowerParts * 4096 + 50003, 1e3, aligned, cases);
    add_keep_power(300, 0, aligned, cases);  // all zeros stay
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
