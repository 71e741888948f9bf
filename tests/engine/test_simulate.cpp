#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "engine/evaluate.h"
#include "engine/poisson.h"
#include "engine/residual.h"
#include "engine/scan.h"
#include "engine/simulate.h"
#include "engine/stitcher.h"
#include "io/npy.h"
#include "io/png.h"
#include "io/result.h"
#include "kernels/backend.h"
#include "tests/support.h"

using namespace ptynet;
using Catch::Contains;
using ptynet::tests::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A small scan: frames of 64, object of 160 x 176.
SimulateOptions small(const TemporaryFolder& folder) {
  SimulateOptions o;
  o.size_px = {160, 176};
  o.frame_px = 64;
  o.geometry.distance_m = 1;
  o.probe.defocus_m = 0.4e-3;
  o.overlap = 0.6;
  o.jitter_px = 2;
  o.output = folder / "scan.cxi";
  o.truth = folder / "truth.h5";
  return o;
}

Scan open(const SimulateOptions& options) {
  ScanOptions scan;
  scan.path = options.output;
  return Scan::open(scan);
}

// Windows of the true object where the scan file says that its frames lie.
Array windows(const Array& object, const std::vector<io::Position>& at, std::int64_t n) {
  const std::int64_t columns = object.shape()[1];
  Array out = Array::host({static_cast<std::int64_t>(at.size()), n, n}, DType::kC64);
  auto* to = out.data<std::complex<float>>();
  for (const io::Position& p : at) {
    for (std::int64_t r = 0; r < n; ++r, to += n) {
      std::copy_n(object.data<std::complex<float>>() + (std::llround(p.row) + r) * columns +
                      std::llround(p.column),
                  n, to);
    }
  }
  return out;
}

RSums residual_of_truth(Scan& scan, const Array& object) {
  Context context;
  ResidualMeter meter(context, scan.probe());
  RSums sums;
  for (const RSums& one : meter.measure(windows(object, scan.positions_px(), scan.height()),
                                        scan.read(0, scan.count()))) {
    sums += one;
  }
  return sums;
}

double distance(const io::Position& a, const io::Position& b) {
  return std::hypot(a.row - b.row, a.column - b.column);
}

// Probability of k at a mean.
double poisson_probability(double k, double mean) {
  return std::exp(k * std::log(mean) - mean - std::lgamma(k + 1));
}

}  // namespace

TEST_CASE("photon noise has the mean, the variance and the distribution of Poisson") {
  for (const double mean : {0.3, 8.0, 9.99, 10.0, 80.0, 5000.0}) {
    constexpr std::uint64_t kSamples = 200000;
    const CounterRandom random(11, "test");
    const double width = std::sqrt(mean);
    // Bins a fifth of a standard deviation wide, or of one count
    const double bin = std::max(1.0, std::floor(width / 5));
    const double first = std::max(0.0, std::floor(mean - 3 * width));
    const double last = std::ceil(mean + 3 * width + 2);
    std::vector<double> found(static_cast<std::size_t>((last - first) / bin) + 3);
    double sum = 0, square = 0;
    for (std::uint64_t k = 0; k < kSamples; ++k) {
      const auto v = static_cast<double>(poisson(mean, random, k, kSamples));
      sum += v, square += (v - mean) * (v - mean);
      const double at = v < first ? 0 : std::floor((v - first) / bin) + 1;
      ++found[static_cast<std::size_t>(std::min(at, static_cast<double>(found.size() - 1)))];
    }
    INFO("mean " << mean);
    // Four standard errors; the variance's has the fourth moment, mean + 3 mean^2.
    CHECK(std::abs(sum / kSamples - mean) < 4 * std::sqrt(mean / kSamples));
    CHECK(std::abs(square / kSamples - mean) < 4 * std::sqrt((mean + 2 * mean * mean) / kSamples));
    double chi_square = 0, degrees = -1, rest_found = kSamples, rest = kSamples;
    for (std::size_t b = 1; b + 1 < found.size(); ++b) {
      double expected = 0;
      for (double v = first + (static_cast<double>(b) - 1) * bin;
           v < first + static_cast<double>(b) * bin; ++v) {
        expected += kSamples * poisson_probability(v, mean);
      }
      if (expected < 20) continue;
      chi_square += (found[b] - expected) * (found[b] - expected) / expected;
      rest -= expected, rest_found -= found[b], ++degrees;
    }
    if (rest > 20) chi_square += (rest_found - rest) * (rest_found - rest) / rest, ++degrees;
    // Mean and standard deviation of chi square are n and sqrt(2 n).
    CHECK(chi_square < degrees + 4 * std::sqrt(2 * degrees));
  }
  CHECK(poisson(0, CounterRandom(1, "x"), 0, 1) == 0);
  CHECK(poisson(-3, CounterRandom(1, "x"), 0, 1) == 0);
  for (const double beyond : {1e10, 1e300, std::nan("")}) {
    CHECK_THROWS_WITH(poisson(beyond, CounterRandom(1, "x"), 0, 1), Contains("32 bits"));
  }
}

