// The fine-tuning job: its parts and its loop.
#include <limits>
#include <set>

#include "engine/finetune_loop.h"
#include "engine/probe_calibration.h"
#include "engine/training_frames.h"
#include "tests/engine/finetune_fixture.h"

using namespace ptynet;
using namespace ptynet::tests;
using Catch::Contains;
using Complex = std::complex<float>;

TEST_CASE("finetune: frames are held out evenly", "[finetune]") {
  const FrameSplit all = split_frames(7, 0);
  CHECK(all.training.size() == 7);
  CHECK(all.held_out.empty());
  const FrameSplit fifth = split_frames(10, 0.2);
  CHECK(fifth.held_out == std::vector<std::int64_t>{4, 9});
  CHECK(fifth.training == std::vector<std::int64_t>{0, 1, 2, 3, 5, 6, 7, 8});
  CHECK(split_frames(10, 0.5).training.size() == 5);
  CHECK_THROWS_WITH(split_frames(3, 0.2), Contains("every 5th frame, which of 3 frames is none"));
  CHECK_THROWS_WITH(split_frames(10, 1e-20), Contains("every 1e+20th frame, which of 10"));
}

TEST_CASE("finetune: the order of an epoch depends on seed and epoch alone", "[finetune]") {
  std::vector<std::int64_t> in_order(20);
  for (std::size_t i = 0; i < 20; ++i) in_order[i] = static_cast<std::int64_t>(i);
  const auto order = shuffled(in_order, 1, 0);
  CHECK(order == shuffled(in_order, 1, 0));
  CHECK(order != in_order);
  CHECK(order != shuffled(in_order, 1, 1));
  CHECK(order != shuffled(in_order, 2, 0));
  CHECK(std::set<std::int64_t>(order.begin(), order.end()).size() == 20);
  // Every frame comes first about equally often: 2000 epochs, 100 times each, sigma 10.
  std::vector<int> first(20);
  for (std::int64_t epoch = 0; epoch < 2000; ++epoch) {
    ++first[static_cast<std::size_t>(shuffled(in_order, 1, epoch)[0])];
  }
  for (const int n : first) CHECK(std::abs(n - 100) < 50);
}

TEST_CASE("finetune: an object that is 0 beyond the support diffracts as a probe that is",
          "[finetune]") {
  const Array probe = gaussian_probe(1);
  const Array within = within_support(probe, 0.05);
  Array object = patches(2);
  const Array by_probe = far_field(object, within);
  std::int64_t kept = 0;
  for (std::int64_t i = 0; i < object.elements(); ++i) {
    const bool in = within.data<Complex>()[i % (kSide * kSide)] != Complex();
    if (!in) object.data<Complex>()[i] = Complex();
    kept += in ? 1 : 0;
  }
  // exp(-2 r^2 / 18) >= 0.05 within r = 5.19 px: 89 pixels of a disc of whole coordinates.
  CHECK(kept == 2 * 89);
  const Array by_object = far_field(object, probe);
  CHECK(std::memcmp(by_probe.data(), by_object.data(), by_probe.bytes()) == 0);
  CHECK_THROWS_WITH(within_support(probe, 1.5), Contains("found 1.5"));
}

