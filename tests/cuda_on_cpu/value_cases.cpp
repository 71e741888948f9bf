#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/cuda/values.h"
#include "tests/cuda_on_cpu/cases.h"
#include "tests/cuda_on_cpu/elements.h"
#include "tests/cuda_on_cpu/outcome.h"

namespace ptynet::cuda::tests {

namespace {

// A float format by its definition, not by the bits that kernels move.
struct Format {
  DType type;
  Precision precision;
  int digits;  // of a number that is not subnormal, in bits
  int least;   // exponents of the last digit
  int most;
};
constexpr Format kF32{DType::kF32, Precision::kF32, 24, -149, 104};
constexpr Format kF16{DType::kF16, Precision::kF16, 11, -24, 5};
constexpr Format kBf16{DType::kBf16, Precision::kBf16, 8, -133, 120};
constexpr Format kFormats[] = {kF32, kF16, kBf16};
// Odd ones, a thread's four and their neighbours, more than a block.
constexpr std::int64_t kCounts[] = {1, 2, 3, 4, 5, 7, 1023, 1025};

double nearest(double v, const Format& format) {
  if (!std::isfinite(v) || v == 0) return v;
  const int last = std::max(std::ilogb(v) + 1 - format.digits, format.least);
  const double out = std::ldexp(std::nearbyint(std::ldexp(v, -last)), last);
  const double beyond = std::ldexp(1, format.most + format.digits);
  return std::abs(out) < beyond ? out : std::copysign(HUGE_VAL, v);
}

// Halfway between numbers of a format, and just beside: of either sign, between even and odd ones,
// at the ends of a power of two, among subnormals and where infinity begins.
std::vector<float> ties(const Format& format) {
  const int end = 1 << format.digits;
  std::vector<float> out;
  for (int last = format.least; last <= format.most; ++last) {
    for (const int k : {0, 1, 2, end / 2, end / 2 + 1, end - 2, end - 1}) {
      const float tie = static_cast<float>(std::ldexp(k + 0.5, last));
      for (const float v : {tie, std::nextafter(tie, 0.0F), std::nextafter(tie, HUGE_VALF)}) {
        out.insert(out.end(), {v, -v});
      }
    }
  }
  return out;
}

// Infinities, NaN, zeros, and the numbers at the ends of f32; then any bits.
std::vector<float> assorted(std::int64_t count) {
  using Limits = std::numeric_limits<float>;
  std::vector<float> out{HUGE_VALF, -HUGE_VALF,    Limits::quiet_NaN(),  0.0F,
                         -0.0F,     Limits::max(), Limits::denorm_min(), Limits::min()};
  const CounterRandom random(7, "bits");
  for (std::size_t i = out.size(); i < static_cast<std::size_t>(count); ++i) {
    out.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random.bits(i))));
  }
  out.resize(static_cast<std::size_t>(count));
  return out;
}

// All that 16 bits can be.
std::vector<float> every_value(const Format& format) {
  std::vector<std::uint16_t> bits(1 << 16);
  for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = static_cast<std::uint16_t>(i);
  return floats_of(placed(bits), format.precision);
}

struct Conversion {
  Format from;
  Format to;
  std::vector<float> values;
  bool x_aligned;
  bool y_aligned;
};

Outcome run_conversion(const Conversion& v) {
  const std::vector<float> values = rounded(v.values, v.from.precision);
  const std::size_t x_bytes = element_bytes(v.from.precision);
  const std::size_t y_bytes = element_bytes(v.to.precision);
  const Placed x = placed(values, v.from.precision, v.x_aligned ? 0 : x_bytes);
  const Placed y = unwritten(values.size() * y_bytes, v.y_aligned ? 0 : y_bytes);
  convert({x.data(), v.from.type}, {y.data(), v.to.type}, std::ssize(values), nullptr);
  std::vector<double> expected(values.size());
  std::transform(values.begin(), values.end(), expected.begin(),
                 [&](float value) { return nearest(double{value}, v.to); });
  return compare_exactly(expected, floats_of(y, v.to.precision));
}

void add_conversion(const Conversion& v, const char* about, std::vector<Case>& cases) {
  cases.push_back({"convert", text(name_of(v.from.type), " to ", name_of(v.to.type)),
                   text(v.values.size(), " ", about, v.x_aligned ? "" : " from unaligned",
                        v.y_aligned ? "" : " to unaligned"),
                   [v] { return run_conversion(v); }});
}