TEST_CASE("noise is a pure function of seed and frame") {
  const std::vector<float> expected(4096, 20.5F);
  std::vector<std::vector<double>> noisy(6);
  std::vector<std::thread> threads;
  for (std::size_t k = 0; k < noisy.size(); ++k) {
    threads.emplace_back([&, k] { noisy[k] = poisson_counts(expected.data(), 4096, 3, k % 3); });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t k = 0; k < 3; ++k) CHECK(noisy[k] == noisy[k + 3]);
  CHECK(noisy[0] != noisy[1]);
}

TEST_CASE("photon noise is the same on every backend, and stays what it was") {
  // From the engine as it was when only the host drew: seed 3, frame 2.
  const std::vector<float> means{0, 0.3F, 4, 9.99F, 10, 14, 200, 5e4F, 1e9F, 4.2e9F};
  std::vector<float> expected;
  for (int i = 0; i < 30; ++i) expected.push_back(means[static_cast<std::size_t>(i) % 10]);
  CHECK(poisson_counts(expected.data(), 30, 3, 2) ==
        std::vector<double>{0, 0, 4,  10, 9,  10, 215, 49929, 1000008968, 4200067343,
                            0, 0, 10, 7,  4,  14, 226, 49973, 999962457,  4199960254,
                            0, 0, 7,  10, 10, 11, 202, 49967, 999973849,  4200028852});
  constexpr std::uint64_t kNumber = (std::uint64_t{1} << 53) - 5;
  const Array frames = Array::copy_of(expected, {3, 2, 5});
  const Array first = Array::copy_of<double>({static_cast<double>(kNumber)}, {1});
  for (const auto& backend : {make_cpu_backend(2), make_reference_backend()}) {
    Array counts = Array::host(frames.shape(), DType::kF32);
    backend->photon_noise(frames, 3, first, counts);
    for (std::uint64_t k = 0; k < 3; ++k) {
      const std::vector<double> drawn =
          poisson_counts(expected.data() + 10 * k, 10, 3, kNumber + k);
      const float* found = counts.data<float>() + 10 * k;
      CHECK(std::vector<float>(found, found + 10) ==
            std::vector<float>(drawn.begin(), drawn.end()));
    }
  }
}

TEST_CASE("two seeds give no frame the same noise, whatever the frame") {
  const TemporaryFolder folder;
  SimulateOptions options = small(folder);
  options.ranges = {1, 1, 0, 0, false, 8, 90};  // no object: frames differ by their noise alone
  options.jitter_px = 0;
  std::vector<Array> scans;
  for (options.seed = 1; options.seed <= 2; ++options.seed) {
    const SimulateSummary summary = simulate(options);
    scans.push_back(open(options).read(0, summary.frames));
  }
  REQUIRE(scans[0].shape() == scans[1].shape());
  const std::int64_t n = scans[0].shape()[0];
  REQUIRE(n > 3);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      const Array a = scans[0].slice(i, 1);
      REQUIRE(std::memcmp(a.data(), scans[1].slice(j, 1).data(), a.bytes()) != 0);
    }
  }
}

