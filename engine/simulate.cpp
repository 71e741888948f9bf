#include "engine/simulate.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <complex>
#include <exception>
#include <limits>
#include <memory>
#include <numbers>
#include <vector>

#include "engine/poisson.h"
#include "engine/preprocess.h"
#include "engine/probe_calibration.h"
#include "engine/version.h"
#include "io/bytes.h"
#include "io/cxi_writer.h"
#include "io/datasets.h"
#include "io/picture.h"
#include "io/png.h"
#include "io/result.h"
#include "kernels/cpu/fft.h"
#include "kernels/thread_scope.h"

namespace ptynet {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kUsualFrame = 128;
constexpr double kUsualPhotons = 1e6;
constexpr std::int64_t kBatch = 64;  // frames in memory at once

void check_geometry(const Geometry& g) {
  const auto positive = [](double value, const char* name) {
    if (value > 0 && std::isfinite(value)) return;
    fail_input("expected a ", name, " above 0, found ", value);
  };
  positive(g.energy_ev, "photon energy");
  positive(g.distance_m, "distance");
  positive(g.detector_pixel_m, "detector pixel");
}

Array probe_from_file(const ProbeSource& source, const Geometry& geometry, std::int64_t frame_px) {
  Array probe = io::load_probe(io::parse_dataset_name(source.file));
  const Shape& shape = probe.shape();
  const std::int64_t wanted = frame_px > 0 ? frame_px : shape[1];
  if (shape[1] != wanted || shape[2] != wanted) {
    fail_input(source.file, ": expected a probe of ", wanted, "x", wanted, " px like the frames, ",
               "found ", shape[1], "x", shape[2]);
  }
  const double counts = counts_of(probe);  // refuses a dark one
  if (!source.photons && !(counts <= kMostPhotons)) {
    fail_input(source.file, ": expected a probe of at most ", kMostPhotons, " counts, found ",
               counts);
  }
  if (source.ortho) probe = from_ortho_probe(probe);
  if (source.defocus_m && *source.defocus_m != 0) {
    probe = propagate_probe(probe, io::wavelength_m(geometry.energy_ev),
                            geometry.object_pixel_m(wanted), *source.defocus_m);
  }
  return source.photons ? scale_to_photons(probe, *source.photons) : probe;
}

// The largest count that a type holds; its very largest value marks a fault.
double most_of(DType type) {
  return type == DType::kU16 ? std::numeric_limits<std::uint16_t>::max() - 1.0 : kMostCounts;
}

void store(double count, DType type, void* frames, std::int64_t at) {
  if (type == DType::kU16) {
    static_cast<std::uint16_t*>(frames)[at] = static_cast<std::uint16_t>(count);
  } else if (type == DType::kU32) {
    static_cast<std::uint32_t*>(frames)[at] = static_cast<std::uint32_t>(count);
  } else {
    static_cast<float*>(frames)[at] = static_cast<float>(count);
  }
}

// What is added up over a frame.
struct FrameSums {
  double counts = 0;
  double most = 0;
  double difference = 0;  // sum |sqrt n - sqrt expected|
  double roots = 0;       // sum sqrt n
};

// Members stand in the order of what they cost.
class Simulation {
 public:
  explicit Simulation(const SimulateOptions& options);
  SimulateSummary run();

 private:
  ObjectImage make_image() const;
  std::vector<io::Position> place_frames();
  std::int64_t side() const { return probe_.shape()[1]; }
  std::unique_ptr<io::CxiWriter> write_frames(DType type);
  bool make_batch(std::int64_t first, Array& frames, std::vector<FrameSums>& sums) const;
  FrameSums make_frame(std::int64_t frame, Array& frames, std::int64_t at) const;
  io::Result truth() const;
  void draw_frame(const std::string& path) const;
  void summarise(const std::vector<FrameSums>& sums);

