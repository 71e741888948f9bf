#include "engine/evaluate.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <iomanip>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "engine/comparison.h"
#include "engine/judged.h"
#include "kernels/error.h"

namespace ptynet {
namespace {

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

Crossing crossing_of(const RingCorrelation& curve, RingCriterion criterion,
                     const std::optional<std::array<double, 2>>& pixel_size_m) {
  Crossing crossing{ring_crossing(curve, criterion), std::nullopt};
  if (!pixel_size_m || std::isnan(crossing.frequency)) return crossing;
  const auto [row_m, column_m] = *pixel_size_m;
  if (std::abs(row_m - column_m) <= 1e-3 * row_m) {
    crossing.half_period_m = row_m / (2 * crossing.frequency);
  }
  return crossing;
}

Evaluation scores_of(const JudgedResult& judged, const Region& region, const ComplexImage& truth) {
  Evaluation out;
  out.result = judged.path;
  out.r_factor = judged.r_factor;
  out.region = region;
  out.uncovered_pixels = std::count(judged.covered.begin(), judged.covered.end(), false);
  const ComplexImage& object = judged.object;
  const RealImage amplitude = amplitude_of(object), phase = phase_of(object);
  const RealImage true_amplitude = amplitude_of(truth), true_phase = phase_of(truth);
  out.amplitude_paper = paper_scores(amplitude, true_amplitude);
  out.amplitude_standard = standard_scores(amplitude, true_amplitude);
  out.phase_paper = paper_scores(phase, true_phase);
  out.phase_standard = standard_scores(phase, true_phase);
  out.physical = physical_scores(object, truth);
  out.ring_correlation = ring_correlation(matched(object, truth), truth);
  const auto crossing = [&](RingCriterion criterion) {
    return crossing_of(out.ring_correlation, criterion, judged.pixel_size_m);
  };
  out.half_bit = crossing(RingCriterion::kHalfBit);
  out.fixed_05 = crossing(RingCriterion::kFixed05);
  out.fixed_0143 = crossing(RingCriterion::kFixed0143);
  return out;
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

nlohmann::json json_of(const std::optional<ScanR>& r) {
  if (!r) return nullptr;
  return {{"stitched", number(r->stitched)},
          {"flat_object", number(r->flat_object)},
          {"mean_frame", number(r->mean_frame)}};
}

bool wants(std::optional<Convention> convention, Convention which) {
  return !convention || *convention == which;
}

nlohmann::json json_of(const Evaluation& evaluation, std::optional<Convention> convention) {
  const Region& region = evaluation.region;
  nlohmann::json out;
  out["result"] = evaluation.result.string();
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
    out["r_factor"] = json_of(evaluation.r_factor);
  }
  out["frc"] = {{"frequency", evaluation.ring_correlation.frequency},
                {"correlation", evaluation.ring_correlation.correlation},
                {"crossings",
                 {{"half_bit", json_of(evaluation.half_bit)},
                  {"0.5", json_of(evaluation.fixed_05)},
                  {"0.143", json_of(evaluation.fixed_0143)}}}};
  return out;
}

// What `get` finds in each: "0.31 -> 0.18".
template <typename Get>
std::string each(const std::vector<Evaluation>& evaluations, const Get& get) {
  std::ostringstream out;
  out << std::setprecision(5);
  for (const Evaluation& evaluation : evaluations) {
    if (&evaluation != &evaluations.front()) out << " -> ";
    out << get(evaluation);
  }
  return out.str();
}

void print_scores(std::ostream& out, const char* of, const std::vector<Evaluation>& evaluations,
                  ImageScores Evaluation::*scores) {
  out << of << ": PSNR " << each(evaluations, [&](auto& e) { return (e.*scores).psnr_db; })
      << " dB, SSIM " << each(evaluations, [&](auto& e) { return (e.*scores).ssim; }) << ", MSE "
      << each(evaluations, [&](auto& e) { return (e.*scores).mse; }) << '\n';
}

void print_physical(std::ostream& out, const std::vector<Evaluation>& evaluations) {
  out << "physical: phase RMS "
      << each(evaluations, [](auto& e) { return e.physical.phase_rms_rad; })
      << " rad, amplitude RMS "
      << each(evaluations, [](auto& e) { return e.physical.amplitude_rms; });
  const bool known = std::all_of(evaluations.begin(), evaluations.end(),
                                 [](const Evaluation& e) { return e.r_factor.has_value(); });
  if (known) {
    const ScanR& last = *evaluations.back().r_factor;
    out << ", R of the scan " << each(evaluations, [](auto& e) { return e.r_factor->stitched; })
        << " (flat object " << last.flat_object << ", mean frame " << last.mean_frame << ')';
  }
  out << '\n';
}

std::string text_of(const Crossing& crossing) {
  if (std::isnan(crossing.frequency)) return "not reached up to half a cycle per pixel";
  std::ostringstream out;
  out << std::setprecision(5) << crossing.frequency << " cycles per pixel";
  if (crossing.half_period_m) out << ", half period " << *crossing.half_period_m * 1e9 << " nm";
  return out.str();
}

void print_crossing(std::ostream& out, const char* name, const std::vector<Evaluation>& evaluations,
                    Crossing Evaluation::*crossing) {
  out << "FRC, " << name << ": " << each(evaluations, [&](auto& e) { return text_of(e.*crossing); })
      << '\n';
}

}  // namespace

Convention parse_convention(std::string_view name) {
  if (name == "paper") return Convention::kPaper;
  if (name == "standard") return Convention::kStandard;
  if (name == "physical") return Convention::kPhysical;
  fail_input("expected the convention paper, standard or physical, found '", name, "'");
}

std::vector<Evaluation> evaluate_all(const EvaluateRequest& request) {
  const Judged judged = judge(request);
  std::vector<Evaluation> out;
  for (const JudgedResult& result : judged.results) {
    out.push_back(scores_of(result, judged.region, judged.truth));
  }
  if (!request.png.empty()) write_comparison(request, judged, out);
  return out;
}

Evaluation evaluate(const EvaluateRequest& request) { return evaluate_all(request).front(); }

std::string to_json(const Evaluation& evaluation, std::optional<Convention> convention) {
  return json_of(evaluation, convention).dump(2);
}

std::string to_json(const std::vector<Evaluation>& evaluations,
                    std::optional<Convention> convention) {
  if (evaluations.size() == 1) return to_json(evaluations.front(), convention);
  nlohmann::json out = nlohmann::json::array();
  for (const Evaluation& evaluation : evaluations) out.push_back(json_of(evaluation, convention));
  return out.dump(2);
}

std::string to_text(const std::vector<Evaluation>& evaluations,
                    std::optional<Convention> convention) {
  const Region& region = evaluations.front().region;
  std::ostringstream out;
  out << std::setprecision(5);
  if (evaluations.size() > 1) {
    out << "results: " << each(evaluations, [](auto& e) { return e.result.string(); }) << '\n';
  }
  out << "judged: rows " << region.first_row << " to " << region.end_row - 1 << ", columns "
      << region.first_column << " to " << region.end_column - 1 << " of the truth, "
      << each(evaluations, [](auto& e) { return e.uncovered_pixels; })
      << " pixels in it not covered\n";
  if (wants(convention, Convention::kPaper)) {
    print_scores(out, "paper, amplitude", evaluations, &Evaluation::amplitude_paper);
    print_scores(out, "paper, phase", evaluations, &Evaluation::phase_paper);
  }
  if (wants(convention, Convention::kStandard)) {
    print_scores(out, "standard, amplitude", evaluations, &Evaluation::amplitude_standard);
    print_scores(out, "standard, phase", evaluations, &Evaluation::phase_standard);
  }
  if (wants(convention, Convention::kPhysical)) print_physical(out, evaluations);
  print_crossing(out, "half bit", evaluations, &Evaluation::half_bit);
  print_crossing(out, "0.5", evaluations, &Evaluation::fixed_05);
  print_crossing(out, "0.143", evaluations, &Evaluation::fixed_0143);
  return out.str();
}

std::string to_text(const Evaluation& evaluation, std::optional<Convention> convention) {
  return to_text(std::vector{evaluation}, convention);
}

}  // namespace ptynet
