#include "engine/evaluate.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <utility>

#include "io/png.h"
#include "io/result.h"
#include "kernels/error.h"

namespace ptynet {
namespace {

RealImage load_png(const std::filesystem::path& path) {
  const Array picture = io::read_png(path);
  if (picture.shape().rank() != 2) {
    fail_input(path.string(), ": expected a grey picture, found ", picture.shape()[2],
               " channels; convert it, or give a .npy");
  }
  RealImage image{picture.shape()[0], picture.shape()[1], {}};
  const auto copy = [&](const auto* from, double white) {
    std::transform(from, from + picture.elements(), std::back_inserter(image.pixels),
                   [white](auto value) { return value / white; });
  };
  if (picture.dtype() == DType::kU16) {
    copy(picture.data<std::uint16_t>(), 65535);
  } else {
    copy(picture.data<std::uint8_t>(), 255);
  }
  return image;
}

RealImage load_truth(const io::DatasetName& name) {
  if (name.path.extension() == ".png") return load_png(name.path);
  const Array values = io::load_array(name, DType::kF64);
  if (values.shape().rank() != 2 || values.elements() == 0) {
    fail_input(to_string(name), ": expected a truth of shape [rows, columns], found ",
               to_string(values.shape()));
  }
  const auto* from = values.data<double>();
  return {values.shape()[0], values.shape()[1], {from, from + values.elements()}};
}

ComplexImage load_truths(const EvaluateRequest& request) {
  const RealImage amplitude = load_truth(request.truth_amplitude);
  const RealImage phase_rad = load_truth(request.truth_phase);
  if (amplitude.rows != phase_rad.rows || amplitude.columns != phase_rad.columns) {
    fail_input("expected amplitude and phase of the truth in one shape, found ", amplitude.rows,
               " x ", amplitude.columns, " in ", to_string(request.truth_amplitude), " and ",
               phase_rad.rows, " x ", phase_rad.columns, " in ", to_string(request.truth_phase));
  }
  ComplexImage truth{amplitude.rows, amplitude.columns, {}};
  truth.pixels.reserve(amplitude.pixels.size());
  for (std::size_t i = 0; i < amplitude.pixels.size(); ++i) {
    const double angle = phase_rad.pixels[i];
    truth.pixels.push_back(amplitude.pixels[i] *
                           std::complex<double>(std::cos(angle), std::sin(angle)));
  }
  return truth;
}

// The smallest rectangle of the result that holds every covered pixel.
Region covered_region(const io::Result& result, const std::string& where) {
  const std::int64_t rows = result.count.shape()[0], columns = result.count.shape()[1];
  const auto* count = result.count.data<std::uint32_t>();
  Region region{rows, 0, columns, 0};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      if (count[r * columns + c] == 0) continue;
      region = {std::min(region.first_row, r), r + 1, std::min(region.first_column, c),
                std::max(region.end_column, c + 1)};
    }
  }
  if (region.end_row == 0) fail_input(where, ": no pixel is covered by a frame");
  return region;
}

// Where the result's pixel [0, 0] lies in the truth.
std::int64_t corner(double origin_px, std::int64_t offset_px, const std::string& where) {
  constexpr std::int64_t kFarthest = std::int64_t{1} << 40;
  if (!(std::abs(origin_px) < static_cast<double>(kFarthest)) || std::abs(offset_px) > kFarthest) {
    fail_input(where, ": expected an origin and an offset below 2^40 px, found ", origin_px,
               " and ", offset_px);
  }
  return std::llrint(origin_px) + offset_px;
}

// The region of the truth to judge.
Region judged_region(const Region& covered, const std::array<std::int64_t, 2>& at,
                     const ComplexImage& truth, const EvaluateRequest& request) {
  const std::string where = request.result.string();
  const std::int64_t border = request.border_px;
  const std::int64_t rows = covered.end_row - covered.first_row;
  const std::int64_t columns = covered.end_column - covered.first_column;
  if (border < 0 || border > rows || border > columns || 2 * border >= std::min(rows, columns)) {
    fail_input(where, ": expected a border of 0 to ", (std::min(rows, columns) - 1) / 2,
               " px, found ", border, "; the frames cover ", rows, " x ", columns, " px");
  }
  const Region region{std::max<std::int64_t>(covered.first_row + at[0] + border, 0),
                      std::min(covered.end_row + at[0] - border, truth.rows),
                      std::max<std::int64_t>(covered.first_column + at[1] + border, 0),
                      std::min(covered.end_column + at[1] - border, truth.columns)};
  if (region.first_row >= region.end_row || region.first_column >= region.end_column) {
    fail_input(where, ": the result does not overlap the truth of ", truth.rows, " x ",
               truth.columns, " px: its first covered pixel would be (", covered.first_row + at[0],
               ", ", covered.first_column + at[1], ") of it; give --truth-offset");
  }
  return region;
}