  const SimulateOptions& options_;
  // The user's, hashed: streams of neighbouring seeds are the same but for a step of one, so that
  // seed 2 would give the noise of seed 1 a frame later.
  std::uint64_t seed_;
  Array probe_;
  SimulateSummary summary_;
  ObjectImage image_;
  std::vector<io::Position> positions_;
  Array object_;  // c64
  FrameSimulator simulator_;
};

// What can be known without computing anything.
const SimulateOptions& checked(const SimulateOptions& o) {
  check_geometry(o.geometry);
  check_ranges(o.ranges);
  if (!(o.background >= 0 && o.background <= kMostCounts)) {
    fail_input("expected a background of 0 counts or more, and at most ", kMostCounts,
               ", which 32 bits hold, found ", o.background);
  }
  if (o.amplitude.empty() != o.phase.empty()) {
    fail_input("expected two pictures, amplitude and phase, found only ",
               o.amplitude.empty() ? o.phase : o.amplitude);
  }
  std::vector<std::filesystem::path> inputs{o.amplitude, o.phase};
  if (!o.probe.file.empty()) inputs.push_back(io::parse_dataset_name(o.probe.file).path);
  io::expect_outputs({o.output, o.truth}, inputs);
  return o;
}

Simulation::Simulation(const SimulateOptions& options)
    : options_(checked(options)),
      seed_(CounterRandom(options.seed, "simulate").bits(0)),
      probe_(simulation_probe(options.probe, options.geometry, options.frame_px)),
      image_(make_image()),
      positions_(place_frames()),
      object_(complex_object(image_)),
      simulator_(side(), side()) {
  const Geometry& g = options.geometry;
  if (options.probe.file.empty() || g.given || !options.log) return;
  options.log(text("no geometry was given for ", options.probe.file, ": ", g.energy_ev, " eV, ",
                   g.distance_m, " m and detector pixels of ", g.detector_pixel_m,
                   " m are written; give --energy, --distance and --detector-pixel"));
}

ObjectImage Simulation::make_image() const {
  const SimulateOptions& o = options_;
  const auto expect_room = [this](std::int64_t rows, std::int64_t columns,
                                  const std::string& where) {
    if (rows >= side() && columns >= side()) return;
    fail_input("expected an object of at least ", side(), "x", side(), " px, as the frames have, ",
               "found ", rows, "x", columns, where);
  };
  if (o.amplitude.empty()) {
    expect_room(o.size_px[0], o.size_px[1], "; give a larger --size");
    return make_object(object_series(o.objects, o.ranges, seed_), o.size_px[0], o.size_px[1], 0);
  }
  ObjectImage image = object_from_images(o.amplitude, o.phase, o.ranges);
  expect_room(image.amplitude.shape()[0], image.amplitude.shape()[1], " in " + o.amplitude);
  return image;
}

std::vector<io::Position> Simulation::place_frames() {
  const SimulateOptions& o = options_;
  const auto frame = static_cast<double>(side());
  SimulateSummary& s = summary_;
  s.probe_diameter_px = probe_diameter_px(probe_);
  s.step_px =
      step_of_overlap(o.overlap, o.overlap_of == OverlapOf::kProbe ? s.probe_diameter_px : frame);
  s.overlap_of_probe = 1 - s.step_px / s.probe_diameter_px;
  s.overlap_of_frame = 1 - s.step_px / frame;
  const Shape& shape = image_.amplitude.shape();
  const ScanField field{shape[0] - side(), shape[1] - side()};
  return make_positions(o.pattern, field, s.step_px,
                        o.jitter_px.value_or(o.jitter_of_frame * frame), seed_);
}

// The frame's sample into place `at` of `frames`.
FrameSums Simulation::make_frame(std::int64_t frame, Array& frames, std::int64_t at) const {
  const std::int64_t pixels = side() * side();
  const io::Position& p = positions_[static_cast<std::size_t>(frame)];
  std::vector<float> expected(static_cast<std::size_t>(pixels));
  simulator_.expected(object_, std::llround(p.row), std::llround(p.column), probe_,
                      options_.background, expected.data());
  const std::vector<double> counts =
      options_.noise == Noise::kPoisson
          ? poisson_counts(expected.data(), pixels, seed_, static_cast<std::uint64_t>(frame))
          : std::vector<double>(expected.begin(), expected.end());
  FrameSums sums;
  for (std::int64_t k = 0; k < pixels; ++k) {
    const double mean = double{expected[static_cast<std::size_t>(k)]};
    const double count = counts[static_cast<std::size_t>(k)];
    sums.counts += count;
    sums.most = std::max(sums.most, count);
    sums.difference += std::abs(std::sqrt(count) - std::sqrt(mean));
    sums.roots += std::sqrt(count);
    if (frames.dtype() == DType::kF32 || count <= most_of(frames.dtype())) {
      store(count, frames.dtype(), frames.data(), at * pixels + k);
    }
  }
  return sums;
}

// Whether all counts had room in the type. An exception of a thread is the caller's.
bool Simulation::make_batch(std::int64_t first, Array& frames, std::vector<FrameSums>& sums) const {
  const std::int64_t n = frames.shape()[0];
  std::exception_ptr problem;
  const ThreadScope scope(options_.threads);
#pragma omp parallel for schedule(dynamic)
  for (std::int64_t k = 0; k < n; ++k) {
    try {
      sums[static_cast<std::size_t>(first + k)] = make_frame(first + k, frames, k);
    } catch (...) {
#pragma omp critical
      problem = std::current_exception();
    }
  }
  if (problem) std::rethrow_exception(problem);
  if (frames.dtype() == DType::kF32) return true;
  const double most = most_of(frames.dtype());
  return std::all_of(sums.begin() + first, sums.begin() + first + n,
                     [most](const FrameSums& s) { return s.most <= most; });
}

// The written file, or nothing when a count has no room in the type.
std::unique_ptr<io::CxiWriter> Simulation::write_frames(DType type) {
  const SimulateOptions& o = options_;
  io::CxiHeader header;
  header.height = header.width = side();
  header.type = type;
  header.energy_ev = o.geometry.energy_ev;
  header.distance_m = o.geometry.distance_m;
  header.detector_pixel_m = {o.geometry.detector_pixel_m, o.geometry.detector_pixel_m};
  header.probe = probe_;
  header.positions_px = positions_;
  header.program = text("ptynet ", version());
  auto writer = std::make_unique<io::CxiWriter>(o.output, header);
  const auto total = static_cast<std::int64_t>(positions_.size());
  std::vector<FrameSums> sums(positions_.size());
  for (std::int64_t first = 0; first < total; first += kBatch) {
    const std::int64_t n = std::min(kBatch, total - first);
    Array frames = Array::host({n, side(), side()}, type);
    if (!make_batch(first, frames, sums)) return nullptr;
    writer->append(frames);
    if (o.progress) o.progress("simulating", first + n, total);
  }
  summarise(sums);
  return writer;
}

void Simulation::summarise(const std::vector<FrameSums>& sums) {
  FrameSums all;
  for (const FrameSums& s : sums) {
    all.counts += s.counts;
    all.most = std::max(all.most, s.most);
    all.difference += s.difference;
    all.roots += s.roots;
  }
  SimulateSummary& s = summary_;
  s.frames = static_cast<std::int64_t>(sums.size());
  s.frame_px = side();
  s.object_px = {object_.shape()[0], object_.shape()[1]};
  s.object_pixel_m = options_.geometry.object_pixel_m(side());
  s.photons = counts_of(probe_);
  s.mean_counts = all.counts / static_cast<double>(s.frames);
  s.max_count = all.most;
  s.poisson_r = all.roots > 0 ? all.difference / all.roots : 0;
}

// The object as a result file has it, and where the frames lie.
io::Result Simulation::truth() const {
  io::Result r;
  const Shape& shape = object_.shape();
  r.object = object_;
  r.coverage = Array::zeros(shape, DType::kF32);
  r.count = Array::zeros(shape, DType::kU32);
  const std::int64_t n = side();
  const Array weight = probe_weight(probe_);
  for (const io::Position& p : positions_) {
    const std::int64_t corner = std::llround(p.row) * shape[1] + std::llround(p.column);
    for (std::int64_t k = 0; k < n * n; ++k) {
      const std::int64_t at = corner + k / n * shape[1] + k % n;
      r.coverage.data<float>()[at] += weight.data<float>()[k];
      ++r.count.data<std::uint32_t>()[at];
    }
  }
  r.positions = positions_;
  for (std::size_t k = 0; k < positions_.size(); ++k) {
    r.frame_index.push_back(static_cast<std::int64_t>(k));
  }
  r.pixel_size_m = {{summary_.object_pixel_m, summary_.object_pixel_m}};
  r.energy_ev = options_.geometry.energy_ev;
  r.process.version = version();
  r.process.command_line = options_.command_line;
  r.process.more["kind"] = "truth";
  return r;
}

// The first frame, as log10(1 + counts).
void Simulation::draw_frame(const std::string& path) const {
  Array frame = Array::host({1, side(), side()}, DType::kF32);
  make_frame(0, frame, 0);
  float* values = frame.data<float>();
  for (std::int64_t k = 0; k < frame.elements(); ++k) values[k] = std::log10(1 + values[k]);
  io::PictureOptions picture;
  picture.label = "log10(1+counts)";
  const Array shown = frame.reshape({side(), side()});
  io::write_png(path, io::render_picture(shown, picture));
}

SimulateSummary Simulation::run() {
  const Clock::time_point start = Clock::now();
  const SimulateOptions& o = options_;
  std::optional<io::ResultWriter> truth_writer;
  if (!o.truth.empty()) truth_writer.emplace(o.truth);
  std::optional<io::PictureWriter> pictures;
  if (!o.png.empty()) pictures.emplace(o.png);
  const bool noisy = o.noise == Noise::kPoisson;
  // Frames are pure functions of their numbers: the rare scan whose counts outgrow 16 bits on the
  // way begins again.
  auto scan = write_frames(noisy ? DType::kU16 : DType::kF32);
  if (!scan) scan = write_frames(DType::kU32);
  if (!scan) {
    fail_input("a pixel of a frame would have more counts than 32 bits hold: expected fewer ",
               "photons or less background");
  }
  scan->close();
  if (truth_writer || pictures) {
    const io::Result made = truth();
    if (truth_writer) truth_writer->write(made);
    if (pictures) pictures->draw(made);
  }
  // Everything lies on the disk; the names are given last.
  if (pictures) {
    const std::string frame = (std::filesystem::path(o.png) / "frame.png").string();
    draw_frame(frame);
    pictures->commit();
    for (const auto& path : pictures->paths()) summary_.pictures.push_back(path.string());
    summary_.pictures.push_back(frame);
  }
  if (truth_writer) truth_writer->commit();
  scan->commit();
  summary_.output = o.output;
  summary_.truth = o.truth;
  summary_.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return summary_;
}

}  // namespace

