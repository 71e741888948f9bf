#include <cmath>
#include <complex>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/result.h"
#include "kernels/error.h"
#include "tests/support.h"

namespace {

using ptynet::Array;
using ptynet::DType;
using ptynet::io::Result;
using ptynet::io::ResultWriter;
using ptynet::tests::TemporaryFolder;

const float kNan = std::numeric_limits<float>::quiet_NaN();

Result small_result() {
  Result result;
  result.object = Array::copy_of(
      std::vector<std::complex<float>>{{1, 2}, {-3, 0}, {0, 0}, {0.5f, -0.25f}, {0, 1}, {2, 2}},
      {2, 3});
  result.coverage = Array::copy_of(std::vector<float>{1, 2, 0, 3, 4, 5.5f}, {2, 3});
  result.count = Array::copy_of(std::vector<std::uint32_t>{1, 1, 0, 2, 2, 3}, {2, 3});
  result.positions = {{-1.5, 2.25}, {0, 3}, {7, 1e-3}};
  result.frame_index = {10, 11, 40000000000};
  result.residual = {0.25f, kNan, 0.5f};
  result.residual_stitched = {0.3f, kNan, 0.6f};
  result.origin_px = {-2, 0};
  result.pixel_size_m = {8e-9, 9e-9};
  result.energy_ev = 8000.5;
  result.process.version = "0.1.0";
  result.process.command_line = "ptynet reconstruct \"a b.cxi\"";
  result.process.weights_sha256 = std::string(64, 'a');
  result.process.architecture = "ptynet-s";
  result.process.device = "cpu";
  result.process.precision = "fp32";
  result.process.seconds = 1.25;
  result.process.frames_per_second = 2.4;
  result.process.network_seconds = 0.75;
  result.process.overlap_offset_rms_rad = 0.125;
  result.process.overlap_spread_rms_rad = 0.0625;
  result.process.residual = 0.375;
  result.process.residual_flat = 0.9;
  result.process.more = {{"stitch", "probe"}};
  return result;
}

Array patches(std::int64_t n, float value) {
  Array out = Array::host({n, 2, 2}, DType::kF32);
  std::fill_n(out.data<float>(), out.elements(), value);
  return out;
}

template <typename T>
std::vector<T> values_of(const Array& array) {
  return {array.data<T>(), array.data<T>() + array.elements()};
}

std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  char buffer[4096];
  for (std::size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
  INFO(command << " printed " << out);
  REQUIRE(pclose(pipe) == 0);
  return out;
}

std::size_t files_in(const std::filesystem::path& folder) {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

}  // namespace

TEST_CASE("result: read back as written", "[result]") {
  const TemporaryFolder folder;
  const Result result = small_result();
  {
    ResultWriter writer(folder / "out.h5");
    writer.append_patches(patches(2, 1), patches(2, 2));
    CHECK_FALSE(std::filesystem::exists(folder / "out.h5"));
    writer.append_patches(patches(1, 3), patches(1, 4));
    writer.finish(result);
  }
  CHECK(files_in(folder.path()) == 1);
  const Result back = ptynet::io::read_result(folder / "out.h5");
  CHECK(back.object.shape() == ptynet::Shape{2, 3});
  CHECK(values_of<std::complex<float>>(back.object) ==
        values_of<std::complex<float>>(result.object));
  CHECK(values_of<float>(back.coverage) == values_of<float>(result.coverage));
  CHECK(values_of<std::uint32_t>(back.count) == values_of<std::uint32_t>(result.count));
  REQUIRE(back.positions.size() == 3);
  CHECK(back.positions[0].row == -1.5);
  CHECK(back.positions[0].column == 2.25);
  CHECK(back.frame_index == result.frame_index);
  CHECK(back.residual[2] == 0.5f);
  CHECK(std::isnan(back.residual[1]));
  CHECK(back.residual_stitched[0] == 0.3f);
  CHECK(back.origin_px == result.origin_px);
  CHECK(back.pixel_size_m == result.pixel_size_m);
  CHECK(back.energy_ev == result.energy_ev);
  CHECK(back.process.command_line == result.process.command_line);
  CHECK(back.process.residual == 0.375);
  CHECK_FALSE(back.process.residual_mean.has_value());
  CHECK(back.process.overlap_offset_rms_rad == 0.125);
  CHECK(back.process.overlap_spread_rms_rad == 0.0625);
  const auto amplitude = values_of<float>(result.amplitude()),
             phase = values_of<float>(result.phase_rad());
  CHECK(amplitude[0] == Approx(std::sqrt(5.0)));
  CHECK(phase[1] == Approx(std::acos(-1.0)));
  CHECK(phase[2] == 0);
}

TEST_CASE("result: h5py reads it", "[result]") {
  const TemporaryFolder folder;
  ResultWriter writer(folder / "out.h5");
  writer.append_patches(patches(2, 1), patches(2, 2));
  writer.append_patches(patches(1, 3), patches(1, 4));
  writer.finish(small_result());
  const auto script = std::filesystem::path(__FILE__).parent_path() / "read_result.py";
  const auto report = nlohmann::json::parse(
      output_of("/usr/bin/python3 " + script.string() + " " + (folder / "out.h5").string()));
  const auto expected = nlohmann::json::parse(R"({
    "format": ["ptynet-result", 1],
    "names": ["amplitude", "count", "coverage", "frame_index", "object", "patches", "phase", "positions", "process", "residual", "residual_stitched"],
    "dtypes": {"object": "complex64", "amplitude": "float32", "phase": "float32", "coverage": "float32", "count": "uint32",
               "positions": "float64", "frame_index": "int64", "residual": "float32", "residual_stitched": "float32"},
    "shape": [2, 3],
    "object": [[1.0, 2.0], [-3.0, 0.0], [0.0, 0.0], [0.5, -0.25], [0.0, 1.0], [2.0, 2.0]],
    "polar": true,
    "coverage": [1.0, 2.0, 0.0, 3.0, 4.0, 5.5],
    "count": [1, 1, 0, 2, 2, 3],
    "positions": [[-1.5, 2.25], [0.0, 3.0], [7.0, 0.001]],
    "frame_index": [10, 11, 40000000000],
    "residual_nan": [false, true, false],
    "dark": 1,
    "patch_shapes": [[3, 2, 2], [3, 2, 2]],
    "patch_sums": [4.0, 4.0, 12.0],
    "pixel_size_m": [8e-9, 9e-9],
    "origin_px": [-2.0, 0.0],
    "energy_ev": 8000.5,
    "process": {"program": "ptynet", "version": "0.1.0", "command_line": "ptynet reconstruct \"a b.cxi\"", "architecture": "ptynet-s",
                "device": "cpu", "precision": "fp32", "seconds": 1.25, "frames_per_second": 2.4, "network_seconds": 0.75, "overlap_offset_rms_rad": 0.125,
                "overlap_spread_rms_rad": 0.0625, "residual": 0.375,
                "residual_flat_object": 0.9, "stitch": "probe"}
  })");
  for (const auto& [key, value] : expected.items()) {
    INFO(key);
    auto found = report[key];
    if (key == "process") {
      CHECK(found["weights_sha256"] == std::string(64, 'a'));
      found.erase("weights_sha256");
    }
    CHECK(found == value);
  }
  CHECK(report["origin_m"][0].get<double>() == Approx(-16e-9));
}