TEST_CASE("expected counts are those of the backend, several modes and odd sizes too") {
  Context context;
  for (const std::int64_t n : {16, 15}) {
    const CounterRandom random(2, "fields");
    const auto fill = [&random](Array& a, std::uint64_t from) {
      for (std::int64_t k = 0; k < a.elements(); ++k) {
        const auto at = from + 2 * static_cast<std::uint64_t>(k);
        a.data<std::complex<float>>()[k] = {static_cast<float>(random.uniform(at)) - 0.5F,
                                            static_cast<float>(random.uniform(at + 1)) - 0.5F};
      }
    };
    Array object = Array::host({n + 5, n + 9}, DType::kC64);
    Array probe = Array::host({3, n, n}, DType::kC64);
    fill(object, 0);
    fill(probe, 100000);
    Array expected = Array::host({1, n, n}, DType::kF32);
    context.backend().far_field_intensity(windows(object, {{2, 7}}, n), probe, expected);
    std::vector<float> found(static_cast<std::size_t>(n * n));
    const FrameSimulator simulator(n, n);
    simulator.expected(object, 2, 7, probe, 0.5, found.data());
    double light = 0;
    for (std::int64_t k = 0; k < n * n; ++k) {
      const double one = double{expected.data<float>()[k]};
      CHECK(double{found[static_cast<std::size_t>(k)]} == Approx(one + 0.5).margin(1e-4));
      light += one;
    }
    // Parseval
    double energy = 0;
    const Array patch = windows(object, {{2, 7}}, n);
    for (std::int64_t k = 0; k < probe.elements(); ++k) {
      energy += std::norm(std::complex<double>(probe.data<std::complex<float>>()[k]) *
                          std::complex<double>(patch.data<std::complex<float>>()[k % (n * n)]));
    }
    CHECK(light == Approx(energy * static_cast<double>(n * n)).epsilon(1e-5));
    CHECK_THROWS_WITH(simulator.expected(object, 6, 0, probe, 0, found.data()),
                      Contains("within the object"));
    CHECK_THROWS_WITH(simulator.expected(object, 0, -1, probe, 0, found.data()),
                      Contains("within the object"));
  }
}

TEST_CASE("what is simulated is read back: positions, probe, geometry and counts") {
  for (const ScanPattern pattern :
       {ScanPattern::kRaster, ScanPattern::kFermat, ScanPattern::kConcentric}) {
    const TemporaryFolder folder;
    SimulateOptions options = small(folder);
    options.pattern = pattern;
    options.noise = Noise::kNone;
    options.background = 0.25;
    const SimulateSummary summary = simulate(options);
    Scan scan = open(options);
    const io::Result truth = io::read_result(options.truth);
    REQUIRE(scan.count() == summary.frames);
    REQUIRE(truth.positions.size() == static_cast<std::size_t>(summary.frames));
    for (std::size_t k = 0; k < truth.positions.size(); ++k) {
      REQUIRE(distance(scan.positions_px()[k], truth.positions[k]) < 1e-9);
    }
    CHECK((*scan.object_pixel_m())[0] == Approx(summary.object_pixel_m).epsilon(1e-12));
    CHECK(*scan.energy_ev() == Approx(8000).epsilon(1e-12));
    CHECK(*scan.file().distance_m == 1);
    const Array probe = simulation_probe(options.probe, options.geometry, 64);
    REQUIRE(scan.probe().bytes() == probe.bytes());
    CHECK(std::memcmp(scan.probe().data(), probe.data(), probe.bytes()) == 0);
    CHECK(scan.notes().empty());

    const Array frames = scan.read(0, scan.count());
    const FrameSimulator simulator(64, 64);
    std::vector<float> expected(4096);
    for (std::int64_t k = 0; k < scan.count(); ++k) {
      const io::Position& p = truth.positions[static_cast<std::size_t>(k)];
      simulator.expected(truth.object, std::llround(p.row), std::llround(p.column), probe, 0.25,
                         expected.data());
      REQUIRE(std::memcmp(expected.data(), frames.slice(k, 1).data(), 4096 * 4) == 0);
    }
  }
}

TEST_CASE("the true object explains the frames to photon noise, and exactly without noise") {
  const TemporaryFolder folder;
  SimulateOptions options = small(folder);
  options.probe.photons = 3e5;
  const SimulateSummary summary = simulate(options);
  Scan scan = open(options);
  const io::Result truth = io::read_result(options.truth);
  const double r = residual_of_truth(scan, truth.object).r();
  CHECK(r == Approx(summary.poisson_r).epsilon(1e-4));
  CHECK(r > 0.02);
  CHECK(r < 0.3);
  CHECK(scan.file().frames->dtype() == DType::kU16);
  // One pixel beside it is not the truth, though features have 8 px or more.
  std::vector<io::Position> beside = scan.positions_px();
  for (io::Position& p : beside) p.row += p.row < 50 ? 1 : -1;
  Context context;
  ResidualMeter meter(context, scan.probe());
  RSums wrong;
  for (const RSums& one :
       meter.measure(windows(truth.object, beside, 64), scan.read(0, scan.count()))) {
    wrong += one;
  }
  CHECK(wrong.r() > 1.3 * r);

  options.noise = Noise::kNone;
  CHECK(simulate(options).poisson_r == 0);
  Scan exact = open(options);
  CHECK(residual_of_truth(exact, truth.object).r() < 1e-5);
}