void add_conversions(const Format& from, const Format& to, std::vector<Case>& cases) {
  for (const std::int64_t count : kCounts) {
    add_conversion({from, to, assorted(count), true, true}, "of any bits", cases);
  }
  for (const bool x_aligned : {false, true}) {
    add_conversion({from, to, assorted(1025), x_aligned, false}, "of any bits", cases);
  }
  add_conversion({from, to, assorted(1025), false, true}, "of any bits", cases);
  for (const Format& between : {kF16, kBf16}) {
    const bool wide = from.type == DType::kF32;
    if (!wide && from.type != between.type) continue;
    const std::vector<float> values = wide ? ties(between) : every_value(from);
    add_conversion({from, to, values, true, true},
                   text(wide ? "ties of " : "", name_of(between.type)).c_str(), cases);
  }
}

Outcome run_scale(float factor, std::int64_t count, bool aligned) {
  const std::vector<float> values = assorted(count);
  const Placed x = placed(values, aligned ? 0 : sizeof(float));
  scale(static_cast<float*>(x.data()), factor, count, nullptr);
  std::vector<double> expected(values.size());
  std::transform(values.begin(), values.end(), expected.begin(),
                 [&](float v) { return nearest(double{v} * double{factor}, kF32); });
  return compare_exactly(expected, floats_of(x, Precision::kF32));
}

void add_scale(float factor, std::int64_t count, bool aligned, std::vector<Case>& cases) {
  cases.push_back({"scale", "fp32", text(count, " by ", factor, aligned ? "" : " unaligned"),
                   [=] { return run_scale(factor, count, aligned); }});
}

Outcome run_random(const UniformRange& range, std::int64_t count, bool aligned) {
  const CounterRandom random(11, "uniform");
  const Placed y =
      unwritten(static_cast<std::size_t>(count) * sizeof(float), aligned ? 0 : sizeof(float));
  random_uniform(random, range, static_cast<float*>(y.data()), count, nullptr);
  std::vector<double> expected(static_cast<std::size_t>(count));
  const double low = double{range.low};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i] = nearest(low + (double{range.high} - low) * random.uniform(i), kF32);
  }
  return compare_exactly(expected, floats_of(y, Precision::kF32));
}

Outcome run_multiply(double factor, std::int64_t count, bool aligned) {
  const std::vector<float> values = assorted(count);
  const std::size_t offset = aligned ? 0 : sizeof(float);
  const Placed x = placed(values, offset);
  const Placed by = placed(std::vector<double>{factor});
  const Placed y = unwritten(values.size() * sizeof(float), offset);
  multiply(static_cast<float*>(x.data()), static_cast<double*>(by.data()),
           static_cast<float*>(y.data()), count, nullptr);
  std::vector<double> expected(values.size());
  std::transform(values.begin(), values.end(), expected.begin(),
                 [&](float v) { return nearest(double{v} * factor, kF32); });
  return compare_exactly(expected, floats_of(y, Precision::kF32));
}

void add_multiply(double factor, std::int64_t count, bool aligned, std::vector<Case>& cases) {
  cases.push_back({"multiply", "fp32", text(count, " by ", factor, aligned ? "" : " unaligned"),
                   [=] { return run_multiply(factor, count, aligned); }});
}

void add_random(const UniformRange& range, std::int64_t count, bool aligned,
                std::vector<Case>& cases) {
  cases.push_back(
      {"random_uniform", "fp32",
       text(count, " from ", range.low, " to ", range.high, aligned ? "" : " unaligned"),
       [=] { return run_random(range, count, aligned); }});
}

}  // namespace

std::vector<Case> value_cases() {
  std::vector<Case> cases;
  for (const Format& from : kFormats) {
    for (const Format& to : kFormats) add_conversions(from, to, cases);
  }
  for (const std::int64_t count : kCounts) {
    add_scale(0.3F, count, count != 7, cases);
    add_multiply(65536, count, count != 7, cases);
    add_random({0, 1}, count, count != 7, cases);
    add_random({-0.7F, 1.9F}, count, count != 5, cases);
  }
  for (const float factor : {-3.0F, 0.0F, 0x1p-130F, 0x1p127F}) {
    add_scale(factor, 1025, true, cases);
  }
  add_random({1e6F, 1e6F + 1}, 1025, true, cases);  // steps of 1/16
  return cases;
}

}  // namespace ptynet::cuda::tests
