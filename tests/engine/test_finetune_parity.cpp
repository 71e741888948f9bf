// The fine-tuning job beside PyTorch's, on real scans.
#include <fstream>
#include <nlohmann/json.hpp>

#include "engine/evaluate.h"
#include "tests/engine/finetune_fixture.h"

using namespace ptynet;
using namespace ptynet::tests;
using Catch::Contains;
using Json = nlohmann::json;

namespace {

std::string in_reference(const std::string& name) { return (*reference_folder() / name).string(); }

Json expected(const std::string& name) {
  std::ifstream file(in_reference("expected.json"));
  REQUIRE(file);
  return Json::parse(file)[name];
}

FinetuneOptions from_demo_weights(const TemporaryFolder& folder) {
  FinetuneOptions o;
  o.weights = in_reference("weights/ptynet-s-demo.pth");
  o.architecture = "ptynet-s";
  o.output = folder / "tuned.h5";
  o.log_csv = folder / "log.csv";
  o.device = Device{};
  return o;
}

// R within 1 %, and of the losses the first within `first`, all within 5 %: two runs of PyTorch
// that differ by rounding alone end 1.5 % apart.
void check_run(const FinetuneOptions& o, const FinetuneSummary& s, const Json& wanted,
               double first) {
  CHECK(s.r_before == Approx(wanted["r_factor_before"].get<double>()).epsilon(1e-4));
  CHECK(s.r_after == Approx(wanted["r_factor_after"].get<double>()).epsilon(0.01));
  CHECK(s.r_flat_object ==
        Approx(wanted["r_factor_baselines"]["flat_object"].get<double>()).epsilon(0.01));
  CHECK(s.r_mean_frame ==
        Approx(wanted["r_factor_baselines"]["mean_frame"].get<double>()).epsilon(1e-4));
  const auto rows = csv(o.log_csv);
  REQUIRE(rows.size() == wanted["loss"].size() + 1);
  for (std::size_t i = 0; i < wanted["loss"].size(); ++i) {
    CAPTURE(i);
    CHECK(std::stod(rows[i + 1][1]) ==
          Approx(wanted["loss"][i].get<double>()).epsilon(i == 0 ? first : 0.05));
  }
}

void check_errors(const FinetuneOptions& o, const std::string& truth, std::int64_t offset,
                  std::int64_t border, const Json& wanted) {
  EvaluateRequest request;
  request.result = o.reconstruction;
  request.truth_amplitude = {in_reference("data/" + truth + "/amplitude.npy"), ""};
  request.truth_phase = {in_reference("data/" + truth + "/phase.npy"), ""};
  request.truth_offset_px = {offset, offset};
  request.border_px = border;
  const PhysicalScores found = evaluate(request).physical;
  CHECK(found.phase_rms_rad == Approx(wanted["phase_rms_rad"].get<double>()).epsilon(0.05));
  CHECK(found.amplitude_rms == Approx(wanted["amplitude_rms"].get<double>()).epsilon(0.05));
}

}  // namespace

TEST_CASE("finetune: ends where PyTorch's published procedure ends, authors' scan",
          "[finetune][slow]") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  const Json wanted = expected("ptynet-scan-0overlap fine-tuned");
  FinetuneOptions o = from_demo_weights(folder);
  o.scan.path = in_reference("data/ptynet-scan-0overlap/intensity.npy");
  o.scan.probe = in_reference("data/probe.npy");
  o.scan.raster = {5, 5};
  o.scan.raster_step_px = 128;
  o.epochs = 20;
  o.reconstruction = folder / "object.h5";
  check_run(o, finetune(o), wanted, 1e-4);
  check_errors(o, "ptynet-scan-0overlap", 3, 0, wanted);
}

TEST_CASE("finetune: ends where PyTorch's published procedure ends, two cats", "[finetune][slow]") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  const Json wanted = expected("cat-demo-probe fine-tuned");
  FinetuneOptions o = from_demo_weights(folder);
  o.scan.path = in_reference("data/cat-demo-probe/intensity.npy");
  o.scan.positions = in_reference("data/cat-demo-probe/positions.npy");
  o.scan.positions_unit = io::PositionUnit::kPixel;
  o.scan.probe = in_reference("data/demo-probe.npy");
  o.epochs = 60;
  o.reconstruction = folder / "object.h5";
  const FinetuneSummary s = finetune(o);
  check_run(o, s, wanted, 1e-3);
  CHECK_THAT(s.verdict, Contains("better than both"));
  check_errors(o, "cat-demo-probe", 0, 32, wanted);
}

TEST_CASE("finetune: ends where PyTorch's published procedure ends, measured star",
          "[finetune][slow]") {
  PTYNET_NEED_REFERENCE();
  const TemporaryFolder folder;
  FinetuneOptions o = from_demo_weights(folder);
  o.scan.path = in_reference("data/siemens-star-small.npz");
  o.scan.frames = {0, 96};
  o.epochs = 30;
  const FinetuneSummary s = finetune(o);
  check_run(o, s, expected("siemens-star, frames 0:96 fine-tuned"), 1e-3);
  CHECK_THAT(s.verdict, Contains("better than a flat object, not than the mean frame"));
}
