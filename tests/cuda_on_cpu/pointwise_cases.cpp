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

struct Slice {
  Precision precision;
  std::int64_t pixels;
  int channels;
  int first;
  int count;
  bool x_aligned = true;
  bool y_aligned = true;
};

Outcome run_slice(const Slice& v) {
  const std::size_t size = element_bytes(v.precision);
  const std::vector<float> values =
      rounded(random_values("slice", v.pixels * v.channels, -1, 1), v.precision);
  const Placed x = placed(values, v.precision, v.x_aligned ? 0 : size);
  Array expected = Array::host({1, 1, v.pixels, v.count}, DType::kF64);
  make_reference_backend()->slice_channels(Array::copy_of(values, {1, 1, v.pixels, v.channels}),
                                           v.first, expected);
  const auto elements = static_cast<std::size_t>(expected.elements());
  const Placed y = unwritten(elements * size, v.y_aligned ? 0 : size);
  slice_channels(v.precision, {x.data(), v.channels, v.first, v.count}, v.pixels, y.data(),
                 nullptr);
  return compare(doubles(expected), floats_of(y, v.precision), {0, 0});
}

void add_slice(const Slice& v, std::vector<Case>& cases) {
  cases.push_back({"slice_channels", std::string(name_of(v.precision)),
                   text(v.pixels, " px ", v.count, " from ", v.first, " of ", v.channels,
                        v.x_aligned ? "" : " from unaligned", v.y_aligned ? "" : " to unaligned"),
                   [v] { return run_slice(v); }});
}

struct HeadsVariant {
  std::int64_t pixels;
  int channels;
  int amplitude;  // the channel, or -1
  int phase;
  bool with_amplitude = true;  // whether something depends on it
  bool with_phase = true;
  bool aligned = true;
};

Outcome run_heads(const HeadsVariant& v) {
  const OutputHead amplitude{v.amplitude, 0.7F, 0.1F};
  const OutputHead phase{v.phase, 3.1F, -0.2F};
  const std::vector<float> d_amplitude = random_values("d amplitude", v.pixels, -1, 1);
  const std::vector<float> d_phase = random_values("d phase", v.pixels, -1, 1);
  const auto array = [&](const std::vector<float>& values, bool depends) {
    return depends ? Array::copy_of(values, {1, 1, v.pixels}) : Array();
  };
  Array expected = Array::host({1, 1, v.pixels, v.channels}, DType::kF64);
  make_reference_backend()->output_heads_gradient(array(d_amplitude, v.with_amplitude),
                                                  array(d_phase, v.with_phase), amplitude, phase,
                                                  expected);
  const Placed amplitude_memory = placed(d_amplitude, sizeof(float));
  const Placed phase_memory = placed(d_phase);
  const Placed dx = unwritten(static_cast<std::size_t>(expected.elements()) * sizeof(float),
                              v.aligned ? 0 : sizeof(float));
  const auto data = [](const Placed& memory, bool depends) {
    return depends ? static_cast<const float*>(memory.data()) : nullptr;
  };
  output_heads_gradient({data(amplitude_memory, v.with_amplitude), amplitude},
                        {data(phase_memory, v.with_phase), phase}, v.pixels, v.channels,
                        static_cast<float*>(dx.data()), nullptr);
  // Two products of up to 3.1, and where one channel is read twice their sum.
  return compare(doubles(expected), floats_of(dx, Precision::kF32), {8 * 0x1p-24, 0x1p-23});
}

void add_heads(const HeadsVariant& v, std::vector<Case>& cases) {
  cases.push_back({"output_heads_gradient", "fp32",
                   text(v.pixels, " px ", v.channels, " heads ", v.amplitude, " ", v.phase,
                        v.with_amplitude ? "" : " no amplitude", v.with_phase ? "" : " no phase",
                        v.aligned ? "" : " unaligned"),
                   [v] { return run_heads(v); }});
}

// Channels, the first that is wanted, how many.
constexpr int kSlices[][3] = {{64, 32, 32}, {64, 8, 24}, {20, 4, 16}, {16, 2, 6},  {3, 1, 2},
                              {3, 2, 1},    {2, 0, 1},   {1, 0, 1},   {65, 64, 1}, {12, 0, 8}};

void add_slices(Precision precision, std::vector<Case>& cases) {
  for (const std::int64_t pixels : {1, 9, 5 * 7 * 11}) {
    for (const auto& [channels, first, count] : kSlices) {
      add_slice({precision, pixels, channels, first, count}, cases);
    }
  }
  add_slice({precision, 45, 64, 32, 32, false, true}, cases);
  add_slice({precision, 45, 64, 32, 32, true, false}, cases);
}

void add_all_heads(std::vector<Case>& cases) {
  for (const std::int64_t pixels : {1, 11, 5 * 9 * 13}) {
    add_heads({pixels, 2, 0, 1}, cases);
    add_heads({pixels, 2, 1, 0, true, true, false}, cases);
    add_heads({pixels, 1, 0, -1}, cases);
    add_heads({pixels, 1, -1, 0}, cases);
    add_heads({pixels, 3, 2, 0}, cases);
    add_heads({pixels, 3, 1, 1}, cases);
    add_heads({pixels, 16, 15, 3}, cases);
    for (const int channels : {2, 20}) {
      add_heads({pixels, channels, 0, 1, false, true}, cases);
      add_heads({pixels, channels, 0, 1, true, false}, cases);
      add_heads({pixels, channels, 0, 1, false, false}, cases);
    }
  }
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
    add_slices(precision, cases);
  }
  add_all_heads(cases);
  return cases;
}

}  // namespace ptynet::cuda::tests
