// The fine-tuning job stopped, gone on with, and ended by a loss that explodes.
#include <csignal>
#include <limits>

#include "io/checkpoint.h"
#include "tests/engine/finetune_fixture.h"

using namespace ptynet;
using namespace ptynet::tests;
using Catch::Contains;
namespace fs = std::filesystem;

TEST_CASE("finetune: stopped anywhere and resumed, it ends with the same bytes", "[finetune]") {
  const bool all = GENERATE(false, true);
  CAPTURE(all);
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.log_csv = fixture.folder / "log.csv";
  if (all) fixture.everything_on();
  const FinetuneSummary whole = finetune(o);
  if (all) CHECK(whole.best_epoch > 0);  // the weights at the end are not those of the beginning
  const std::string undisturbed = content(o.output);
  const auto log = csv(o.log_csv);
  const std::int64_t batches = all ? 2 : 3;
  for (const std::int64_t batch :
       {std::int64_t{0}, std::int64_t{1}, batches, 2 * batches + 1, 6 * batches - 1}) {
    CAPTURE(batch);
    fs::remove(o.output);
    fs::remove(o.log_csv);
    o.resume.clear();
    o.stop = stop_before(batch);
    const std::string path = o.output + ".checkpoint";
    CHECK_THROWS_WITH(finetune(o), Contains(text("stopped in epoch ", batch / batches + 1,
                                                 " after ", batch % batches)) &&
                                       Contains("--resume " + path));
    CHECK_FALSE(fs::exists(o.output));
    o.resume = path;
    o.stop = {};
    finetune(o);
    CHECK(content(o.output) == undisturbed);
    auto resumed = csv(o.log_csv);
    REQUIRE(resumed.size() == log.size());
    for (std::size_t i = 0; i < log.size(); ++i) {
      CHECK(std::vector(resumed[i].begin(), resumed[i].end() - 1) ==
            std::vector(log[i].begin(), log[i].end() - 1));
    }
  }
}

TEST_CASE("finetune: a resume with anything else than it began with says what", "[finetune]") {
  Fixture fixture;
  FinetuneOptions o = fixture.options;
  o.stop = stop_before(4);
  CHECK_THROWS_AS(finetune(o), Error);
  o.stop = {};
  o.resume = o.output + ".checkpoint";
  const auto refuses = [&](const FinetuneOptions& other, const std::string& what) {
    CHECK_THROWS_WITH(finetune(other), Contains("had " + what));
  };
  FinetuneOptions other = o;
  other.epochs = 7;
  refuses(other, "--epochs 6, this one has 7");
  other = o;
  other.learning_rate = 2e-2;
  refuses(other, "--learning-rate 0.01, this one has 0.02");
  other = o;
  other.consistency = 1;
  refuses(other, "--consistency 0, this one has 1");
  other = o;
  other.scan.frames = {0, 9};
  refuses(other, "frames sha256");
  io::WeightFile weights = io::read_weights(o.weights);
  weights.tensors["last.bias"].data<float>()[0] += 1;
  io::write_weights(fixture.folder / "others.h5", weights);
  other = o;
  other.weights = fixture.folder / "others.h5";
  refuses(other, "weights sha256");
  other = o;
  other.resume = o.weights;
  CHECK_THROWS_WITH(finetune(other), Contains("expected a checkpoint"));
}

TEST_CASE("finetune: a loss that explodes ends the run and names the last good checkpoint",
          "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.schedule = ScheduleKind::kConstant;
  o.learning_rate = 1e4;
  try {
    finetune(o);
    FAIL("it went on");
  } catch (const Error& problem) {
    CHECK(problem.fault() == Fault::kRuntime);
    CHECK_THAT(problem.what(), Contains("epoch ") && Contains(", batch ") &&
                                   Contains("no checkpoint was written before"));
  }
  CHECK_FALSE(fs::exists(o.output));
}

namespace {

// A run stopped before batch `batch`, and its checkpoint with a change.
template <typename Change>
void checkpoint_with(Fixture& fixture, std::int64_t batch, Change change) {
  FinetuneOptions& o = fixture.options;
  o.resume.clear();
  o.stop = stop_before(batch);
  CHECK_THROWS_WITH(finetune(o), Contains("stopped in epoch"));
  o.stop = {};
  const std::string made = o.checkpoint.empty() ? o.output + ".checkpoint" : o.checkpoint;
  io::Checkpoint checkpoint = io::read_checkpoint(made, "finetune");
  change(checkpoint);
  o.resume = fixture.folder / "changed.h5";
  io::write_checkpoint(o.resume, checkpoint);
}

// So large that the next step takes the weights to infinity; its own loss is still sound.
void explode(io::Checkpoint& checkpoint) {
  checkpoint.tensors.at("first_moment").at("last.weight").data<float>()[0] = 1e38F;
  checkpoint.tensors.at("second_moment").at("last.weight").data<float>()[0] = 0;
  checkpoint.options.at("--learning-rate") = "1e+10";
}

std::function<void(io::Checkpoint&)> first_loss(double value) {
  return [value](io::Checkpoint& c) { c.series.at("loss")[0] = value; };
}

// Predicted counts a million times as high.
void outshine(io::Checkpoint& checkpoint) {
  for (const char* name : {"last.weight", "last.bias"}) {
    Array& values = checkpoint.tensors.at("weights").at(name);
    for (std::int64_t i = 0; i < values.elements(); ++i) values.data<float>()[i] *= 1e3F;
  }
}

}  // namespace

