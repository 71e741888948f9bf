#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/evaluate.h"
#include "engine/reconstruct.h"
#include "io/hdf5.h"
#include "io/npy.h"
#include "io/result.h"
#include "tests/support.h"

using namespace ptynet;
using Catch::Contains;
using ptynet::tests::reference_folder;
using ptynet::tests::TemporaryFolder;
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

// The scan and the weights that every clone has.
ReconstructOptions demo(const TemporaryFolder& folder) {
  ReconstructOptions o;
  o.weights = PTYNET_SOURCE_DIR "/examples/demo/ptynet-s.h5";
  o.scan.path = PTYNET_SOURCE_DIR "/examples/demo/scan.cxi";
  o.scan.frames = {0, 12};
  o.output = folder / "result.h5";
  o.device = Device{};
  return o;
}

// The demo's frames, changed by `change`, as a bare .npy with positions and probe beside it.
template <typename Change>  // Change(Array& frames)
ReconstructOptions changed_demo(const TemporaryFolder& folder, const Change& change) {
  ReconstructOptions o = demo(folder);
  Scan scan = Scan::open(o.scan);
  Array frames = scan.read(0, scan.count());
  change(frames);
  io::write_npy(folder / "frames.npy", frames);
  Array positions = Array::host({scan.count(), 2}, DType::kF64);
  for (std::int64_t i = 0; i < scan.count(); ++i) {
    const io::Position& at = scan.positions_px()[static_cast<std::size_t>(i)];
    positions.data<double>()[2 * i] = at.row;
    positions.data<double>()[2 * i + 1] = at.column;
  }
  io::write_npy(folder / "positions.npy", positions);
  o.scan.probe = o.scan.path;
  o.scan.path = folder / "frames.npy";
  o.scan.positions = folder / "positions.npy";
  o.scan.positions_unit = io::PositionUnit::kPixel;
  o.scan.frames.reset();
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
  const Array wanted = io::load_array({in_reference("expected/" + npz), which}, DType::kF32);
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
  CHECK_THAT(weighted.verdict,
             Contains("the stitched object is better than a flat object, not than the mean frame"));
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
  const TemporaryFolder folder;
  ReconstructOptions o = changed_demo(folder, [](Array& frames) {
    std::fill_n(frames.slice(10, 1).data<float>(), 128 * 128, 0.0F);
  });
  const ReconstructSummary summary = reconstruct(o);
  CHECK(summary.frames_without_counts == 1);
  CHECK_THAT(summary.verdict, Contains("the patches by themselves"));
  const io::Result result = io::read_result(folder / "result.h5");
  CHECK(std::isnan(result.residual[10]));
  CHECK(std::isfinite(result.residual[11]));
  const Array amplitude = result.amplitude();
  CHECK(std::all_of(amplitude.data<float>(), amplitude.data<float>() + amplitude.elements(),
                    [](float v) { return std::isfinite(v); }));
  // Without a probe they are counted too.
  o.scan.probe.clear();
  CHECK(reconstruct(o).frames_without_counts == 1);
}

TEST_CASE("a scan without counts has no R, and the verdict says so") {
  const TemporaryFolder folder;
  const ReconstructOptions o = changed_demo(
      folder, [](Array& frames) { std::fill_n(frames.data<float>(), frames.elements(), 0.0F); });
  const ReconstructSummary summary = reconstruct(o);
  CHECK(std::isnan(*summary.r_stitched));
  CHECK_THAT(summary.verdict, Contains("no counts"));
}

TEST_CASE("the verdict is on the stitched object, not on its patches") {
  const TemporaryFolder folder;
  ReconstructOptions o = changed_demo(folder, [](Array&) {});
  const ReconstructSummary right = reconstruct(o);
  // Patches with a phase of their own explain their frames as before; laid over each other in the
  // wrong places they make an object that does not.
  Array positions = Array::zeros({12, 2}, DType::kF64);
  io::write_npy(folder / "positions.npy", positions);
  const ReconstructSummary wrong = reconstruct(o);
  CHECK(*wrong.r_patches == Approx(*right.r_patches).epsilon(1e-6));
  REQUIRE(*wrong.r_patches < wrong.r_mean_frame);
  REQUIRE(*wrong.r_stitched > wrong.r_mean_frame);
  CHECK_THAT(wrong.verdict,
             Contains("the stitched object is") && Contains("not than the mean frame"));
  CHECK_THAT(right.verdict, Contains("the stitched object is better than both"));
}

