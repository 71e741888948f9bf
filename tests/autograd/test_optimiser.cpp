#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "autograd/optimiser.h"
#include "kernels/random.h"
#include "tests/catch.h"
#include "tests/support.h"

using namespace ptynet;

namespace {

using Json = nlohmann::json;

Json golden(const std::string& name) {
  std::ifstream file(PTYNET_SOURCE_DIR "/tests/golden/training/" + name);
  REQUIRE(file);
  return Json::parse(file);
}

Array filled(const std::string& name, std::int64_t n) {
  const CounterRandom random(3, name);
  Array out = Array::host({n}, DType::kF32);
  for (std::int64_t i = 0; i < n; ++i) {
    out.data<float>()[i] =
        static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)) * 2 - 1);
  }
  return out;
}

}  // namespace

TEST_CASE("Adam's first step is the learning rate, against the gradient's sign") {
  Context context;
  Array value = Array::zeros({3}, DType::kF32);
  Adam adam(context, {value});
  adam.set_learning_rate(0.01);
  adam.step({Array::copy_of(std::vector<float>{5, -0.1F, 1000}, {3})});
  CHECK(adam.steps_done() == 1);
  CHECK(value.data<float>()[0] == Approx(-0.01).epsilon(1e-5));
  CHECK(value.data<float>()[1] == Approx(0.01).epsilon(1e-5));
  CHECK(value.data<float>()[2] == Approx(-0.01).epsilon(1e-5));
}

TEST_CASE("a value without a gradient stays, with its moments") {
  Context context;
  Array a = filled("a", 5);
  Array b = filled("b", 5);
  const Array b_before = b.clone();
  Adam adam(context, {a, b});
  adam.set_learning_rate(0.1);
  adam.step({filled("gradient", 5), Array()});
  CHECK(std::memcmp(b.data(), b_before.data(), b.bytes()) == 0);
  CHECK(adam.moments(1).first.data<float>()[0] == 0.0F);
  CHECK(adam.moments(0).first.data<float>()[0] != 0.0F);
}

TEST_CASE("Adam goes on from restored moments to the same bytes") {
  Context context;
  const auto run = [&](Adam& adam, int first, int last) {
    for (int step = first; step < last; ++step) {
      adam.set_learning_rate(step < 7 ? 1e-2 : 5e-3);
      adam.step({filled(text("g", step), 100)});
    }
  };
  Array whole = filled("value", 100);
  Adam undisturbed(context, {whole});
  run(undisturbed, 0, 12);

  Array value = filled("value", 100);
  Adam before(context, {value});
  run(before, 0, 5);
  Array moved = value.clone();
  Adam after(context, {moved});
  after.restore(before.steps_done(), {before.moments(0)});
  run(after, 5, 12);
  CHECK(std::memcmp(whole.data(), moved.data(), whole.bytes()) == 0);
  CHECK(after.steps_done() == 12);
}

TEST_CASE("Adam refuses moments and gradients that do not fit") {
  Context context;
  Adam adam(context, {filled("a", 4)});
  CHECK_THROWS_WITH(adam.step({}), Catch::Contains("1 tensors, found 0"));
  CHECK_THROWS_WITH(adam.restore(1, {{filled("m", 3), filled("v", 4)}}), Catch::Contains("f32[4]"));
}

TEST_CASE("a hundred steps of Adam end where PyTorch's do") {
  const Json file = golden("adam.json");
  Context context;
  Array value = Array::copy_of(file["start"].get<std::vector<float>>(), {64});
  Adam adam(context, {value});
  for (int step = 1; step <= 100; ++step) {
    adam.set_learning_rate(file["rates"][step > file["last_step_of_first_rate"] ? 1 : 0]);
    const CounterRandom random(file["seed"], text("adam.", step));
    Array gradient = Array::host({64}, DType::kF32);
    for (std::size_t i = 0; i < 64; ++i) {
      gradient.data<float>()[i] =
          static_cast<float>(file["scale"][i].get<double>() * (2 * random.uniform(i) - 1));
    }
    adam.step({gradient});
    const auto expected = file["after_step"].find(std::to_string(step));
    if (expected == file["after_step"].end()) continue;
    for (std::size_t i = 0; i < 64; ++i) {
      INFO("step " << step << ", value " << i);
      CHECK(std::abs(double{value.data<float>()[i]} - (*expected)[i].get<double>()) <= 1e-6);
    }
  }
}

TEST_CASE("learning rates are those of PyTorch's schedulers") {
  const Json file = golden("schedules.json");
  Schedule schedule;
  schedule.rate = file["rate"];
  for (const auto& [key, kind] :
       {std::pair{"step", ScheduleKind::kStep}, std::pair{"cosine", ScheduleKind::kCosine}}) {
    schedule.kind = kind;
    for (const auto& [epochs, rates] : file[key].items()) {
      schedule.epochs = std::stoll(epochs);
      for (std::size_t epoch = 0; epoch < rates.size(); ++epoch) {
        INFO(key << " over " << epochs << " epochs, epoch " << epoch);
        CHECK(schedule.at(static_cast<std::int64_t>(epoch), 0) ==
              Approx(rates[epoch].get<double>()).epsilon(1e-9).margin(1e-18));
      }
    }
  }
  const Json& cyclic = file["triangular2"];
  schedule = {ScheduleKind::kCyclic, cyclic["maximum"], cyclic["epochs"],
              cyclic["batches_per_epoch"], cyclic["half_cycle_epochs"]};
  CHECK(cyclic["at"].size() > 100);
  for (std::size_t i = 0; i < cyclic["at"].size(); ++i) {
    const std::int64_t step = cyclic["at"][i];
    INFO("step " << step);
    CHECK(schedule.at(step / schedule.batches_per_epoch, step % schedule.batches_per_epoch) ==
          Approx(cyclic["rates"][i].get<double>()).epsilon(1e-9));
  }
}

TEST_CASE("schedules without epochs to count stay finite") {
  for (const ScheduleKind kind : {ScheduleKind::kConstant, ScheduleKind::kStep,
                                  ScheduleKind::kCosine, ScheduleKind::kCyclic}) {
    const Schedule schedule{kind, 1e-3, 1, 1};
    const double rate = schedule.at(0, 0);
    CHECK(rate > 0);
    CHECK(rate <= 1e-3);
  }
}
