#include <numeric>

#include "kernels/backend.h"
#include "kernels/cuda/pointwise.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

constexpr Activation kNone{};
constexpr Activation kLeaky{ActivationKind::kLeakyRelu, 0.2F, 0};
constexpr Activation kActivations[] = {kLeaky,
                                       {ActivationKind::kRelu, 0, 0},
                                       {ActivationKind::kHardtanh, -1, 1},
                                       {ActivationKind::kSigmoid, 0, 0},
                                       {ActivationKind::kTanh, 0, 0}};
constexpr Precision kArrayTypes[] = {Precision::kF32, Precision::kBf16, Precision::kF16};
constexpr std::int64_t kCounts[] = {1, 7, 64, 2048, 4099, 5 * 9 * 11 * 6};

std::vector<double> doubles(const Array& y) {
  return {y.data<double>(), y.data<double>() + y.elements()};
}

// Of the result's rounding, and of two roundings on the way.
Tolerance rounding(Precision precision) {
  return {0x1p-22, 1.01 * array_rounding(precision) + 0x1p-22};
}

struct Pointwise {
  Precision precision;
  std::int64_t count;
  Activation activation;
  bool adds;
  bool in_place;
  bool aligned;
};

std::vector<double> reference(const Pointwise& v, const std::vector<float>& a,
                              const std::vector<float>& b) {
  const auto backend = make_reference_backend();
  Array y = Array::host({v.count}, DType::kF64);
  Array sum = Array::copy_of(a, {v.count});
  if (v.adds) {
    sum = Array::host({v.count}, DType::kF64);
    backend->add(Array::copy_of(a, {v.count}), Array::copy_of(b, {v.count}), sum);
  }
  backend->activation(sum, v.activation, y);
  return doubles(y);
}

Outcome run_pointwise(const Pointwise& v) {
  const std::vector<float> a = rounded(random_values("a", v.count, -3, 3), v.precision);
  const std::vector<float> b = rounded(random_values("b", v.count, -3, 3), v.precision);
  const std::size_t offset = v.aligned ? 0 : element_bytes(v.precision);
  const Placed a_memory = placed(a, v.precision, offset);
  const Placed b_memory = placed(b, v.precision);
  const std::size_t bytes = a.size() * element_bytes(v.precision);
  const Placed other = unwritten(bytes, offset);
  const Placed& y = v.in_place ? a_memory : other;
  if (v.adds) {
    add(v.precision, {a_memory.data(), b_memory.data()}, v.activation, y.data(), v.count, nullptr);
  } else {
    activation(v.precision, a_memory.data(), v.activation, y.data(), v.count, nullptr);
  }
  return compare(reference(v, a, b), floats_of(y, v.precision), rounding(v.precision));
}

void add_pointwise(const Pointwise& v, std::vector<Case>& cases) {
  cases.push_back({v.adds ? "add" : "activation", std::string(name_of(v.precision)),
                   text(v.count, " a", static_cast<int>(v.activation.kind),
                        v.in_place ? " in place" : "", v.aligned ? "" : " unaligned"),
                   [v] { return run_pointwise(v); }});
}

struct Concat {
  Precision precision;
  std::int64_t pixels;
  std::vector<int> channels;
  bool aligned;
};

Outcome run_concat(const Concat& v) {
  const std::size_t offset = v.aligned ? 0 : element_bytes(v.precision);
  std::vector<Array> arrays;
  std::vector<Placed> memories;
  std::vector<ChannelPart> parts;
  for (const int channels : v.channels) {
    const std::string name = text("part ", arrays.size());
    const std::vector<float> values =
        rounded(random_values(name.c_str(), v.pixels * channels, -1, 1), v.precision);
    arrays.push_back(Array::copy_of(values, {1, 1, v.pixels, channels}));
    memories.push_back(placed(values, v.precision, offset));
    parts.push_back({memories.back().data(), channels});
  }
  const int channels = std::accumulate(v.channels.begin(), v.channels.end(), 0);
  Array expected = Array::host({1, 1, v.pixels, channels}, DType::kF64);
  make_reference_backend()->concat_channels(arrays, expected);
  const auto elements = static_cast<std::size_t>(expected.elements());
  const Placed y = unwritten(elements * element_bytes(v.precision));
  concat_channels(v.precision, parts, v.pixels, y.data(), nullptr);
  return compare(doubles(expected), floats_of(y, v.precision), {0, 0});
}

void add_concat(const Concat& v, std::vector<Case>& cases) {
  std::string channels;
  for (const int c : v.channels) channels += text(" ", c);
  cases.push_back({"concat_channels", std::string(name_of(v.precision)),
                   text(v.pixels, " px", channels, v.aligned ? "" : " unaligned"),
                   [v] { return run_concat(v); }});
}

}  // namespace

std::vector<Case> pointwise_cases() {
  std::vector<Case> cases;
  for (const Precision precision : kArrayTypes) {
    for (const std::int64_t count : kCounts) {
      for (const Activation& a : kActivations) {
        add_pointwise({precision, count, a, false, count == 4099, true}, cases);
      }
      add_pointwise({precision, count, kNone, true, count == 64, true}, cases);
      add_pointwise({precision, count, kLeaky, true, count == 7, count != 2048}, cases);
    }
    add_pointwise({precision, 300, kLeaky, false, false, false}, cases);
    const std::vector<std::vector<int>> channel_lists = {
        {64, 64}, {16, 32}, {4, 12}, {6, 2}, {1, 1}, {3, 5}, {7}, {1, 2, 3, 4, 5, 6}, {8, 8, 8, 8}};
    for (const std::vector<int>& channels : channel_lists) {
      add_concat({precision, 9, channels, true}, cases);
      add_concat({precision, 5 * 7 * 11, channels, channels.front() != 64}, cases);
    }
    add_concat({precision, 1, {40, 24}, true}, cases);
  }
  return cases;
}

}  // namespace ptynet::cuda::tests