TEST_CASE("finetune: a probe is scaled to counts and to a prediction", "[finetune]") {
  Context context;
  const Array probe = gaussian_probe(2);
  Array flat = Array::host({1, kSide, kSide}, DType::kC64);
  std::fill_n(flat.data<Complex>(), flat.elements(), Complex(1, 0));
  Array empty_beam = far_field(flat, scaled_probe(probe, 3));
  CHECK(scale_to_counts(context, probe, empty_beam) == Approx(3).epsilon(1e-6));
  // Bad pixels count on neither side.
  for (std::int64_t i = 100; i < 140; ++i) empty_beam.data<float>()[i] = -1;
  CHECK(scale_to_counts(context, probe, empty_beam) == Approx(3).epsilon(1e-6));
  CHECK_THROWS_WITH(scale_to_counts(context, probe, Array::zeros({1, kSide, kSide}, DType::kF32)),
                    Contains("cannot be scaled to 0 counts"));

  const Array object = patches(3);
  Array measured = far_field(object, scaled_probe(probe, 0.25));
  measured.data<float>()[7] = -1;
  Array amplitude = Array::host(object.shape(), DType::kF32);
  Array phase = Array::host(object.shape(), DType::kF32);
  for (std::int64_t i = 0; i < object.elements(); ++i) {
    amplitude.data<float>()[i] = std::abs(object.data<Complex>()[i]);
    phase.data<float>()[i] = std::arg(object.data<Complex>()[i]);
  }
  ScaleToPrediction scale(context, probe);
  scale.add(amplitude, phase, measured);
  CHECK(scale.scale() == Approx(0.25).epsilon(1e-5));

  CHECK(probe_power(scaled_probe(probe, 3)) == Approx(9 * probe_power(probe)));
  CHECK_FALSE(warning_about_counts(probe, far_field(flat, probe)));
  CHECK_FALSE(warning_about_counts(probe, far_field(flat, scaled_probe(probe, 0.23))));
  CHECK(warning_about_counts(probe, far_field(flat, scaled_probe(probe, 0.22))));
  CHECK(warning_about_counts(probe, far_field(flat, scaled_probe(probe, 4.6))));
}

TEST_CASE("finetune: the brightest frames are one in a hundred, at least one", "[finetune]") {
  Array frames = Array::zeros({201, 1, 2}, DType::kF32);
  for (std::int64_t i = 0; i < 201; ++i) {
    frames.data<float>()[2 * i] = static_cast<float>((i * 37) % 201);
    frames.data<float>()[2 * i + 1] = -1;
  }
  const auto brightest = brightest_frames(frames);
  REQUIRE(brightest.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) CHECK((brightest[i] * 37) % 201 == 200 - static_cast<int>(i));
  CHECK(brightest_frames(frames.slice(0, 5)).size() == 1);
}

TEST_CASE("finetune: frames that do not fit memory are refused before they are read",
          "[finetune]") {
  const Fixture fixture;
  Scan scan = Scan::open(fixture.options.scan);
  CHECK_NOTHROW(read_frames(scan, kFrames * kSide * kSide * 4, {}));
  CHECK_THROWS_WITH(read_frames(scan, kFrames * kSide * kSide * 4 - 1, {}),
                    Contains("over the limit") && Contains("--frames"));
  CHECK(memory_for_frames() > 1'000'000);
}

TEST_CASE("finetune: the loss falls, and what came of it is written down", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.epochs = 40;
  o.log_csv = fixture.folder / "log.csv";
  o.reconstruction = fixture.folder / "object.h5";
  o.scan.frames = {0, 8};
  const FinetuneSummary s = finetune(o);
  CHECK(s.last_loss < 0.5 * s.first_loss);
  CHECK(s.frames == 8);
  CHECK(s.steps == 80);
  CHECK_THAT(s.verdict, Contains("before fine-tuning"));
  // All of the scan is reconstructed, with the tuned weights.
  REQUIRE(s.reconstruction);
  CHECK(s.reconstruction->frames == kFrames);
  CHECK(s.reconstruction->rows == kSide + 4 * (kFrames - 1));
  const auto rows = csv(o.log_csv);
  REQUIRE(rows.size() == 41);
  CHECK(rows[0] == std::vector<std::string>{"epoch", "loss", "r_factor", "validation_r_factor",
                                            "learning_rate", "seconds"});
  CHECK(rows[40][0] == "40");
  CHECK(std::stod(rows[40][1]) == s.last_loss);
  CHECK(rows[40][3].empty());
  CHECK(rows[1][4] == "0.01");
  CHECK(std::stod(rows[40][4]) == Approx(0.01 / 16));
  const io::WeightFile tuned = io::read_weights(o.output);
  CHECK(tuned.architecture_json == kTiny);
  CHECK(tuned.trained_for.scores.at("r_before") == s.r_before);
  CHECK(tuned.trained_for.scores.at("r_after") == s.r_after);
  CHECK(tuned.trained_for.scores.at("r_flat_object") == s.r_flat_object);
  CHECK(tuned.trained_for.scores.at("r_mean_frame") == s.r_mean_frame);
  CHECK(*tuned.trained_for.frame_px == std::array<std::int64_t, 2>{kSide, kSide});
  CHECK(*tuned.trained_for.photons > 0);
  CHECK_THAT(tuned.trained_for.settings, Contains("--epochs 40\n"));
  // R after is that of these weights in inference, as reconstruct has it.
  ReconstructOptions again;
  again.scan = o.scan;
  again.weights = o.output;
  again.output = fixture.folder / "again.h5";
  again.device = Device{};
  CHECK(*reconstruct(again).r_patches == Approx(s.r_after).epsilon(1e-4));
}