TEST_CASE("result: what is not known is left out", "[result]") {
  const TemporaryFolder folder;
  Result result = small_result();
  result.residual.clear();
  result.residual_stitched.clear();
  result.pixel_size_m.reset();
  result.energy_ev.reset();
  result.process = {};
  ResultWriter(folder / "out.h5").finish(result);
  const Result back = ptynet::io::read_result(folder / "out.h5");
  CHECK(back.residual.empty());
  CHECK_FALSE(back.pixel_size_m.has_value());
  CHECK_FALSE(back.origin_m().has_value());
  CHECK_FALSE(back.energy_ev.has_value());
  CHECK_FALSE(back.process.seconds.has_value());
  CHECK_FALSE(ptynet::io::Hdf5Reader(folder / "out.h5").exists("/patches"));
}

TEST_CASE("result: written, it lies whole beside its name until the commit", "[result]") {
  const TemporaryFolder folder;
  {
    ResultWriter writer(folder / "out.h5");
    writer.write(small_result());
    CHECK_FALSE(std::filesystem::exists(folder / "out.h5"));
    REQUIRE(files_in(folder.path()) == 1);
    const auto beside = std::filesystem::directory_iterator(folder.path())->path();
    CHECK(ptynet::io::read_result(beside).positions.size() == 3);
    CHECK_THROWS_AS(writer.write(small_result()), ptynet::Error);
    writer.commit();
  }
  CHECK(ptynet::io::read_result(folder / "out.h5").positions.size() == 3);
  { ResultWriter(folder / "other.h5").write(small_result()); }
  CHECK(files_in(folder.path()) == 1);
}

