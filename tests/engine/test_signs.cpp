// From every supported format to the stitched object: upright, in place and of the right sign; and
// each wrong orientation, sign, order or place of the zero frequency, made once, shows.
//
// tests/golden/make_signs.py simulates letters in amplitude and other letters in phase through the
// demo's probe, and stores the scan in every format by h5py; the demo's network reconstructs it.
// The score is the smaller one of two correlations (Pearson's) with the truth, of amplitude and of
// phase, over the pixels where the probe's summed intensity is at least three tenths of its
// largest. Measured: 0.85 for every format (amplitude 0.88, phase 0.85; 0.82 for the detector on
// its side), and at most 0.27 for anything wrong.
#include <algorithm>
#include <cmath>
#include <complex>
#include <functional>

#include "engine/reconstruct.h"
#include "io/result.h"
#include "tests/io/signs.h"

namespace ptynet {

namespace {

using tests::demo_signs_folder;
using tests::TemporaryFolder;
using Complex = std::complex<double>;

constexpr double kRight = 0.75;  // at least
constexpr double kWrong = 0.4;   // at most

// What format (0, 0) is in the truth's pixels. Formats in metres count from the scan's mean
// position; those that name the patch's centre from N/2 further.
enum class Origin { kMeanCentre, kMeanCorner, kTruth, kTruthLess20 };

// A file, and what a user has to say of it.
struct Case {
  std::string file;
  Origin origin = Origin::kMeanCentre;
  std::string data{};
  std::string positions{};
  bool needs_pixel = false;  // positions in metres, but no geometry in the file
  bool needs_unit = false;   // bare numbers, which are pixels
  bool turned = false;       // rows along +x, columns along -y: cxi_turned() of signs_formats.py
};

std::vector<Case> cases() {
  return {
      {.file = "scan.cxi"},
      {.file = "turned.cxi", .turned = true},
      {.file = "nxcxi.nxs"},
      {.file = "scan.ptyd"},
      {.file = "scan_1.h5"},
      {.file = "hxn_dump.h5"},
      {.file = "patterns.npz", .positions = "product.h5"},
      {.file = "ptychonn.npz", .needs_pixel = true},
      {.file = "tike.npz", .origin = Origin::kTruthLess20},
      {.file = "series_master.h5",
       .origin = Origin::kTruth,
       .positions = "positions.npy",
       .needs_unit = true},
      {.file = "frames.npy",
       .origin = Origin::kTruth,
       .positions = "positions.npy",
       .needs_unit = true},
      {.file = "objects.npy",
       .origin = Origin::kTruth,
       .positions = "positions.npy",
       .needs_unit = true},
      {.file = "plain.h5",
       .origin = Origin::kMeanCorner,
       .data = "raw/frames",
       .positions = "plain.h5:raw/positions",
       .needs_pixel = true},
      {.file = "ptylab.hdf5"},
  };
}

struct Scene {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<Complex> object;
  std::array<double, 2> mean{};  // of the positions, px
  double half_patch = 0;         // px
  double object_pixel_m = 0;

