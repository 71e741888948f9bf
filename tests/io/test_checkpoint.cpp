#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "io/checkpoint.h"
#include "io/hdf5.h"
#include "io/sha256.h"
#include "tests/support.h"

namespace ptynet::io {

using Catch::Matchers::Contains;
using ptynet::tests::TemporaryFolder;

namespace {

Checkpoint sample() {
  Checkpoint c;
  c.job = "finetune";
  c.options = {{"--epochs", "300"}, {"weights sha256", std::string(64, 'a')}, {"--freeze", ""}};
  c.numbers = {{"epoch", 12}, {"loss_sum", 1.0 / 3}, {"r", std::nan("")}};
  c.series = {{"epoch", {1, 2}}, {"loss", {0.1, std::nan("")}}, {"nothing", {}}};
  c.tensors["weights"]["encoder.0.conv.weight"] =
      Array::copy_of<float>({1, -0.0F, 1e-42F, 4}, {2, 2, 1, 1});
  c.tensors["weights"]["norm.num_batches_tracked"] = Array::copy_of<std::int32_t>({5}, {1});
  c.tensors["canvas"]["object"] = Array::copy_of<std::complex<float>>({{1, 2}, {3, 4}}, {1, 2});
  c.tensors["exact"]["f64"] = Array::copy_of<double>({0.1}, {1});
  c.tensors["empty"];
  c.choices = {{"conv2d [1, 8, 8, 1] -> 2, 3x3", "tile of 4"}, {"gradient by w", "direct"}};
  c.chosen_on = "a device, its versions";
  return c;
}

bool same_bits(double a, double b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

}  // namespace

TEST_CASE("checkpoint: everything comes back with its bits", "[checkpoint]") {
  const TemporaryFolder folder;
  const Checkpoint written = sample();
  write_checkpoint(folder / "c.h5", written);
  const Checkpoint read = read_checkpoint(folder / "c.h5", "finetune");
  CHECK(read.options == written.options);
  REQUIRE(read.numbers.size() == written.numbers.size());
  for (const auto& [name, value] : written.numbers) CHECK(same_bits(read.number(name), value));
  REQUIRE(read.series.size() == written.series.size());
  for (const auto& [name, values] : written.series) {
    const std::vector<double>& found = read.series.at(name);
    REQUIRE(found.size() == values.size());
    for (std::size_t i = 0; i < values.size(); ++i) CHECK(same_bits(found[i], values[i]));
  }
  REQUIRE(read.tensors.size() == written.tensors.size());
  for (const auto& [group, tensors] : written.tensors) {
    REQUIRE(read.group(group).size() == tensors.size());
    for (const auto& [name, tensor] : tensors) {
      const Array& found = read.group(group).at(name);
      REQUIRE(describe(found) == describe(tensor));
      CHECK(std::memcmp(found.data(), tensor.data(), tensor.bytes()) == 0);
    }
  }
  CHECK(read.choices == written.choices);
  CHECK(read.chosen_on == written.chosen_on);
}

TEST_CASE("checkpoint: the same content gives the same bytes at another time", "[checkpoint]") {
  const TemporaryFolder folder;
  write_checkpoint(folder / "a.h5", sample());
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // HDF5's times are whole seconds
  write_checkpoint(folder / "b.h5", sample());
  CHECK(sha256_of_file(folder / "a.h5") == sha256_of_file(folder / "b.h5"));
}

TEST_CASE("checkpoint: another job's, other files and newer versions are refused", "[checkpoint]") {
  const TemporaryFolder folder;
  write_checkpoint(folder / "c.h5", sample());
  CHECK_THROWS_WITH(
      read_checkpoint(folder / "c.h5", "train"),
      Contains("expected a checkpoint of ptynet train, found one of ptynet finetune"));
  {
    Hdf5Writer file(folder / "other.h5");
    file.attribute("/", "format", "ptynet-weights");
    file.commit();
  }
  CHECK_THROWS_WITH(read_checkpoint(folder / "other.h5", "train"), Contains("ptynet-weights"));
  {
    Hdf5Writer file(folder / "newer.h5");
    file.attribute("/", "format", "ptynet-checkpoint");
    file.attribute("/", "format_version", 2);
    file.commit();
  }
  CHECK_THROWS_WITH(read_checkpoint(folder / "newer.h5", "train"), Contains("found 2"));
  CHECK_THROWS_AS(read_checkpoint(folder / "missing.h5", "train"), Error);
}

// Cut anywhere, a checkpoint is an error, never a crash: a resume must not run on garbage.
TEST_CASE("checkpoint: a file cut short is an error", "[checkpoint]") {
  const TemporaryFolder folder;
  write_checkpoint(folder / "c.h5", sample());
  const auto bytes = std::filesystem::file_size(folder / "c.h5");
  for (const double share : {0.0, 0.1, 0.5, 0.9, 0.99}) {
    std::filesystem::copy_file(folder / "c.h5", folder / "cut.h5",
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder / "cut.h5",
                                 static_cast<std::uintmax_t>(share * static_cast<double>(bytes)));
    CHECK_THROWS_AS(read_checkpoint(folder / "cut.h5", "finetune"), Error);
  }
}

TEST_CASE("checkpoint: a dataset that claims more than the file can hold is refused",
          "[checkpoint]") {
  const TemporaryFolder folder;
  {
    Hdf5Writer file(folder / "huge.h5");
    file.attribute("/", "format", "ptynet-checkpoint");
    file.attribute("/", "format_version", 1);
    file.attribute("/", "job", "finetune");
    // Zeros shrink to nothing: 64 MB of them in a file of some kB.
    file.create_growable("/tensors/weights/huge", {1 << 20}, DType::kF32, 9);
    const Array zeros = Array::zeros({16, 1 << 20}, DType::kF32);
    file.append("/tensors/weights/huge", zeros);
    file.commit();
  }
  CHECK_THROWS_WITH(read_checkpoint(folder / "huge.h5", "finetune"),
                    Contains("claims more elements than a file of this size can hold"));
}

TEST_CASE("checkpoint: other options are named with both values", "[checkpoint]") {
  const Checkpoint c = sample();
  CHECK_NOTHROW(expect_same_options("c.h5", c, c.options));
  auto other = c.options;
  other["--epochs"] = "30";
  CHECK_THROWS_WITH(expect_same_options("c.h5", c, other),
                    Contains("had --epochs 300, this one has 30"));
  other = c.options;
  other["--consistency"] = "10";
  CHECK_THROWS_WITH(expect_same_options("c.h5", c, other),
                    Contains("had --consistency none, this one has 10"));
  other = c.options;
  other.erase("weights sha256");
  CHECK_THROWS_WITH(expect_same_options("c.h5", c, other), Contains("weights sha256 aaaa"));
  CHECK_NOTHROW(expect_same_known_options("c.h5", c, other));
  other["--epochs"] = "30";
  CHECK_THROWS_WITH(expect_same_known_options("c.h5", c, other),
                    Contains("had --epochs 300, this one has 30"));
}

TEST_CASE("checkpoint: what is not there is named", "[checkpoint]") {
  const Checkpoint c = sample();
  CHECK_THROWS_WITH(c.number("batch"), Contains("no number 'batch'"));
  CHECK_THROWS_WITH(c.group("probe"), Contains("no tensors 'probe'"));
  Checkpoint wrong = c;
  wrong.numbers["a/b"] = 1;
  const TemporaryFolder folder;
  CHECK_THROWS_WITH(write_checkpoint(folder / "c.h5", wrong), Contains("a/b"));
  CHECK(std::filesystem::is_empty(folder.path()));
}

}  // namespace ptynet::io