TEST_CASE("how patches agree is in the result, the constant phase and what remains") {
  const TemporaryFolder folder;
  const ReconstructSummary summary = reconstruct(demo(folder));
  const io::Process process = io::read_result(folder / "result.h5").process;
  CHECK(process.overlap_offset_rms_rad == summary.overlap_offset_rms_rad);
  CHECK(process.overlap_spread_rms_rad == summary.overlap_spread_rms_rad);
  CHECK(*process.overlap_spread_rms_rad > 0);
  CHECK(*process.network_seconds > 0);
  CHECK(*process.network_seconds < *process.seconds);
  CHECK(*process.frames_per_second == Approx(12 / *process.seconds));
}

TEST_CASE("what goes wrong leaves nothing behind, and shows before a frame is read") {
  const TemporaryFolder folder;
  const auto refused = [&](const auto& change, const auto& message) {
    ReconstructOptions o = demo(folder);
    o.input_rule = "hxn";  // reads every frame for the largest count of the scan
    o.png = folder / "new" / "pictures";
    bool begun = false;
    o.progress = [&begun](const std::string&, std::int64_t, std::int64_t) { begun = true; };
    change(o);
    CHECK_THROWS_WITH(reconstruct(o), message);
    CHECK_FALSE(begun);
    CHECK(fs::is_empty(folder.path()));
  };
  refused([](auto& o) { o.max_canvas = 1000; }, Contains("--max-canvas"));
  refused([](auto& o) { o.border = 64; }, Contains("border"));
  refused([](auto& o) { o.architecture = "ptychonn"; }, Contains("missing"));
  refused([](auto& o) { o.scan.crop = 100; }, Contains("100"));
  refused([](auto& o) { o.batch = 0; }, Contains("--batch"));
  // Though this rule needs all frames before there is a session.
  refused(
      [](auto& o) {
        o.precision = Precision::kF16;
        o.input_rule = "hxn";
      },
      Contains("--precision fp16"));
  refused([](auto& o) { o.output = "/nonexistent/folder/result.h5"; }, Contains("/nonexistent"));
  refused([](auto& o) { o.png = "/proc/none"; }, Contains("/proc/none"));
  refused([](auto& o) { o.scan.frames = {7, 7}; }, Contains("7"));
  refused([](auto& o) { o.weights = o.scan.path; }, Contains("scan.cxi"));
}

TEST_CASE("the result names the precision") {
  const TemporaryFolder folder;
  ReconstructOptions o = demo(folder);
  const auto named = [&] {
    reconstruct(o);
    return io::read_result(o.output).process.precision;
  };
  CHECK(named() == "fp32");
  if (!__builtin_cpu_supports("avx512bf16")) PTYNET_SKIP("this CPU has no AVX512-BF16");
  o.precision = Precision::kBf16;
  CHECK(named() == "bf16");
}

TEST_CASE("a bare scan is refused for what it lacks") {
  const TemporaryFolder folder;
  ReconstructOptions o = changed_demo(folder, [](Array&) {});
  const std::string probe = o.scan.probe;
  o.stitch = StitchMode::kProbe;
  o.scan.probe.clear();
  CHECK_THROWS_WITH(reconstruct(o), Contains("--probe"));
  o.scan.probe = probe;
  o.scan.positions.clear();
  CHECK_THROWS_WITH(reconstruct(o), Contains("no positions"));
  CHECK_FALSE(fs::exists(o.output));
}

TEST_CASE("the output replaces no file that the job reads") {
  const TemporaryFolder folder;
  ReconstructOptions o = changed_demo(folder, [](Array&) {});
  fs::copy(o.weights, folder / "weights.h5");
  fs::copy(o.scan.probe, folder / "probe.h5");
  o.weights = folder / "weights.h5";
  o.scan.probe = (folder / "probe.h5").string() + ":/entry_1/instrument_1/source_1/illumination";
  for (const char* name : {"weights.h5", "probe.h5", "frames.npy", "positions.npy"}) {
    o.output = folder / name;
    const auto bytes = fs::file_size(o.output);
    CHECK_THROWS_WITH(reconstruct(o), Contains("is the input") && Contains(name));
    CHECK(fs::file_size(o.output) == bytes);
  }
}

// The address space holds 2^47 bytes; a sanitizer ends the program instead of throwing.
#ifndef __SANITIZE_ADDRESS__
TEST_CASE("memory that is not there is an Error") {
  const TemporaryFolder folder;
  ReconstructOptions o = changed_demo(folder, [](Array&) {});
  Array positions = Array::zeros({12, 2}, DType::kF64);
  positions.data<double>()[0] = positions.data<double>()[1] = 4e6;
  io::write_npy(folder / "positions.npy", positions);
  o.max_canvas = std::int64_t{1} << 60;
  CHECK_THROWS_AS(reconstruct(o), Error);
  CHECK_THROWS_WITH(reconstruct(o), Contains("out of memory"));
}
#endif