  // Around the object there is nothing but vacuum.
  Complex at(std::int64_t row, std::int64_t column) const {
    if (row < 0 || column < 0 || row >= rows || column >= columns) return 1;
    return object[static_cast<std::size_t>(row * columns + column)];
  }
};

Scene read_scene() {
  const std::filesystem::path path = demo_signs_folder() / "truth.h5";
  const tests::Truth truth = tests::read_truth(path);
  Scene scene;
  const Array object = io::Hdf5Reader(path).read("object", DType::kC64);
  scene.rows = object.shape()[0];
  scene.columns = object.shape()[1];
  const auto* values = object.data<std::complex<float>>();
  scene.object.assign(values, values + object.elements());
  for (const io::Position& p : truth.positions) {
    scene.mean[0] += p.row / static_cast<double>(truth.count);
    scene.mean[1] += p.column / static_cast<double>(truth.count);
  }
  scene.half_patch = static_cast<double>(truth.size / 2);
  scene.object_pixel_m = truth.object_pixel_m;
  return scene;
}

ReconstructOptions options_of(const Case& c, const Scene& scene) {
  ReconstructOptions o;
  o.scan.path = (demo_signs_folder() / c.file).string();
  o.scan.data = c.data;
  if (!c.positions.empty()) o.scan.positions = (demo_signs_folder() / c.positions).string();
  if (c.needs_unit) o.scan.positions_unit = io::PositionUnit::kPixel;
  if (c.needs_pixel) o.scan.object_pixel_size_m = scene.object_pixel_m;
  o.scan.probe = (demo_signs_folder() / "truth.h5:probe").string();
  o.weights = std::string(PTYNET_SOURCE_DIR) + "/examples/demo/ptynet-s.h5";
  o.device = Device{};
  return o;
}

// Where a pixel of the result lies in the truth.
std::array<std::int64_t, 2> in_truth(const Case& c, const Scene& scene, double row, double column) {
  std::array<double, 2> at = {row, column};
  if (c.turned) at = {column, -row};
  const bool from_mean = c.origin == Origin::kMeanCentre || c.origin == Origin::kMeanCorner;
  for (std::size_t k = 0; k < 2; ++k) {
    if (from_mean) at[k] += scene.mean[k];
    if (c.origin == Origin::kMeanCentre) at[k] += scene.half_patch;
    if (c.origin == Origin::kTruthLess20) at[k] += 20;
  }
  return {std::llround(at[0]), std::llround(at[1])};
}

double correlation(const std::vector<std::array<double, 2>>& pairs) {
  const auto n = static_cast<double>(pairs.size());
  std::array<double, 2> mean{};
  for (const auto& p : pairs) mean = {mean[0] + p[0] / n, mean[1] + p[1] / n};
  double xx = 0;
  double xy = 0;
  double yy = 0;
  for (const auto& p : pairs) {
    const double x = p[0] - mean[0];
    const double y = p[1] - mean[1];
    xx += x * x;
    xy += x * y;
    yy += y * y;
  }
  return xy / std::sqrt(xx * yy);
}

struct Score {
  double amplitude = 0;
  double phase = 0;
  double smaller() const { return std::min(amplitude, phase); }
};

Score score_of(const Case& c, const Scene& scene, ReconstructOptions options) {
  const TemporaryFolder folder;
  options.output = (folder / "result.h5").string();
  reconstruct(options);
  const io::Result result = io::read_result(options.output);
  const auto* object = result.object.data<std::complex<float>>();
  const auto* coverage = result.coverage.data<float>();
  const std::int64_t pixels = result.object.elements();
  const std::int64_t columns = result.object.shape()[1];
  const float least = *std::max_element(coverage, coverage + pixels) * 0.3F;
  std::vector<std::array<double, 2>> amplitudes;
  std::vector<std::array<double, 2>> phases;
  for (std::int64_t k = 0; k < pixels; ++k) {
    if (coverage[k] < least) continue;
    const auto [row, column] =
        in_truth(c, scene, result.origin_px[0] + static_cast<double>(k / columns),
                 result.origin_px[1] + static_cast<double>(k % columns));
    const Complex truth = scene.at(row, column);
    const Complex found(object[k]);
    amplitudes.push_back({std::abs(truth), std::abs(found)});
    phases.push_back({std::arg(truth), std::arg(found)});
  }
  return {correlation(amplitudes), correlation(phases)};
}

// One thing wrong in what a user says, as it could be in a reader.
struct Mutation {
  std::string name;
  std::function<void(ScanOptions&)> apply;
};

std::vector<Mutation> mutations(io::ZeroFrequency right) {
  std::vector<Mutation> out;
  for (const char* sign : {"+-", "-+", "--"}) {
    out.push_back(
        {text("positions-sign ", sign), [=](ScanOptions& scan) { scan.positions_sign = sign; }});
  }
  out.push_back({"positions-order xy", [](ScanOptions& scan) { scan.positions_order = "xy"; }});
  for (const char* orientation : {"flip-rows", "flip-columns", "rotate-90", "rotate-180",
                                  "rotate-270", "transpose", "anti-transpose"}) {
    out.push_back({text("orientation ", orientation),
                   [=](ScanOptions& scan) { scan.orientation = orientation; }});
  }
  const auto wrong =
      right == io::ZeroFrequency::kCorner ? io::ZeroFrequency::kCenter : io::ZeroFrequency::kCorner;
  out.push_back({"zero-frequency", [=](ScanOptions& scan) { scan.zero_frequency = wrong; }});
  return out;
}

void check_wrong(const Case& c, const Scene& scene, io::ZeroFrequency right) {
  for (const Mutation& mutation : mutations(right)) {
    ReconstructOptions options = options_of(c, scene);
    mutation.apply(options.scan);
    const Score score = score_of(c, scene, options);
    INFO(c.file << ", " << mutation.name << ": amplitude " << score.amplitude << ", phase "
                << score.phase);
    CHECK(score.smaller() < kWrong);
  }
}

void check_right(const Case& c, const Scene& scene, const ReconstructOptions& options) {
  const Score score = score_of(c, scene, options);
  INFO(c.file << ": amplitude " << score.amplitude << ", phase " << score.phase);
  CHECK(score.smaller() > kRight);
}

}  // namespace

TEST_CASE("Signs: every format reconstructs upright and in place", "[signs]") {
  PTYNET_NEED_DEMO_SIGNS();
  const Scene scene = read_scene();
  for (const Case& c : cases()) check_right(c, scene, options_of(c, scene));

  // A detector on its side, turned upright: the positions of a CXI file are those along the stored
  // frame's axes, and turn with it.
  const Case upright{.file = "turned.cxi"};
  ReconstructOptions options = options_of(upright, scene);
  options.scan.orientation = "rotate-270";
  options.scan.positions_order = "xy";
  options.scan.positions_sign = "+-";
  check_right(upright, scene, options);
}

// Every format comes to the same scan; two that differ in everything that can be wrong: metres of
// the sample and pixels of the beam, zero frequency in the centre and in the corner.
TEST_CASE("Signs: a wrong sign, order, orientation or zero frequency shows", "[signs]") {
  PTYNET_NEED_DEMO_SIGNS();
  const Scene scene = read_scene();
  for (const Case& c : cases()) {
    if (c.file == "scan.cxi") check_wrong(c, scene, io::ZeroFrequency::kCenter);
    if (c.file == "tike.npz") check_wrong(c, scene, io::ZeroFrequency::kCorner);
  }
}

}  // namespace ptynet