TEST_CASE("finetune: an epoch's loss is the mean over frames of the batches' losses",
          "[finetune]") {
  // Without a change to the weights, batches of any size have the mean loss of their frames; with
  // batch norm in training mode they do not, so it is left out.
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  io::WeightFile weights = io::read_weights(o.weights);
  std::string json = weights.architecture_json;
  const std::size_t at = json.find(R"({"type": "batch_norm2d")");
  json.erase(at, json.find(R"({"type": "leaky_relu")") - at);
  weights.architecture_json = json;
  for (const char* name : {"weight", "bias", "running_mean", "running_var"}) {
    weights.tensors.erase(std::string("norm.") + name);
  }
  io::write_weights(fixture.folder / "plain.h5", weights);
  o.weights = fixture.folder / "plain.h5";
  o.epochs = 1;
  o.learning_rate = 1e-30;
  const double by_four = finetune(o).first_loss;
  o.batch = 1;
  CHECK(finetune(o).first_loss == Approx(by_four).epsilon(1e-6));
  o.batch = kFrames;
  CHECK(finetune(o).first_loss == Approx(by_four).epsilon(1e-6));
}

TEST_CASE("finetune: no epochs leave the weights as they are and judge them", "[finetune]") {
  Fixture fixture;
  fixture.options.epochs = 0;
  fixture.options.log_csv = fixture.folder / "log.csv";
  const FinetuneSummary s = finetune(fixture.options);
  CHECK(s.r_before == s.r_after);
  CHECK(std::isnan(s.last_loss));
  CHECK(csv(fixture.options.log_csv).size() == 1);
  CHECK(equal(fixture.weights(), io::read_weights(fixture.options.weights).tensors));
}

TEST_CASE("finetune: a batch larger than the scan is one batch of all frames", "[finetune]") {
  Fixture fixture;
  fixture.options.batch = 1000;
  CHECK(finetune(fixture.options).steps == 6);
  const StateDict by_thousand = fixture.weights();
  fixture.options.batch = kFrames;
  finetune(fixture.options);
  CHECK(equal(fixture.weights(), by_thousand));
}

TEST_CASE("finetune: what is frozen stays", "[finetune]") {
  Fixture fixture;
  fixture.options.freeze = {"first.*", "norm.*"};
  finetune(fixture.options);
  const StateDict before = io::read_weights(fixture.options.weights).tensors;
  const StateDict after = fixture.weights();
  for (const auto& [name, tensor] : before) {
    const bool same = std::memcmp(tensor.data(), after.at(name).data(), tensor.bytes()) == 0;
    CAPTURE(name);
    // Running statistics follow the batches all the same.
    CHECK(same == (name.find("last") != 0 && name.find("running") == std::string::npos));
  }
  fixture.options.freeze = {"encoder.*"};
  CHECK_THROWS_WITH(finetune(fixture.options), Contains("encoder.*"));
}

