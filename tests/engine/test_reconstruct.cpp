#include "engine/reconstruct.h"

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/evaluate.h"
#include "io/hdf5.h"
#include "io/npy.h"
#include "io/result.h"
#include "tests/support.h"

using namespace ptynet;
using ptynet::tests::reference_folder;
using ptynet::tests::TemporaryFolder;
using Catch::Contains;
using Json = nlohmann::json;
namespace fs = std::filesystem;

namespace {

std::string in_reference(const std::string& name) { return (*reference_folder() / name).string(); }

Json expected() {
  std::ifstream file(in_reference("expected.json"));
  REQUIRE(file);
  return Json::parse(file);
}

ReconstructOptions demo_weights(const TemporaryFolder& folder) {
  ReconstructOptions o;
  o.weights = in_reference("weights/ptynet-s-demo.pth");
  o.architecture = "ptynet-s";
  o.output = folder / "result.h5";
  o.patches = true;
  o.device = Device{};
  return o;
}

ReconstructOptions cat_scan(const TemporaryFolder& folder) {
  ReconstructOptions o = demo_weights(folder);
  o.scan.path = in_reference("data/cat-demo-probe/intensity.npy");
  o.scan.positions = in_reference("data/cat-demo-probe/positions.npy");
  o.scan.positions_unit = io::PositionUnit::kPixel;
  o.scan.probe = in_reference("data/demo-probe.npy");
  return o;
}

// To three digits.
void check_digits(const std::string& what, double found, const Json& wanted) {
  INFO(what);
  CHECK(found == Approx(wanted.get<double>()).epsilon(5e-4));
}

void check_scores(const Evaluation& found, const Json& wanted) {
  CHECK(found.region.first_row == wanted["region"][0].get<std::int64_t>());
  CHECK(found.region.end_row == wanted["region"][1].get<std::int64_t>());
  check_digits("phase rms", found.physical.phase_rms_rad, wanted["phase_rms_rad"]);
  check_digits("amplitude rms", found.physical.amplitude_rms, wanted["amplitude_rms"]);
  const auto image = [](const std::string& name, const ImageScores& scores, const Json& json) {
    check_digits(name + " psnr", scores.psnr_db, json["psnr"]);
    check_digits(name + " ssim", scores.ssim, json["ssim"]);
    check_digits(name + " mse", scores.mse, json["mse"]);
  };
  image("amplitude paper", found.amplitude_paper, wanted["amplitude"]["paper"]);
  image("amplitude standard", found.amplitude_standard, wanted["amplitude"]["standard"]);
  image("phase paper", found.phase_paper, wanted["phase"]["paper"]);
  image("phase standard", found.phase_standard, wanted["phase"]["standard"]);
}

Evaluation judge(const TemporaryFolder& folder, const std::string& scan, std::int64_t offset,
                 std::int64_t border) {
  EvaluateRequest request;
  request.result = folder / "result.h5";
  request.truth_amplitude = {in_reference("data/" + scan + "/amplitude.npy"), ""};
  request.truth_phase = {in_reference("data/" + scan + "/phase.npy"), ""};
  request.truth_offset_px = {offset, offset};
  request.border_px = border;
  return evaluate(request);
}

// Largest difference of the result's first patches from PyTorch's, as a share of the largest.
double patch_difference(const TemporaryFolder& folder, const std::string& which,
                        const std::string& npz, std::int64_t frames) {
  const Array wanted =
      io::load_array({in_reference("expected/" + npz), which}, DType::kF32);
  const io::Hdf5Reader file(folder / "result.h5");
  const Array found = file.read("/patches/" + which, DType::kF32).slice(0, frames);
  REQUIRE(found.elements() == wanted.elements());
  double worst = 0;
  double largest = 0;
  for (std::int64_t i = 0; i < wanted.elements(); ++i) {
    const double w = double{wanted.data<float>()[i]};
    worst = std::max(worst, std::abs(w - double{found.data<float>()[i]}));
    largest = std::max(largest, std::abs(w));
  }
  return worst / largest;
}

}  // namespace

TEST_CASE("cat scan: patches, scores and R as the references give them") {
  PTYNET_NEED_REFERENCE();
  const Json wanted = expected()["cat-demo-probe"];
  const TemporaryFolder folder;
  ReconstructOptions o = cat_scan(folder);
  const ReconstructSummary weighted = reconstruct(o);
  CHECK(weighted.frames == 49);
  CHECK(patch_difference(folder, "amplitude", "ptynet-s-cat-demo-probe.npz", 4) < 3e-5);
  CHECK(patch_difference(folder, "phase", "ptynet-s-cat-demo-probe.npz", 4) < 3e-5);
  check_digits("R", *weighted.r_patches, wanted["r_factor"]);
  const Json baselines = expected()["cat-demo-probe fine-tuned"]["r_factor_baselines"];
  check_digits("R of a flat object", *weighted.r_flat_object, baselines["flat_object"]);
  check_digits("R of the mean frame", weighted.r_mean_frame, baselines["mean_frame"]);
  CHECK_THAT(weighted.verdict, Contains("better than a flat object, not than the mean frame"));
  check_scores(judge(folder, "cat-demo-probe", 0, 32), wanted["probe_weighted"]);

  o.stitch = StitchMode::kMean;
  reconstruct(o);
  check_scores(judge(folder, "cat-demo-probe", 0, 0), wanted["mean"]);
}