double Geometry::object_pixel_m(std::int64_t n) const {
  return io::wavelength_m(energy_ev) * distance_m / (static_cast<double>(n) * detector_pixel_m);
}

FrameSimulator::FrameSimulator(std::int64_t height, std::int64_t width)
    : height_(height),
      width_(width),
      fft_(std::make_unique<const Fft2<float>>(height, width, FftDirection::kForward)) {}

FrameSimulator::~FrameSimulator() = default;
FrameSimulator::FrameSimulator(FrameSimulator&&) noexcept = default;

void FrameSimulator::expected(const Array& object, std::int64_t row, std::int64_t column,
                              const Array& probe, double background, float* out) const {
  const Shape& extent = object.shape();
  if (extent.rank() != 2 || row < 0 || column < 0 || row > extent[0] - height_ ||
      column > extent[1] - width_) {
    fail_input("expected a window of ", height_, "x", width_, " px within the object, found ",
               describe(object), " at ", row, ",", column);
  }
  if (probe.shape().rank() != 3 || probe.shape()[1] != height_ || probe.shape()[2] != width_) {
    fail_input("expected a probe of ", height_, "x", width_, " px like the frames, found ",
               describe(probe));
  }
  const std::int64_t pixels = height_ * width_;
  std::vector<std::complex<float>> wave(static_cast<std::size_t>(pixels));
  std::fill_n(out, pixels, static_cast<float>(background));
  for (std::int64_t m = 0; m < probe.shape()[0]; ++m) {
    for (std::int64_t r = 0; r < height_; ++r) {
      const auto* from = object.data<std::complex<float>>() + (row + r) * extent[1] + column;
      const auto* light = probe.data<std::complex<float>>() + m * pixels + r * width_;
      auto* to = wave.data() + r * width_;
      for (std::int64_t c = 0; c < width_; ++c) {
        // Written out: the complex product of the library asks for NaN first.
        to[c] = {from[c].real() * light[c].real() - from[c].imag() * light[c].imag(),
                 from[c].real() * light[c].imag() + from[c].imag() * light[c].real()};
      }
    }
    fft_->run(wave.data(), wave.data());
    for (std::int64_t r = 0; r < height_; ++r) {
      float* to = out + (r + height_ / 2) % height_ * width_;
      for (std::int64_t c = 0; c < width_; ++c) {
        to[(c + width_ / 2) % width_] += std::norm(wave[static_cast<std::size_t>(r * width_ + c)]);
      }
    }
  }
}