TEST_CASE("finetune: every loss and schedule makes its loss smaller", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.epochs = 30;
  const auto improves = [&] {
    const FinetuneSummary s = finetune(o);
    CHECK(s.last_loss < s.first_loss - 0.1 * std::abs(s.first_loss));
    return s;
  };
  SECTION("amplitude loss, cosine") {
    o.loss = IntensityLoss::kAmplitude;
    o.schedule = ScheduleKind::kCosine;
    // The loss is the numerator of R.
    const FinetuneSummary s = improves();
    CHECK(s.r_after < 0.9 * s.r_before);
  }
  SECTION("Poisson loss, constant rate, shuffled") {
    o.loss = IntensityLoss::kPoisson;
    o.schedule = ScheduleKind::kConstant;
    o.shuffle = true;
    improves();
  }
  SECTION("consistency") {
    o.consistency = 1;
    improves();
  }
  SECTION("support") {
    o.support = 0.01;
    improves();
    const Array probe = io::read_weights(o.output).trained_for.probe;
    CHECK(probe.data<Complex>()[0] == Complex());
    CHECK(probe.data<Complex>()[kSide * kSide / 2 + kSide / 2] == Complex(30));
  }
  SECTION("probe update keeps the power and moves the probe") {
    o.update_probe = 10;
    improves();
    const Array probe = io::read_weights(o.output).trained_for.probe;
    CHECK(probe_power(probe) == Approx(probe_power(gaussian_probe(30))).epsilon(1e-5));
    CHECK(std::memcmp(probe.data(), gaussian_probe(30).data(), probe.bytes()) != 0);
  }
}

TEST_CASE("finetune: calibration scales the probe that is used and recorded", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.epochs = 0;
  io::write_npy(fixture.folder / "probe.npy", gaussian_probe(3));  // ten times too weak
  std::vector<std::string> warnings;
  o.warning = [&warnings](const std::string& line) { warnings.push_back(line); };
  finetune(o);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Contains("the brightest frame has"));
  warnings.clear();
  SECTION("empty beam") {
    Array flat = Array::host({1, kSide, kSide}, DType::kC64);
    std::fill_n(flat.data<Complex>(), flat.elements(), Complex(1, 0));
    io::write_npy(fixture.folder / "empty.npy",
                  far_field(flat, gaussian_probe(30)).reshape({kSide, kSide}));
    o.calibrate = ProbeCalibration::kEmptyBeam;
    o.empty_beam = fixture.folder / "empty.npy";
    CHECK(finetune(o).probe_scale == Approx(10).epsilon(1e-5));
    CHECK(probe_power(io::read_weights(o.output).trained_for.probe) ==
          Approx(probe_power(gaussian_probe(30))).epsilon(1e-4));
    CHECK(warnings.empty());
    // Like the frames, or an error.
    io::write_npy(fixture.folder / "empty.npy", Array::zeros({8, 8}, DType::kF32));
    CHECK_THROWS_WITH(finetune(o), Contains("expected frames of 16 x 16"));
  }
  SECTION("brightest") {
    o.calibrate = ProbeCalibration::kBrightest;
    // The object's amplitude is 0.6 to 1.
    const double scale = finetune(o).probe_scale;
    CHECK(scale > 6);
    CHECK(scale < 10);
    CHECK(warnings.empty());
  }
  SECTION("network") {
    o.calibrate = ProbeCalibration::kNetwork;
    const double scale = finetune(o).probe_scale;
    const Array probe = io::read_weights(o.output).trained_for.probe;
    CHECK(probe_power(probe) ==
          Approx(scale * scale * probe_power(gaussian_probe(3))).epsilon(1e-5));
    // What it is scaled to does not depend on what it was.
    io::write_npy(fixture.folder / "probe.npy", gaussian_probe(12));
    CHECK(finetune(o).probe_scale == Approx(scale / 4).epsilon(1e-5));
  }
}

TEST_CASE("finetune: the best weights by the frames held out are kept", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.validate = 0.2;
  o.epochs = 60;
  o.learning_rate = 0.05;  // too high to stay at its best
  o.schedule = ScheduleKind::kConstant;
  o.log_csv = fixture.folder / "log.csv";
  FinetuneSummary s = finetune(o);
  CHECK(s.held_out == 2);
  double best = *s.validation_r_before;
  std::int64_t best_epoch = 0;
  const auto rows = csv(o.log_csv);
  REQUIRE(rows.size() == 61);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    if (std::stod(rows[i][3]) < best) {
      best = std::stod(rows[i][3]);
      best_epoch = static_cast<std::int64_t>(i);
    }
  }
  REQUIRE(best_epoch > 0);
  REQUIRE(best_epoch < 60);
  CHECK(s.best_epoch == best_epoch);
  CHECK(*s.validation_r_after == best);
  // With patience the run ends that long after its best.
  o.patience = 1;
  s = finetune(o);
  CHECK(s.epochs == s.best_epoch + 1);
}