struct Judged {
  ComplexImage result, truth;
  std::int64_t uncovered_pixels = 0;
};

Judged cut_out(const io::Result& result, const ComplexImage& truth, const Region& region,
               const std::array<std::int64_t, 2>& at) {
  const std::int64_t rows = region.end_row - region.first_row;
  const std::int64_t columns = region.end_column - region.first_column;
  Judged out{{rows, columns, {}}, {rows, columns, {}}};
  const std::int64_t stride = result.object.shape()[1];
  const auto* object = result.object.data<std::complex<float>>();
  const auto* count = result.count.data<std::uint32_t>();
  for (std::int64_t r = region.first_row; r < region.end_row; ++r) {
    for (std::int64_t c = region.first_column; c < region.end_column; ++c) {
      const std::int64_t index = (r - at[0]) * stride + c - at[1];
      const bool covered = count[index] > 0;
      const auto& expected = truth.at(r, c);
      out.truth.pixels.push_back(expected);
      out.result.pixels.push_back(covered ? std::complex<double>(object[index]) : expected);
      out.uncovered_pixels += covered ? 0 : 1;
    }
  }
  return out;
}

template <typename Map>
RealImage mapped(const ComplexImage& image, const Map& map) {
  RealImage out{image.rows, image.columns, {}};
  out.pixels.reserve(image.pixels.size());
  std::transform(image.pixels.begin(), image.pixels.end(), std::back_inserter(out.pixels), map);
  return out;
}

RealImage amplitude_of(const ComplexImage& image) {
  return mapped(image, [](const std::complex<double>& value) { return std::abs(value); });
}
RealImage phase_of(const ComplexImage& image) {
  return mapped(image, [](const std::complex<double>& value) { return std::arg(value); });
}

// The result turned by the constant phase that brings it nearest to the truth.
ComplexImage turned(ComplexImage result, const ComplexImage& truth) {
  const std::complex<double> overlap = std::transform_reduce(
      result.pixels.begin(), result.pixels.end(), truth.pixels.begin(), std::complex<double>(),
      std::plus<>(), [](const auto& a, const auto& b) { return std::conj(a) * b; });
  const double length = std::abs(overlap);
  if (!(length > 0)) return result;
  for (auto& value : result.pixels) value *= overlap / length;
  return result;
}

Crossing crossing_of(const RingCorrelation& curve, RingCriterion criterion,
                     const io::Result& result) {
  Crossing crossing{ring_crossing(curve, criterion), std::nullopt};
  if (!result.pixel_size_m || std::isnan(crossing.frequency)) return crossing;
  const auto [row_m, column_m] = *result.pixel_size_m;
  if (std::abs(row_m - column_m) <= 1e-3 * row_m) {
    crossing.half_period_m = row_m / (2 * crossing.frequency);
  }
  return crossing;
}

nlohmann::json number(double value) {
  if (std::isnan(value)) return nullptr;
  if (std::isinf(value)) return value > 0 ? "infinity" : "-infinity";
  return value;
}

nlohmann::json json_of(const ImageScores& scores) {
  return {
      {"psnr", number(scores.psnr_db)}, {"ssim", number(scores.ssim)}, {"mse", number(scores.mse)}};
}

nlohmann::json json_of(const Crossing& crossing) {
  nlohmann::json out = {{"frequency", number(crossing.frequency)}};
  out["half_period_m"] =
      crossing.half_period_m ? number(*crossing.half_period_m) : nlohmann::json();
  return out;
}

bool wants(std::optional<Convention> convention, Convention which) {
  return !convention || *convention == which;
}

void print_scores(std::ostream& out, const char* name, const ImageScores& amplitude,
                  const ImageScores& phase) {
  const auto line = [&](const char* of, const ImageScores& scores) {
    out << name << ", " << of << ": PSNR " << scores.psnr_db << " dB, SSIM " << scores.ssim
        << ", MSE " << scores.mse << '\n';
  };
  line("amplitude", amplitude);
  line("phase", phase);
}

void print_crossing(std::ostream& out, const char* name, const Crossing& crossing) {
  out << "FRC, " << name << ": ";
  if (std::isnan(crossing.frequency)) {
    out << "not reached up to half a cycle per pixel\n";
    return;
  }
  out << crossing.frequency << " cycles per pixel";
  if (crossing.half_period_m) out << ", half period " << *crossing.half_period_m * 1e9 << " nm";
  out << '\n';
}

}  // namespace