TEST_CASE("perfect patches stitched where the scan file says make the truth") {
  const TemporaryFolder folder;
  SimulateOptions options = small(folder);
  options.pattern = ScanPattern::kFermat;
  simulate(options);
  const Scan scan = open(options);
  const io::Result truth = io::read_result(options.truth);
  Context context;
  StitcherOptions stitching;
  stitching.mode = StitchMode::kProbe;
  Stitcher stitcher(context, 64, 64, scan.probe(), stitching);
  Array patches = windows(truth.object, scan.positions_px(), 64);
  stitcher.add(patches, scan.positions_px());

  io::Result made;
  made.object = stitcher.object();
  made.coverage = stitcher.coverage();
  made.count = stitcher.count();
  made.positions = scan.positions_px();
  made.frame_index = scan.frame_index();
  made.origin_px = {static_cast<double>(stitcher.origin()[0]),
                    static_cast<double>(stitcher.origin()[1])};
  io::ResultWriter(folder / "made.h5").finish(made);

  // As `ptynet evaluate` takes the truth file
  EvaluateRequest request;
  request.result = folder / "made.h5";
  request.truth_amplitude = io::parse_dataset_name(options.truth + ":amplitude");
  request.truth_phase = io::parse_dataset_name(options.truth + ":phase");
  const Evaluation found = evaluate(request);
  CHECK(found.physical.phase_rms_rad < 1e-3);
  CHECK(found.physical.amplitude_rms < 1e-3);
  request.truth_offset_px = {1, 0};
  CHECK(evaluate(request).physical.phase_rms_rad > 0.05);

  // Coverage and count of the truth are those of the stitched object.
  for (std::int64_t r = 0; r < stitcher.rows(); ++r) {
    for (std::int64_t c = 0; c < stitcher.columns(); ++c) {
      const std::int64_t at = (r + stitcher.origin()[0]) * 176 + c + stitcher.origin()[1];
      const std::int64_t here = r * stitcher.columns() + c;
      REQUIRE(truth.count.data<std::uint32_t>()[at] == made.count.data<std::uint32_t>()[here]);
      REQUIRE(double{truth.coverage.data<float>()[at]} ==
              Approx(double{made.coverage.data<float>()[here]}).margin(1e-4));
    }
  }
}

TEST_CASE("the same seed gives the same bytes with any number of threads, another seed others") {
  const TemporaryFolder folder;
  SimulateOptions options = small(folder);
  std::vector<std::string> scans, truths;
  for (const int threads : {1, 3}) {
    options.threads = threads;
    simulate(options);
    scans.push_back(bytes_of(options.output));
    truths.push_back(bytes_of(options.truth));
  }
  CHECK(scans[0] == scans[1]);
  CHECK(truths[0] == truths[1]);
  options.seed = 2;
  simulate(options);
  CHECK(bytes_of(options.output) != scans[0]);
  CHECK(bytes_of(options.truth) != truths[0]);
}

TEST_CASE("counts beyond 16 bits are written with 32, and beyond those refused") {
  const TemporaryFolder folder;
  SimulateOptions options = small(folder);
  options.probe.kind = ProbeKind::kGaussian;
  options.probe.defocus_m = 1e-3;
  options.probe.photons = 3e7;
  const SimulateSummary summary = simulate(options);
  CHECK(summary.max_count > 65535);
  Scan scan = open(options);
  CHECK(scan.file().frames->dtype() == DType::kU32);
  CHECK(residual_of_truth(scan, io::read_result(options.truth).object).r() ==
        Approx(summary.poisson_r).epsilon(1e-3));
  options.output = folder / "other.cxi";
  options.truth.clear();
  options.probe.photons = 1e14;
  CHECK_THROWS_WITH(simulate(options), Contains("32 bits"));
  CHECK_FALSE(fs::exists(options.output));
}

TEST_CASE("the background is that many counts a pixel") {
  const TemporaryFolder folder;
  SimulateOptions options = small(folder);
  options.probe.photons = 1;
  options.background = 3;
  const SimulateSummary summary = simulate(options);
  CHECK(summary.mean_counts == Approx(3 * 4096).epsilon(0.01));
}