TEST_CASE("result: no output takes the place of an input", "[result]") {
  namespace fs = std::filesystem;
  using Catch::Matchers::Contains;
  const TemporaryFolder folder;
  std::ofstream(folder / "scan.npy") << "data";
  fs::create_symlink(folder / "scan.npy", folder / "link.npy");
  fs::create_hard_link(folder / "scan.npy", folder / "hard.npy");
  for (const char* name : {"scan.npy", "link.npy", "hard.npy", "./scan.npy"}) {
    CHECK_THROWS_WITH(ptynet::io::expect_no_input(folder / name, {"", folder / "scan.npy"}),
                      Contains("is the input"));
  }
  ptynet::io::expect_no_input(folder / "new.h5", {"", folder / "scan.npy", folder / "none"});
}

TEST_CASE("result: a job that stops leaves nothing, or the old file", "[result]") {
  const TemporaryFolder folder;
  ResultWriter(folder / "out.h5").finish(small_result());
  {
    ResultWriter writer(folder / "out.h5");
    writer.append_patches(patches(2, 1), patches(2, 2));
  }
  CHECK(files_in(folder.path()) == 1);
  CHECK(ptynet::io::read_result(folder / "out.h5").positions.size() == 3);
}

TEST_CASE("result: parts that do not fit each other are refused", "[result]") {
  using Catch::Matchers::Contains;
  const TemporaryFolder folder;
  const auto path = folder / "out.h5";
  Result result = small_result();
  result.coverage = Array::zeros({3, 2}, DType::kF32);
  CHECK_THROWS_WITH(ResultWriter(path).finish(result),
                    Contains("expected /coverage as f32[2, 3], found f32[3, 2]"));
  result = small_result();
  result.frame_index.pop_back();
  CHECK_THROWS_WITH(ResultWriter(path).finish(result),
                    Contains("expected 3 values in /frame_index"));
  result = small_result();
  result.object = Array();
  CHECK_THROWS_WITH(ResultWriter(path).finish(result), Contains("expected /object as c64"));
  {
    ResultWriter writer(path);
    writer.append_patches(patches(2, 1), patches(2, 2));
    CHECK_THROWS_WITH(writer.finish(small_result()), Contains("expected 3 values in /patches"));
  }
  {
    ResultWriter writer(path);
    CHECK_THROWS_AS(writer.append_patches(patches(2, 1), patches(1, 2)), ptynet::Error);
    writer.append_patches(patches(2, 1), patches(2, 2));
    const Array wider = Array::zeros({1, 2, 3}, DType::kF32);
    CHECK_THROWS_WITH(writer.append_patches(wider, wider), Contains("with [h, w] = [2, 2]"));
  }
  CHECK(files_in(folder.path()) == 0);
}

TEST_CASE("result: other files are refused", "[result]") {
  using Catch::Matchers::Contains;
  const TemporaryFolder folder;
  CHECK_THROWS_AS(ptynet::io::read_result(folder / "none.h5"), ptynet::Error);
  std::ofstream(folder / "text.h5") << "not HDF5\n";
  CHECK_THROWS_AS(ptynet::io::read_result(folder / "text.h5"), ptynet::Error);
  {
    ptynet::io::Hdf5Writer other(folder / "other.h5");
    other.write("/object", small_result().object);
    other.commit();
  }
  CHECK_THROWS_WITH(ptynet::io::read_result(folder / "other.h5"),
                    Contains("expected a result file of ptynet"));
  {
    ptynet::io::Hdf5Writer newer(folder / "newer.h5");
    newer.attribute("/", "format", "ptynet-result");
    newer.attribute("/", "format_version", std::int64_t{2});
    newer.commit();
  }
  CHECK_THROWS_WITH(ptynet::io::read_result(folder / "newer.h5"), Contains("found version 2"));
}

TEST_CASE("result: memory does not grow with the number of patches", "[result]") {
  const auto resident_kb = [] {
    std::ifstream status("/proc/self/status");
    std::string word;
    while (status >> word) {
      if (word == "VmRSS:") break;
    }
    long kilobytes = 0;
    status >> kilobytes;
    return kilobytes;
  };
  const TemporaryFolder folder;
  ResultWriter writer(folder / "out.h5");
  const Array batch = Array::zeros({16, 128, 128}, DType::kF32);
  for (int i = 0; i < 8; ++i) writer.append_patches(batch, batch);
  const long before = resident_kb();
  for (int i = 0; i < 64; ++i) writer.append_patches(batch, batch);  // 128 MiB more
  CHECK(resident_kb() - before < 16 * 1024);
}