Convention parse_convention(std::string_view name) {
  if (name == "paper") return Convention::kPaper;
  if (name == "standard") return Convention::kStandard;
  if (name == "physical") return Convention::kPhysical;
  fail_input("expected the convention paper, standard or physical, found '", name, "'");
}

Evaluation evaluate(const EvaluateRequest& request) {
  const io::Result result = io::read_result(request.result);
  const ComplexImage whole_truth = load_truths(request);
  const std::string where = request.result.string();
  const std::array<std::int64_t, 2> at = {
      corner(result.origin_px[0], request.truth_offset_px[0], where),
      corner(result.origin_px[1], request.truth_offset_px[1], where)};
  Evaluation out;
  out.region = judged_region(covered_region(result, where), at, whole_truth, request);
  const Judged judged = cut_out(result, whole_truth, out.region, at);
  out.uncovered_pixels = judged.uncovered_pixels;

  const RealImage amplitude = amplitude_of(judged.result), phase = phase_of(judged.result);
  const RealImage true_amplitude = amplitude_of(judged.truth), true_phase = phase_of(judged.truth);
  out.amplitude_paper = paper_scores(amplitude, true_amplitude);
  out.amplitude_standard = standard_scores(amplitude, true_amplitude);
  out.phase_paper = paper_scores(phase, true_phase);
  out.phase_standard = standard_scores(phase, true_phase);
  out.physical = physical_scores(judged.result, judged.truth);
  out.ring_correlation = ring_correlation(turned(judged.result, judged.truth), judged.truth);
  out.half_bit = crossing_of(out.ring_correlation, RingCriterion::kHalfBit, result);
  out.fixed_05 = crossing_of(out.ring_correlation, RingCriterion::kFixed05, result);
  out.fixed_0143 = crossing_of(out.ring_correlation, RingCriterion::kFixed0143, result);
  return out;
}

std::string to_json(const Evaluation& evaluation, std::optional<Convention> convention) {
  const Region& region = evaluation.region;
  nlohmann::json out;
  out["region"] = {region.first_row, region.end_row, region.first_column, region.end_column};
  out["uncovered_pixels"] = evaluation.uncovered_pixels;
  if (wants(convention, Convention::kPaper)) {
    out["amplitude"]["paper"] = json_of(evaluation.amplitude_paper);
    out["phase"]["paper"] = json_of(evaluation.phase_paper);
  }
  if (wants(convention, Convention::kStandard)) {
    out["amplitude"]["standard"] = json_of(evaluation.amplitude_standard);
    out["phase"]["standard"] = json_of(evaluation.phase_standard);
  }
  if (wants(convention, Convention::kPhysical)) {
    out["physical"] = {{"phase_rms_rad", number(evaluation.physical.phase_rms_rad)},
                       {"amplitude_rms", number(evaluation.physical.amplitude_rms)}};
  }
  out["frc"] = {{"frequency", evaluation.ring_correlation.frequency},
                {"correlation", evaluation.ring_correlation.correlation},
                {"crossings",
                 {{"half_bit", json_of(evaluation.half_bit)},
                  {"0.5", json_of(evaluation.fixed_05)},
                  {"0.143", json_of(evaluation.fixed_0143)}}}};
  return out.dump(2);
}

std::string to_text(const Evaluation& evaluation, std::optional<Convention> convention) {
  const Region& region = evaluation.region;
  std::ostringstream out;
  out << std::setprecision(5) << "judged: rows " << region.first_row << " to " << region.end_row - 1
      << ", columns " << region.first_column << " to " << region.end_column - 1 << " of the truth, "
      << evaluation.uncovered_pixels << " pixels in it not covered\n";
  if (wants(convention, Convention::kPaper)) {
    print_scores(out, "paper", evaluation.amplitude_paper, evaluation.phase_paper);
  }
  if (wants(convention, Convention::kStandard)) {
    print_scores(out, "standard", evaluation.amplitude_standard, evaluation.phase_standard);
  }
  if (wants(convention, Convention::kPhysical)) {
    out << "physical: phase RMS " << evaluation.physical.phase_rms_rad << " rad, amplitude RMS "
        << evaluation.physical.amplitude_rms << '\n';
  }
  print_crossing(out, "half bit", evaluation.half_bit);
  print_crossing(out, "0.5", evaluation.fixed_05);
  print_crossing(out, "0.143", evaluation.fixed_0143);
  return out.str();
}

}  // namespace ptynet
