#include "engine/comparison.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <filesystem>
#include <iomanip>
#include <limits>
#include <sstream>
#include <string>

#include "io/bytes.h"
#include "io/picture.h"
#include "io/png.h"

namespace ptynet {
namespace {

namespace fs = std::filesystem;

// What a row of the picture shows.
struct Row {
  double (*part)(const std::complex<double>& value);
  double PhysicalScores::*error;
  const char* unit;  // of the error
};
constexpr Row kAmplitudes{[](const std::complex<double>& value) { return std::abs(value); },
                          &PhysicalScores::amplitude_rms, ""};
constexpr Row kPhases{[](const std::complex<double>& value) { return std::arg(value); },
                      &PhysicalScores::phase_rms_rad, " rad"};

// File names without folder and ending; with the folder where two would be called alike.
std::vector<std::string> names_of(const std::vector<JudgedResult>& results) {
  std::vector<std::string> names;
  names.reserve(results.size());
  for (const JudgedResult& result : results) names.push_back(result.path.stem().string());
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end()) return names;
  for (std::size_t k = 0; k < names.size(); ++k) {
    names[k] = (results[k].path.parent_path() / names[k]).string();
  }
  return names;
}

Array map_of(const ComplexImage& image, const Row& row) {
  Array out = Array::host({image.rows, image.columns}, DType::kF32);
  std::transform(image.pixels.begin(), image.pixels.end(), out.data<float>(),
                 [&](const auto& value) { return static_cast<float>(row.part(value)); });
  return out;
}

Array known_part(Array map, const std::vector<bool>& covered) {
  for (std::size_t i = 0; i < covered.size(); ++i) {
    if (!covered[i]) map.data<float>()[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return map;
}

std::string title_of(const std::string& name, double error, const Row& row) {
  std::ostringstream out;
  out << name << "  error " << std::setprecision(3) << error << row.unit;
  return out.str();
}

Array draw_row(const Judged& judged, const std::vector<Evaluation>& evaluations, const Row& row,
               io::PictureOptions options) {
  const std::vector<std::string> names = names_of(judged.results);
  std::vector<io::Panel> panels;
  for (std::size_t k = 0; k < judged.results.size(); ++k) {
    const JudgedResult& result = judged.results[k];
    panels.push_back({known_part(map_of(matched(result.object, judged.truth), row), result.covered),
                      title_of(names[k], evaluations[k].physical.*row.error, row)});
  }
  panels.push_back({map_of(judged.truth, row), "truth"});
  options.range = io::robust_range(panels.back().values);
  return io::render_row(panels, options);
}

}  // namespace

Array comparison_picture(const Judged& judged, const std::vector<Evaluation>& evaluations) {
  io::PictureOptions amplitudes, phases;
  amplitudes.label = "amplitude";
  phases.label = "phase / rad";
  phases.colormap = io::Colormap::kHelix;
  phases.pixel_size_m = judged.results.front().pixel_size_m;
  return io::stacked({draw_row(judged, evaluations, kAmplitudes, amplitudes),
                      draw_row(judged, evaluations, kPhases, phases)});
}

void write_comparison(const EvaluateRequest& request, const Judged& judged,
                      const std::vector<Evaluation>& evaluations) {
  const fs::path path = request.png / "comparison.png";
  std::vector<fs::path> inputs{request.truth_amplitude.path, request.truth_phase.path};
  for (const JudgedResult& result : judged.results) inputs.push_back(result.path);
  io::expect_no_input(path, inputs);
  io::PendingFolder folder(request.png);
  io::write_png(path, comparison_picture(judged, evaluations));
  folder.keep();
}

}  // namespace ptynet