Array simulation_probe(const ProbeSource& source, const Geometry& geometry, std::int64_t frame_px) {
  check_geometry(geometry);
  if (!source.file.empty()) return probe_from_file(source, geometry, frame_px);
  const std::int64_t n = frame_px > 0 ? frame_px : kUsualFrame;
  ProbeModel model = probe_model(source.kind);
  model.wavelength_m = io::wavelength_m(geometry.energy_ev);
  model.object_pixel_m = geometry.object_pixel_m(n);
  model.diameter_m = source.diameter_m.value_or(model.diameter_m);
  model.outermost_zone_width_m =
      source.outermost_zone_width_m.value_or(model.outermost_zone_width_m);
  model.central_stop_diameter_m =
      source.central_stop_diameter_m.value_or(model.central_stop_diameter_m);
  model.defocus_m = source.defocus_m.value_or(model.defocus_m);
  return scale_to_photons(make_probe(model, n), source.photons.value_or(kUsualPhotons));
}

void apply_ptynet_preset(SimulateOptions& options) {
  options.ranges.amplitude_low = 1.0 / 3;
  options.ranges.amplitude_high = 1;
  options.ranges.phase_low_rad = std::numbers::pi / 6;
  options.ranges.phase_high_rad = std::numbers::pi / 2;
  options.ranges.shared = true;
  options.pattern = ScanPattern::kRaster;
  options.overlap_of = OverlapOf::kFrame;
  options.jitter_of_frame = 0.01;
  options.geometry.energy_ev = io::energy_ev(1e-10);
  options.geometry.distance_m = 0.75;  // with pixels of 75 um, a field of 1 um
  options.geometry.given = true;
  ProbeSource& probe = options.probe;
  if (!probe.file.empty() || probe.kind != ProbeKind::kFresnelZonePlate) return;
  // A focus of 100 nm, from one zero to the other, so far off that it fills 0.7 of the field.
  probe.outermost_zone_width_m = probe.outermost_zone_width_m.value_or(41e-9);
  probe.diameter_m = probe.diameter_m.value_or(100e-6);
  probe.central_stop_diameter_m = probe.central_stop_diameter_m.value_or(25e-6);
  probe.defocus_m = probe.defocus_m.value_or(0.3e-3);
}

SimulateSummary simulate(const SimulateOptions& options) { return Simulation(options).run(); }

}  // namespace ptynet