TEST_CASE("the authors' scan on its nominal raster and on its true positions") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  ReconstructOptions o = demo_weights(folder);
  o.scan.path = in_reference("data/ptynet-scan-0overlap/intensity.npy");
  o.scan.raster = {5, 5};
  o.scan.raster_step_px = 128;
  o.stitch = StitchMode::kMean;
  reconstruct(o);
  CHECK(patch_difference(folder, "amplitude", "ptynet-s-0overlap.npz", 4) < 3e-5);
  CHECK(patch_difference(folder, "phase", "ptynet-s-0overlap.npz", 4) < 3e-5);
  check_scores(judge(folder, "ptynet-scan-0overlap", 3, 0),
               expected()["ptynet-scan-0overlap"]["nominal_grid"]);

  o.scan.raster.reset();
  o.scan.raster_step_px.reset();
  o.scan.positions = in_reference("data/ptynet-scan-0overlap/positions.npy");
  o.scan.positions_unit = io::PositionUnit::kPixel;
  reconstruct(o);
  const io::Result result = io::read_result(folder / "result.h5");
  CHECK(result.positions[1].row == 5);
  CHECK(result.positions[1].column == 132);
  std::ifstream golden(PTYNET_SOURCE_DIR "/tests/golden/true_positions.json");
  REQUIRE(golden);
  check_scores(judge(folder, "ptynet-scan-0overlap", 0, 0), Json::parse(golden));
}

TEST_CASE("PtychoNN's published weights on the siemens star") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  ReconstructOptions o = demo_weights(folder);
  o.weights = in_reference("weights/ptychonn-small-phase.pth");
  o.architecture = "ptychonn-small-phase";
  o.scan.path = in_reference("data/siemens-star-small.npz");
  o.scan.frames = {0, 3};
  reconstruct(o);
  CHECK(patch_difference(folder, "phase", "ptychonn-small-phase-star.npz", 3) < 3e-5);
}

TEST_CASE("a near-field scan is refused, one line that says why") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  ReconstructOptions o = demo_weights(folder);
  o.scan.path = in_reference("data/petra3-p25-near-field.cxi");
  CHECK_THROWS_WITH(reconstruct(o), Contains("near-field") && Contains("--force"));
  CHECK_FALSE(fs::exists(o.output));
}

TEST_CASE("a dead frame is counted apart and leaves no NaN in the object") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  ReconstructOptions o = cat_scan(folder);
  Array frames = io::load_array({o.scan.path, ""}, DType::kU32);
  std::fill_n(frames.slice(10, 1).data<std::uint32_t>(), 128 * 128, 0U);
  io::write_npy(folder / "frames.npy", frames);
  o.scan.path = folder / "frames.npy";
  const ReconstructSummary summary = reconstruct(o);
  CHECK(summary.frames_without_counts == 1);
  const io::Result result = io::read_result(folder / "result.h5");
  CHECK(std::isnan(result.residual[10]));
  CHECK(std::isfinite(result.residual[11]));
  const Array amplitude = result.amplitude();
  CHECK(std::all_of(amplitude.data<float>(), amplitude.data<float>() + amplitude.elements(),
                    [](float v) { return std::isfinite(v); }));
}

TEST_CASE("what goes wrong leaves nothing behind") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  const auto refused = [&](const auto& change, const auto& message) {
    ReconstructOptions o = cat_scan(folder);
    change(o);
    CHECK_THROWS_WITH(reconstruct(o), message);
    CHECK(fs::is_empty(folder.path()));
  };
  refused([](auto& o) { o.scan.positions.clear(); }, Contains("no positions"));
  refused([](auto& o) { o.max_canvas = 1000; }, Contains("--max-canvas"));
  refused([](auto& o) { o.architecture = "ptychonn"; }, Contains("missing"));
  refused([](auto& o) { o.architecture.clear(); }, Contains("--architecture"));
  refused([](auto& o) { o.scan.crop = 100; }, Contains("100"));
  refused([](auto& o) { o.batch = 0; }, Contains("--batch"));
  refused([](auto& o) { o.output = "/nonexistent/folder/result.h5"; }, Contains("/nonexistent"));
  refused([](auto& o) { o.scan.frames = {7, 7}; }, Contains("7"));
}