TEST_CASE("finetune: NaN and negative counts are bad pixels, not numbers", "[finetune]") {
  Fixture fixture;
  const auto break_pixels = [&](float value) {
    for (std::int64_t i = 0; i < kSide * kSide; ++i) fixture.frames.data<float>()[i] = value;
    fixture.frames.data<float>()[3 * kSide * kSide + 5] = value;
    fixture.rewrite_frames();
    finetune(fixture.options);
    return fixture.weights();
  };
  const StateDict by_nan = break_pixels(std::numeric_limits<float>::quiet_NaN());
  for (const auto& [name, tensor] : by_nan) {
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      REQUIRE(std::isfinite(tensor.data<float>()[i]));
    }
  }
  CHECK(equal(break_pixels(-3), by_nan));
  // The same by a mask over one pixel of all frames is another run.
  fixture.frames = far_field(patches(kFrames), gaussian_probe(30));
  fixture.rewrite_frames();
  finetune(fixture.options);
  CHECK_FALSE(equal(fixture.weights(), by_nan));
}

TEST_CASE("finetune: the tuned weights carry the input rule they were tuned with", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  // The scan's maximum is not among the frames tuned on.
  const std::int64_t pixels = kSide * kSide;
  auto* values = fixture.frames.data<float>();
  for (std::int64_t i = 9 * pixels; i < 10 * pixels; ++i) values[i] *= 5;
  fixture.rewrite_frames();
  o.input_rule = "hxn";
  o.scan.frames = {0, 8};
  o.reconstruction = fixture.folder / "object.h5";
  const FinetuneSummary s = finetune(o);
  const Architecture tuned = parse_architecture(io::read_weights(o.output).architecture_json);
  CHECK(tuned.input == named_input_rule("hxn"));
  CHECK(tuned.layers.size() == parse_architecture(kTiny).layers.size());
  // The network sees counts as it was tuned to see them, over the maximum of those frames.
  ReconstructOptions again;
  again.scan = o.scan;
  again.scan.frames.reset();
  again.weights = o.output;
  again.output = fixture.folder / "again.h5";
  again.device = Device{};
  CHECK(*reconstruct(again).r_patches != Approx(*s.reconstruction->r_patches).epsilon(1e-6));
  again.rule = named_input_rule("hxn");
  again.rule->scan_max = *std::max_element(values, values + 8 * pixels);
  CHECK(*reconstruct(again).r_patches == Approx(*s.reconstruction->r_patches).epsilon(1e-6));
}

TEST_CASE("finetune: says where the scan differs from what the weights were trained for",
          "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  io::WeightFile weights = io::read_weights(o.weights);
  weights.trained_for.frame_px = {64, 64};
  weights.trained_for.photons = 1;
  io::write_weights(o.weights, weights);
  std::vector<std::string> warnings;
  o.warning = [&warnings](const std::string& line) { warnings.push_back(line); };
  o.epochs = 0;
  finetune(o);
  REQUIRE(warnings.size() == 2);
  CHECK_THAT(warnings[0], Contains("trained on frames of 64x64 px, this scan has 16x16"));
  CHECK_THAT(warnings[1], Contains("trained for 1 counts a frame"));
}

TEST_CASE("finetune: the log has the learning rate of an epoch's last batch", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.schedule = ScheduleKind::kCyclic;
  o.half_cycle_epochs = 1;  // of three batches: up in the first epoch, down in the second
  o.epochs = 2;
  o.log_csv = fixture.folder / "log.csv";
  finetune(o);
  const auto rows = csv(o.log_csv);
  REQUIRE(rows.size() == 3);
  CHECK(std::stod(rows[1][4]) == Approx(1e-3 + 9e-3 * 2 / 3));
  CHECK(std::stod(rows[2][4]) == Approx(1e-3 + 9e-3 / 3));
}