TEST_CASE("finetune: weights that explode in any step are reported with it", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.every = 1;
  o.checkpoint = fixture.folder / "good.h5";
  const auto [before, words] = GENERATE(table<std::int64_t, std::string>(
      {{7, "epoch 3, batch 3: the loss is "},                // seen by the next step
       {8, "epoch 3, batch 3: 'last.weight' holds values"},  // by the epoch's checkpoint
       {17, "epoch 6, batch 3: 'last.weight' holds values"}}));
  CAPTURE(before);
  const bool keeps = GENERATE(true, false);
  checkpoint_with(fixture, before, explode);
  o.learning_rate = 1e10;
  const std::string good = content(o.checkpoint);
  if (!keeps && before == 17) o.checkpoint.clear();  // nothing looks at the state but the end
  CHECK_THROWS_WITH(finetune(o), Contains(words) && Contains("last good checkpoint is") &&
                                     Contains("changed.h5"));
  CHECK(content(fixture.folder / "good.h5") == good);
  CHECK_FALSE(fs::exists(o.output));
}

// The amplitude loss of a predicted NaN is that of 0.
TEST_CASE("finetune: gradients that are not finite end the run, whatever the loss", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  o.loss = IntensityLoss::kAmplitude;
  checkpoint_with(fixture, 7, [](io::Checkpoint& checkpoint) {
    Array& bias = checkpoint.tensors.at("weights").at("last.bias");
    for (std::int64_t i = 0; i < bias.elements(); ++i) bias.data<float>()[i] = 3e38F;
  });
  CHECK_THROWS_WITH(finetune(o), Contains("epoch 3, batch 2: gradients are not finite") &&
                                     Contains("last good checkpoint is"));
  CHECK_FALSE(fs::exists(o.output));
}

TEST_CASE("finetune: a loss far over the first epoch's ends the run", "[finetune]") {
  Fixture fixture;
  checkpoint_with(fixture, 4, first_loss(1e-6));
  CHECK_THROWS_WITH(finetune(fixture.options), Contains("epoch 2, batch 2: the loss is ") &&
                                                   Contains("times the first epoch's 1e-06"));
}

TEST_CASE("finetune: a Poisson loss that begins near 0 is held against the counts", "[finetune]") {
  Fixture fixture;
  // So few photons that the negative log-likelihood is above 0.
  const Array probe = gaussian_probe(0.01);
  fixture.frames = far_field(patches(kFrames), probe);
  fixture.rewrite_frames();
  io::write_npy(fixture.folder / "probe.npy", probe);
  fixture.options.loss = IntensityLoss::kPoisson;
  fixture.options.consistency = GENERATE(0.0, 1.0);  // with it the mean count divides the loss
  constexpr double kNearZero = 1e-6;
  checkpoint_with(fixture, 4, first_loss(kNearZero));
  CHECK(finetune(fixture.options).last_loss > 1e3 * kNearZero);
  checkpoint_with(fixture, 4, outshine);
  CHECK_THROWS_WITH(finetune(fixture.options), Contains("epoch 2, batch 2: the loss is ") &&
                                                   Contains("times the first epoch's"));
}

