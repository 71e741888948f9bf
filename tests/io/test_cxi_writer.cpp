#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "io/cxi_writer.h"
#include "io/scan.h"
#include "tests/support.h"

using namespace ptynet;
using namespace ptynet::io;
using Catch::Contains;
using ptynet::tests::TemporaryFolder;

namespace {

// 8 keV, 2 m, 75 um, 64 px: object pixels of 64.5751 nm (docs/conventions.md).
CxiHeader header_of(DType type) {
  CxiHeader header;
  header.height = header.width = 64;
  header.type = type;
  header.energy_ev = 8000;
  header.distance_m = 2;
  header.detector_pixel_m = {75e-6, 75e-6};
  header.probe = Array::zeros({2, 64, 64}, DType::kC64);
  for (std::int64_t k = 0; k < header.probe.elements(); ++k) {
    header.probe.data<std::complex<float>>()[k] = {static_cast<float>(k % 97), 0.5F};
  }
  header.positions_px = {{0, 0}, {9, 2}, {100, 37}};
  header.program = "ptynet test";
  return header;
}

template <typename T>
Array frames_of(DType type) {
  Array out = Array::host({3, 64, 64}, type);
  for (std::int64_t k = 0; k < out.elements(); ++k) out.data<T>()[k] = static_cast<T>(k % 1000);
  return out;
}

std::string output_of(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string out;
  char buffer[4096];
  for (std::size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) out.append(buffer, n);
  REQUIRE(pclose(pipe) == 0);
  return out;
}

template <typename T>
void check_round_trip(DType type) {
  const TemporaryFolder folder;
  const CxiHeader header = header_of(type);
  const Array frames = frames_of<T>(type);
  CxiWriter writer(folder / "scan.cxi", header);
  writer.append(frames.slice(0, 1));
  writer.append(frames.slice(1, 2));
  CHECK_FALSE(std::filesystem::exists(folder / "scan.cxi"));
  writer.close();
  writer.commit();

  const ScanFile scan = open_scan({folder / "scan.cxi", "", true});
  CHECK(scan.format == "cxi");
  CHECK(scan.frames->dtype() == type);
  REQUIRE(scan.frames->count() == 3);
  CHECK(std::memcmp(scan.frames->read(0, 3).data(), frames.data(), frames.bytes()) == 0);
  REQUIRE(scan.positions.size() == 3);
  CHECK(scan.positions_are_centers);
  CHECK(scan.position_unit == PositionUnit::kMetre);
  CHECK(*scan.energy_ev == Approx(8000).epsilon(1e-12));
  CHECK(*scan.distance_m == 2);
  CHECK((*scan.detector_pixel_m)[0] == 75e-6);
  CHECK(scan.mask.empty());
  CHECK(scan.notes.empty());
  REQUIRE(scan.probe.shape() == header.probe.shape());
  CHECK(std::memcmp(scan.probe.data(), header.probe.data(), header.probe.bytes()) == 0);
  const double pixel_m = wavelength_m(8000) * 2 / (64 * 75e-6);
  for (std::size_t k = 0; k < 3; ++k) {
    CHECK(scan.positions[k].row / pixel_m - 32 == Approx(header.positions_px[k].row).margin(1e-9));
    CHECK(scan.positions[k].column / pixel_m - 32 ==
          Approx(header.positions_px[k].column).margin(1e-9));
  }
}

}  // namespace

TEST_CASE("a CXI file is read back as it was written") {
  check_round_trip<std::uint16_t>(DType::kU16);
  check_round_trip<std::uint32_t>(DType::kU32);
  check_round_trip<float>(DType::kF32);
}

TEST_CASE("a CXI file is what h5py and the field's readers of CXI expect") {
  const TemporaryFolder folder;
  CxiHeader header = header_of(DType::kU16);
  header.detector_pixel_m = {75e-6, 60e-6};
  CxiWriter writer(folder / "scan.cxi", header);
  writer.append(frames_of<std::uint16_t>(DType::kU16));
  writer.commit();
  const std::filesystem::path script = PTYNET_SOURCE_DIR "/tests/io/read_cxi.py";
  const auto report = nlohmann::json::parse(
      output_of("/usr/bin/python3 " + script.string() + " " + (folder / "scan.cxi").string()));
  CHECK(report["cxi_version"] == 160);
  CHECK(report["data"] == nlohmann::json::parse(R"(["uint16", [3, 64, 64], "gzip", true])"));
  CHECK(report["sum"] ==
        frames_of<std::uint16_t>(DType::kU16).elements() / 1000 * 499500 + 288 * 287 / 2);
  CHECK(report["probe"] == nlohmann::json::parse(R"(["complex64", [2, 64, 64]])"));
  CHECK(report["wavelength_m"].get<double>() == Approx(1.5498024804e-10).epsilon(1e-6));
  CHECK(report["distance_m"] == 2.0);
  CHECK(report["mask"] == false);
  CHECK(report["distance_from_corner_m"].get<double>() == Approx(2));
  // From frame 0 to 1 the beam moves 9 px down and 2 px to the right.
  CHECK(report["pixels_down"].get<double>() == Approx(9).epsilon(1e-5));
  CHECK(report["pixels_right"].get<double>() == Approx(2).epsilon(1e-5));
}

TEST_CASE("a CXI file of too few frames or impossible geometry is not written") {
  const TemporaryFolder folder;
  {
    CxiWriter writer(folder / "scan.cxi", header_of(DType::kU16));
    writer.append(frames_of<std::uint16_t>(DType::kU16).slice(0, 2));
    CHECK_THROWS_WITH(writer.close(), Contains("3 frames") && Contains("found 2"));
    CHECK_THROWS(writer.append(frames_of<float>(DType::kF32)));
  }
  CHECK(std::filesystem::is_empty(folder.path()));
  CxiHeader wrong = header_of(DType::kU16);
  wrong.distance_m = 0;
  CHECK_THROWS_WITH(CxiWriter(folder / "scan.cxi", wrong), Contains("distance"));
  wrong = header_of(DType::kU16);
  wrong.energy_ev = -1;
  CHECK_THROWS_WITH(CxiWriter(folder / "scan.cxi", wrong), Contains("energy"));
  CHECK(std::filesystem::is_empty(folder.path()));
}
