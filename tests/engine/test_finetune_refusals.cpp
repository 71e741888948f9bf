// What the fine-tuning job refuses, and how early.
#include <filesystem>

#include "tests/engine/finetune_fixture.h"

using namespace ptynet;
using namespace ptynet::tests;
using Catch::Contains;
namespace fs = std::filesystem;

TEST_CASE("finetune: what cannot be fine-tuned is refused in one line", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  const auto refuses = [&](const std::string& words) {
    try {
      finetune(o);
      FAIL("it went on, expected: " << words);
    } catch (const Error& problem) {
      CHECK(problem.fault() == Fault::kInput);
      CHECK_THAT(problem.what(), Contains(words));
      CHECK_THAT(problem.what(), !Contains("\n"));
    }
    CHECK_FALSE(fs::exists(o.output));
  };
  SECTION("no probe") {
    o.scan.probe.clear();
    refuses("has no probe");
  }
  SECTION("a probe of the wrong size") {
    io::write_npy(fixture.folder / "probe.npy", Array::zeros({8, 8}, DType::kC64));
    refuses("probe.npy");
  }
  SECTION("a zero probe") {
    io::write_npy(fixture.folder / "probe.npy", Array::zeros({kSide, kSide}, DType::kC64));
    refuses("not all 0");
  }
  SECTION("a mask that hides everything") {
    io::write_npy(fixture.folder / "mask.npy", Array::zeros({kSide, kSide}, DType::kU8));
    o.scan.mask = fixture.folder / "mask.npy";
    refuses("no frame has a good pixel");
  }
  SECTION("no counts at all") {
    std::memset(fixture.frames.data(), 0, fixture.frames.bytes());
    fixture.rewrite_frames();
    refuses("no frame has any counts");
  }
  SECTION("frames that are nothing but NaN") {
    std::fill_n(fixture.frames.data<float>(), fixture.frames.elements(), std::nanf(""));
    fixture.rewrite_frames();
    refuses("no frame has a good pixel");
  }
  SECTION("consistency without positions") {
    o.scan.positions.clear();
    o.scan.positions_unit.reset();
    o.consistency = 1;
    refuses("--consistency needs");
  }
  SECTION("patience without validation") {
    o.patience = 3;
    refuses("--validate");
  }
  SECTION("support with a probe that changes") {
    o.support = 0.1;
    o.update_probe = 0;
    refuses("exclude each other");
  }
  SECTION("an output that is an input") {
    o.log_csv = o.weights;
    refuses("is the input");
  }
  SECTION("two outputs of one name") {
    o.checkpoint = o.output;
    refuses("a name of its own");
    o.checkpoint.clear();
    o.log_csv = o.output + ".checkpoint";
    refuses("a name of its own");
  }
  SECTION("a checkpoint of no given name that is an input") {
    fs::copy_file(o.weights, o.output + ".checkpoint");
    o.weights = o.output + ".checkpoint";
    refuses("is the input");
  }
  SECTION("a folder that does not exist") {
    o.checkpoint = fixture.folder / "nowhere/c.h5";
    refuses("nowhere");
  }
}

TEST_CASE("finetune: what is cheap to know is looked at before the frames are read", "[finetune]") {
  Fixture fixture;
  FinetuneOptions& o = fixture.options;
  bool read = false;
  o.stage = [&read](const std::string&, std::int64_t, std::int64_t) { read = true; };
  o.epochs = 0;
  finetune(o);
  CHECK(read);
  read = false;
  SECTION("patterns of names") {
    o.freeze = {"first.*", "norm.running_*"};
    CHECK_THROWS_WITH(finetune(o), Contains("norm.running_*"));
  }
  SECTION("the checkpoint") {
    o.resume = o.weights;
    CHECK_THROWS_WITH(finetune(o), Contains("expected a checkpoint"));
  }
  SECTION("what the run that is resumed began with") {
    o.epochs = 6;
    o.stop = stop_before(4);
    CHECK_THROWS_WITH(finetune(o), Contains("stopped in epoch 2"));
    o.stop = {};
    o.resume = o.output + ".checkpoint";
    read = false;
    SECTION("options") {
      o.learning_rate = 2e-2;
      CHECK_THROWS_WITH(finetune(o), Contains("--learning-rate 0.01, this one has 0.02"));
    }
    SECTION("weights") {
      io::WeightFile weights = io::read_weights(o.weights);
      weights.tensors["last.bias"].data<float>()[0] += 1;
      io::write_weights(o.weights, weights);
      CHECK_THROWS_WITH(finetune(o), Contains("weights sha256"));
    }
  }
  SECTION("the empty beam") {
    o.calibrate = ProbeCalibration::kEmptyBeam;
    o.empty_beam = fixture.folder / "missing.npy";
    CHECK_THROWS_WITH(finetune(o), Contains("missing.npy"));
  }
  CHECK_FALSE(read);
}