TEST_CASE("finetune: a checkpoint that no run can have left is refused", "[finetune]") {
  Fixture fixture;
  fixture.everything_on();
  const auto number = [](const char* name, double value) {
    return [=](io::Checkpoint& c) { c.numbers.at(name) = value; };
  };
  const auto nan_in = [](const char* group, const char* name) {
    return [=](io::Checkpoint& c) {
      Array& values = c.tensors.at(group).at(name);
      values = values.clone();
      values.dtype() == DType::kF32 ? values.data<float>()[0] = std::nanf("")
                                    : values.data<std::complex<float>>()[0] = std::nanf("");
    };
  };
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<std::string, std::function<void(io::Checkpoint&)>>> cases{
      {"expected steps as a whole number", number("steps", -1)},
      {"expected 5 steps", number("steps", 4)},
      {"expected probe_steps", number("probe_steps", 0.5)},
      {"expected 5 steps and at most as many of the probe", number("probe_steps", 6)},
      {"expected 5 steps", number("steps_left_out", 1)},
      {"expected steps_left_out as a whole number", number("steps_left_out", -1)},
      {"expected loss_scale_steps as a whole number", number("loss_scale_steps", 0.5)},
      {"expected loss_scale as a power of two, found 3", number("loss_scale", 3)},
      {"expected loss_scale as a power of two, found 0", number("loss_scale", 0)},
      {"expected epoch as a whole number from 0 to 6, found 2.7", number("epoch", 2.7)},
      {"expected epoch", number("epoch", std::nan(""))},
      {"expected batch as a whole number from 0 to 1, found 2", number("batch", 2)},
      {"expected the sums of 4 frames, found 0", number("frames", 0)},
      {"loss_sum", number("loss_sum", infinity)},
      {"r_difference", number("r_difference", std::nan(""))},
      {"r_total", number("r_total", -1)},
      {"r_before", number("r_before", infinity)},
      {"expected seconds", number("seconds", -1)},
      {"epoch_seconds", number("epoch_seconds", infinity)},
      {"best_r", number("best_r", -1)},
      {"best_epoch as a whole number from 0 to 2", number("best_epoch", 3)},
      {"no number 'epoch'", [](io::Checkpoint& c) { c.numbers.erase("epoch"); }},
      {"expected the history of 2 epochs, found 100000 of 'loss'",
       [](io::Checkpoint& c) { c.series.at("loss").resize(100000); }},
      {"a finite loss of epoch 1",
       [](io::Checkpoint& c) { c.series.at("loss")[0] = std::nan(""); }},
      {"'last.weight' of 'weights'", nan_in("weights", "last.weight")},
      {"'last.weight' of 'first_moment'", nan_in("first_moment", "last.weight")},
      {"'value' of 'probe'", nan_in("probe", "value")},
      {"'last.bias' of 'best_weights'", nan_in("best_weights", "last.bias")},
      {"'object' of 'canvas'", nan_in("canvas", "object")},
      {"second moment of 'last.bias'",
       [](io::Checkpoint& c) {
         c.tensors.at("second_moment").at("last.bias").data<float>()[0] = -1;
       }},
      {"no tensor 'last.bias'",
       [](io::Checkpoint& c) { c.tensors.at("weights").erase("last.bias"); }},
  };
  checkpoint_with(fixture, 5, [](io::Checkpoint&) {});
  const io::Checkpoint good = io::read_checkpoint(fixture.options.resume, "finetune");
  for (const auto& [words, change] : cases) {
    CAPTURE(words);
    io::Checkpoint changed = good;
    for (auto& [group, tensors] : changed.tensors) {
      for (auto& [name, values] : tensors) values = values.clone();
    }
    change(changed);
    io::write_checkpoint(fixture.options.resume, changed);
    CHECK_THROWS_WITH(finetune(fixture.options), Contains("changed.h5: ") && Contains(words) &&
                                                     Contains("begin again without --resume"));
  }
  io::write_checkpoint(fixture.options.resume, good);
  CHECK_NOTHROW(finetune(fixture.options));
}

TEST_CASE("finetune: outputs do not take the place of the checkpoint that is resumed",
          "[finetune]") {
  Fixture fixture;
  checkpoint_with(fixture, 4, [](io::Checkpoint&) {});
  const FinetuneOptions o = fixture.options;
  const std::string before = content(o.resume);
  for (const auto output :
       {&FinetuneOptions::output, &FinetuneOptions::log_csv, &FinetuneOptions::reconstruction}) {
    FinetuneOptions other = o;
    other.*output = o.resume;
    CHECK_THROWS_WITH(finetune(other), Contains("is the input") && Contains("changed.h5"));
    CHECK(content(o.resume) == before);
  }
  // The next checkpoint does.
  FinetuneOptions other = o;
  other.checkpoint = o.resume;
  other.every = 1;
  CHECK_NOTHROW(finetune(other));
  CHECK(content(o.resume) != before);
}

TEST_CASE("finetune: going on with another number of threads is said", "[finetune]") {
  Fixture fixture;
  std::vector<std::string> warnings;
  fixture.options.warning = [&](const std::string& line) { warnings.push_back(line); };
  checkpoint_with(fixture, 4, [](io::Checkpoint&) {});
  finetune(fixture.options);
  CHECK(warnings.empty());
  checkpoint_with(fixture, 4, [](io::Checkpoint& c) { c.numbers.at("threads") = 7; });
  finetune(fixture.options);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0], Contains("began with 7 threads and goes on with 1"));
}

TEST_CASE("finetune: a signal stops it while epochs run, after the last step too", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  finetune(o);
  const std::string undisturbed = content(o.output);
  o.stop_on_signals = true;
  const auto usual = std::signal(SIGINT, SIG_DFL);
  std::signal(SIGINT, usual);
  const auto [when, words] = GENERATE(table<std::int64_t, std::string>(
      {{4, "stopped in epoch 2 after 1 of 3"}, {18, "stopped after the last epoch"}}));
  CAPTURE(when);
  fs::remove(o.output);
  bool raised = false;
  o.progress = [&, at = when](const FinetuneProgress& p) {
    if (p.steps_done == at && !std::exchange(raised, true)) std::raise(SIGINT);
  };
  CHECK_THROWS_WITH(finetune(o), Contains(words));
  const auto after = std::signal(SIGINT, usual);
  CHECK(after == usual);
  CHECK_FALSE(fs::exists(o.output));
  o.resume = o.output + ".checkpoint";
  finetune(o);
  CHECK(content(o.output) == undisturbed);
}