TEST_CASE("a probe comes from a file too, and defocus takes it further along the beam") {
  const TemporaryFolder folder;
  SimulateOptions options = small(folder);
  options.probe.kind = ProbeKind::kGaussian;
  options.probe.defocus_m = 1e-3;
  const Array probe = simulation_probe(options.probe, options.geometry, 64);
  io::write_npy(folder / "probe.npy", probe);
  ProbeSource file;
  file.file = folder / "probe.npy";
  const Array read = simulation_probe(file, options.geometry, 0);
  CHECK(std::memcmp(read.data(), probe.data(), probe.bytes()) == 0);
  file.photons = 5000;
  CHECK(counts_of(simulation_probe(file, options.geometry, 64)) == Approx(5000).epsilon(1e-5));
  file.photons = 1e6;
  file.defocus_m = 1e-3;
  options.probe.defocus_m = 2e-3;
  const Array further = simulation_probe(options.probe, options.geometry, 64);
  const Array moved = simulation_probe(file, options.geometry, 64);
  CHECK(probe_diameter_px(moved) == Approx(probe_diameter_px(further)).epsilon(0.03));
  CHECK(probe_diameter_px(moved) > 1.2 * probe_diameter_px(probe));
  CHECK_THROWS_WITH(simulation_probe(file, options.geometry, 128),
                    Contains("128x128") && Contains("64x64"));
  // So far that the light would come in again from the other side.
  file.defocus_m = 0.1;
  CHECK_THROWS_WITH(simulation_probe(file, options.geometry, 64), Contains("holds"));
  file.defocus_m.reset();
  file.photons.reset();
  file.ortho = true;
  CHECK(counts_of(simulation_probe(file, options.geometry, 64)) ==
        Approx(counts_of(probe) / 4096).epsilon(1e-5));
}

TEST_CASE("pictures are drawn, and an object of pictures is simulated") {
  const TemporaryFolder folder;
  Array grey = Array::host({100, 90}, DType::kU8);
  for (std::int64_t k = 0; k < grey.elements(); ++k) {
    grey.data<std::uint8_t>()[k] = static_cast<std::uint8_t>(k % 256);
  }
  io::write_png(folder / "a.png", grey);
  SimulateOptions options = small(folder);
  options.amplitude = options.phase = folder / "a.png";
  options.png = folder / "pictures";
  const SimulateSummary summary = simulate(options);
  CHECK(summary.object_px == std::array<std::int64_t, 2>{100, 90});
  REQUIRE(summary.pictures.size() == 4);
  for (const std::string& picture : summary.pictures) CHECK(io::read_png(picture).elements() > 0);
}

TEST_CASE("what cannot be simulated is refused, and nothing is written") {
  const TemporaryFolder folder;
  const auto refused = [&folder](auto change, const char* words) {
    SimulateOptions options = small(folder);
    change(options);
    CHECK_THROWS_WITH(simulate(options), Contains(words));
    CHECK(fs::is_empty(folder.path()));
  };
  refused([](SimulateOptions& o) { o.overlap = 1; }, "overlap");
  refused([](SimulateOptions& o) { o.probe.photons = -1; }, "photons");
  refused([](SimulateOptions& o) { o.background = -1; }, "background");
  refused([](SimulateOptions& o) { o.size_px = {63, 100}; }, "at least 64x64");
  refused([](SimulateOptions& o) { o.amplitude = o.phase = "missing.png"; }, "missing.png");
  refused([](SimulateOptions& o) { o.amplitude = "only.png"; }, "only.png");
  refused([](SimulateOptions& o) { o.probe.file = "missing.npy"; }, "missing.npy");
  refused([](SimulateOptions& o) { o.geometry.energy_ev = 0; }, "energy");
  refused([](SimulateOptions& o) { o.truth = o.output; }, "two things");
  refused([](SimulateOptions& o) { o.background = 1e20; }, "32 bits");
  refused([](SimulateOptions& o) { o.probe.photons = 1e25; }, "32 bits");
  refused([](SimulateOptions& o) { o.probe.photons = 1e40; }, "photons");
  refused([](SimulateOptions& o) { o.output = "nowhere/scan.cxi"; }, "nowhere");
  refused([](SimulateOptions& o) { o.probe.defocus_m = 1; }, "holds");
  refused([](SimulateOptions& o) { o.jitter_px = -1; }, "jitter");
}

TEST_CASE("the preset is the paper's") {
  const TemporaryFolder folder;
  SimulateOptions options;
  options.output = folder / "scan.cxi";
  options.size_px = {400, 400};
  options.overlap = 0.5;
  apply_ptynet_preset(options);
  const SimulateSummary summary = simulate(options);
  CHECK(summary.frame_px == 128);
  CHECK(summary.step_px == 64);
  CHECK(summary.object_pixel_m * 128 == Approx(1e-6));
  CHECK(options.jitter_of_frame == 0.01);
}
