// A small scan with its probe and a network to tune on it, and looks at what came out.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "engine/finetune.h"
#include "io/npy.h"
#include "io/weights.h"
#include "layers/state_dict.h"
#include "tests/support.h"

namespace ptynet::tests {

inline constexpr std::int64_t kSide = 16;
inline constexpr std::int64_t kFrames = 10;

inline constexpr const char* kTiny = R"({"name": "tiny",
  "input": {"quantity": "amplitude", "scale": "frame_max", "epsilon": 1e-6},
  "layers": [
    {"type": "conv2d", "name": "first", "in": 1, "out": 4, "kernel": 3, "stride": 1,
     "padding": 1, "groups": 1, "bias": true},
    {"type": "batch_norm2d", "name": "norm", "channels": 4, "eps": 1e-5, "momentum": 0.1},
    {"type": "leaky_relu", "slope": 0.1},
    {"type": "conv2d", "name": "last", "in": 4, "out": 2, "kernel": 3, "stride": 1, "padding": 1,
     "groups": 1, "bias": true}],
  "output": {"amplitude": {"channel": 0}, "phase": {"channel": 1, "scale": 3.14159}}})";

inline Array gaussian_probe(double scale) {
  Array probe = Array::host({1, kSide, kSide}, DType::kC64);
  for (std::int64_t i = 0; i < kSide * kSide; ++i) {
    const double r = static_cast<double>(i / kSide) - kSide / 2.0;
    const double c = static_cast<double>(i % kSide) - kSide / 2.0;
    const double a = scale * std::exp(-(r * r + c * c) / 18);
    probe.data<std::complex<float>>()[i] =
        std::complex<float>(std::polar(a, 0.05 * (r * r + c * c)));
  }
  return probe;
}

inline Array far_field(const Array& object, const Array& probe) {
  Context context;
  Array out = context.allocate(object.shape(), DType::kF32);
  context.backend().far_field_intensity(object, probe, out);
  return out;
}

// Amplitude around 0.8, phases of half a radian, smooth.
inline Array patches(std::int64_t n) {
  Array object = Array::host({n, kSide, kSide}, DType::kC64);
  for (std::int64_t i = 0; i < object.elements(); ++i) {
    const auto f = static_cast<double>(i / (kSide * kSide));
    const double r = static_cast<double>(i / kSide % kSide) + 4 * f;
    const auto c = static_cast<double>(i % kSide);
    object.data<std::complex<float>>()[i] = std::complex<float>(
        std::polar(0.8 + 0.2 * std::sin(0.7 * r + 0.2 * c), 0.5 * std::sin(0.3 * r - 0.5 * c)));
  }
  return object;
}

// A scan of kFrames frames in a row, its probe, positions, and random weights, in one folder.
struct Fixture {
  TemporaryFolder folder;
  FinetuneOptions options;
  Array frames;

  Fixture() {
    const Array probe = gaussian_probe(30);
    frames = far_field(patches(kFrames), probe);
    Array positions = Array::zeros({kFrames, 2}, DType::kF64);
    for (std::int64_t i = 0; i < kFrames; ++i) {
      positions.data<double>()[2 * i] = 4 * static_cast<double>(i);
    }
    io::write_npy(folder / "frames.npy", frames);
    io::write_npy(folder / "probe.npy", probe);
    io::write_npy(folder / "positions.npy", positions);
    io::WeightFile weights;
    weights.architecture_json = kTiny;
    weights.tensors = random_state(parse_architecture(kTiny), 3, 0.5);
    io::write_weights(folder / "pretrained.h5", weights);
    FinetuneOptions& o = options;
    o.scan.path = folder / "frames.npy";
    o.scan.probe = folder / "probe.npy";
    o.scan.positions = folder / "positions.npy";
    o.scan.positions_unit = io::PositionUnit::kPixel;
    o.weights = folder / "pretrained.h5";
    o.output = folder / "tuned.h5";
    o.epochs = 6;
    o.batch = 4;
    o.learning_rate = 1e-2;
    o.device = Device{};
    o.threads = 1;
  }
  // With every option that has a state of its own.
  void everything_on() {
    options.consistency = 3;
    options.validate = 0.2;
    options.update_probe = 2;
    options.shuffle = true;
    options.schedule = ScheduleKind::kCyclic;
    options.log_csv = folder / "log.csv";
  }
  void rewrite_frames() const { io::write_npy(folder / "frames.npy", frames); }
  StateDict weights() const { return io::read_weights(folder / "tuned.h5").tensors; }
};

inline std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::vector<std::vector<std::string>> csv(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::vector<std::vector<std::string>> rows;
  for (std::string line; std::getline(file, line);) {
    rows.emplace_back();
    std::string cell;
    for (const char letter : line + ",") {
      if (letter != ',') {
        cell += letter;
      } else {
        rows.back().push_back(std::exchange(cell, ""));
      }
    }
  }
  return rows;
}

inline bool equal(const StateDict& a, const StateDict& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.bytes() == y.second.bytes() &&
           std::memcmp(x.second.data(), y.second.data(), x.second.bytes()) == 0;
  });
}

// Asks to stop before batch `batch` of the whole run.
inline std::function<bool()> stop_before(std::int64_t batch) {
  return [batch, asked = std::int64_t{0}]() mutable { return asked++ == batch; };
}

}  // namespace ptynet::tests
