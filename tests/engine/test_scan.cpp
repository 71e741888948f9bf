#include <cmath>
#include <complex>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/scan.h"
#include "io/hdf5.h"
#include "io/npy.h"
#include "kernels/error.h"
#include "tests/catch.h"
#include "tests/support.h"

namespace {

using namespace ptynet;
using ptynet::tests::reference_folder;
using ptynet::tests::TemporaryFolder;

std::filesystem::path data(const std::string& name) { return *reference_folder() / "data" / name; }

nlohmann::json expected(const std::string& name) {
  std::ifstream file(*reference_folder() / "expected.json");
  return nlohmann::json::parse(file).at(name);
}

std::string message_of(const ScanOptions& options) {
  try {
    Scan::open(options);
  } catch (const Error& error) {
    CHECK(error.fault() == Fault::kInput);
    return error.what();
  }
  return "no error";
}

bool contains(const std::string& whole, const std::string& part) {
  INFO(whole);
  CHECK(whole.find(part) != std::string::npos);
  return whole.find(part) != std::string::npos;
}

template <typename T>
std::string write(const TemporaryFolder& folder, const std::string& name,
                  const std::vector<T>& values, const Shape& shape) {
  io::write_npy(folder / name, Array::copy_of(values, shape));
  return (folder / name).string();
}

// Six frames of 4 x 4; pixel k of frame n holds 100 n + k.
std::string six_frames(const TemporaryFolder& folder) {
  std::vector<std::uint16_t> values;
  for (int k = 0; k < 6 * 16; ++k) {
    values.push_back(static_cast<std::uint16_t>(100 * (k / 16) + k % 16));
  }
  return write(folder, "frames.npy", values, {6, 4, 4});
}

std::string six_positions(const TemporaryFolder& folder) {
  return write<double>(folder, "positions.npy", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, {6, 2});
}

ScanOptions six(const TemporaryFolder& folder) {
  ScanOptions options;
  options.path = six_frames(folder);
  options.positions = six_positions(folder);
  options.positions_unit = io::PositionUnit::kPixel;
  return options;
}

void check_position(const Scan& scan, std::size_t index, double row, double column) {
  INFO("position " << index);
  CHECK(scan.positions_px().at(index).row == Approx(row).margin(1e-9));
  CHECK(scan.positions_px().at(index).column == Approx(column).margin(1e-9));
}

}  // namespace

TEST_CASE("the siemens star is read with its corner, positions and probe") {
  PTYNET_NEED_REFERENCE();
  const auto known = expected("siemens-star");
  ScanOptions options;
  options.path = data("siemens-star-small.npz").string();
  Scan scan = Scan::open(options);
  CHECK(scan.count() == known["frames"][0]);
  CHECK(scan.height() == known["frames"][1]);
  CHECK(scan.width() == known["frames"][2]);
  check_position(scan, 0, known["positions_px_first"][0], known["positions_px_first"][1]);
  check_position(scan, 515, known["positions_px_last"][0], known["positions_px_last"][1]);

  double energy = 0;
  const auto* probe = scan.probe().data<std::complex<float>>();
  for (std::int64_t k = 0; k < scan.probe().elements(); ++k) energy += std::norm(probe[k]);
  CHECK(energy == Approx(double{known["probe_energy"]}).epsilon(1e-5));

  // fftshift of the stored frame, and the sum of what is there.
  const Array stored = io::NpzFile(options.path).read("data", DType::kF32);
  double counts = 0;
  bool shifted = true;
  for (std::int64_t first = 0; first < scan.count(); first += 100) {
    const std::int64_t n = std::min<std::int64_t>(100, scan.count() - first);
    const Array frames = scan.read(first, n);
    for (std::int64_t k = 0; k < frames.elements(); ++k) {
      const float value = frames.data<float>()[k];
      counts += static_cast<double>(value);
      const std::int64_t frame = first + k / (128 * 128);
      const std::int64_t row = (k / 128 + 64) % 128;
      const std::int64_t column = (k + 64) % 128;
      shifted = shifted && value == stored.data<float>()[(frame * 128 + row) * 128 + column];
    }
  }
  CHECK(shifted);
  options.positions_unit = io::PositionUnit::kMetre;  // tike's are pixels
  contains(message_of(options), "leave out --positions-unit");
  options.positions_unit = io::PositionUnit::kPixel;
  CHECK(Scan::open(options).count() == 516);
  CHECK(counts / 516 == Approx(double{known["counts_mean_per_frame"]}).epsilon(1e-6));
}

TEST_CASE("the PETRA III file is read with mask, geometry and positions in metres") {
  PTYNET_NEED_REFERENCE();
  const auto known = expected("petra3-p25-near-field.cxi");
  ScanOptions options;
  options.path = data("petra3-p25-near-field.cxi").string();
  Scan scan = Scan::open(options);
  CHECK(scan.count() == known["frames"][0]);
  CHECK(scan.file().near_field);
  // Geometry of the command line is judged too: at 4 m the field of view is wide enough.
  options.distance_m = 4;
  CHECK_FALSE(Scan::open(options).file().near_field);

  std::int64_t good = 0;
  const auto* mask = scan.mask().data<std::uint8_t>();
  for (std::int64_t k = 0; k < scan.mask().elements(); ++k) good += mask[k];
  CHECK(good == known["good_pixels"]);
  const Array frame = scan.read(17, 1);
  for (std::int64_t k = 0; k < 10000; ++k) {
    if (mask[k] == 0) CHECK(frame.data<float>()[k] == -1.0F);
  }

  const double pixel = double{known["wavelength_m"]} * double{known["distance_m"]} /
                       (100 * double{known["pixel_size_m"][0]});
  REQUIRE(scan.object_pixel_m());
  CHECK((*scan.object_pixel_m())[0] == Approx(pixel).epsilon(1e-6));
  CHECK((*scan.object_pixel_m())[1] == Approx(pixel).epsilon(1e-6));
  // Translations move the sample along x and y; io/ has its own tests of axes and signs.
  const auto& first = known["translation_m_first"];
  const auto& last = known["translation_m_last"];
  const auto& p = scan.positions_px();
  const double x = (double{last[0]} - double{first[0]}) / pixel;
  const double y = (double{last[1]} - double{first[1]}) / pixel;
  CHECK(std::hypot(p[199].row - p[0].row, p[199].column - p[0].column) ==
        Approx(std::hypot(x, y)).epsilon(1e-6));
}

TEST_CASE("the cat scan takes its positions from a file, the 0 % scan from a raster") {
  PTYNET_NEED_REFERENCE();
  ScanOptions options;
  options.path = data("cat-demo-probe/intensity.npy").string();
  options.positions = data("cat-demo-probe/positions.npy").string();
  contains(message_of(options), "--positions-unit");
  options.positions_unit = io::PositionUnit::kPixel;
  options.probe = data("demo-probe.npy").string();
  Scan cat = Scan::open(options);
  const Array table = io::read_npy(options.positions, DType::kF64);
  REQUIRE(cat.count() == 49);
  for (std::size_t k = 0; k < 49; ++k) {
    check_position(cat, k, table.data<double>()[2 * k], table.data<double>()[2 * k + 1]);
  }
  CHECK(cat.probe().shape() == Shape{1, 128, 128});
  const Array stored = io::read_npy(options.path, DType::kF32);
  const Array frames = cat.read(0, 49);
  CHECK(std::equal(frames.data<float>(), frames.data<float>() + frames.elements(),
                   stored.data<float>()));

  ScanOptions raster;
  raster.path = data("ptynet-scan-0overlap/intensity.npy").string();
  raster.raster = {5, 5};
  raster.raster_step_px = 128;
  const Scan grid = Scan::open(raster);
  check_position(grid, 0, 0, 0);
  check_position(grid, 4, 0, 512);
  check_position(grid, 5, 128, 0);
  check_position(grid, 24, 512, 512);
}

TEST_CASE("order comes before sign, and both before the unit") {
  const TemporaryFolder folder;
  ScanOptions options = six(folder);
  check_position(Scan::open(options), 1, 2, 3);
  options.positions_order = "xy";
  check_position(Scan::open(options), 1, 3, 2);
  options.positions_sign = "-+";
  check_position(Scan::open(options), 1, -3, 2);
  options.positions_sign = "+-";
  check_position(Scan::open(options), 1, 3, -2);
  options.positions_order = "yx";
  contains(message_of(options), "rc or xy, found 'yx'");
  options.positions_order = "rc";
  options.positions_sign = std::string("+");
  contains(message_of(options), "found '+'");
}

TEST_CASE("positions in lengths become object pixels") {
  const TemporaryFolder folder;
  ScanOptions options = six(folder);
  options.positions_unit = io::PositionUnit::kMetre;
  options.positions_scale = 1e-6;
  contains(message_of(options), "give --energy, --distance, --detector-pixel, or");
  options.energy_ev = 8000;
  options.distance_m = 2;
  contains(message_of(options), "give --detector-pixel, or");
  options.detector_pixel_m = 75e-6;
  // 1.2398419843320025e-6 eV m / 8000 eV * 2 m / (4 * 75e-6 m)
  const double pixel = 1.2398419843320025e-6 / 8000 * 2 / (4 * 75e-6);
  const Scan scan = Scan::open(options);
  CHECK((*scan.object_pixel_m())[0] == Approx(pixel).epsilon(1e-12));
  check_position(scan, 1, 2e-6 / pixel, 3e-6 / pixel);
  CHECK(*scan.energy_ev() == 8000);
  options.object_pixel_size_m = 5e-7;
  check_position(Scan::open(options), 1, 4, 6);
  CHECK((*Scan::open(options).object_pixel_m())[1] == 5e-7);
  options.energy_ev = -8000;
  contains(message_of(options), "--energy over 0 eV, found -8000");
}

TEST_CASE("cropping enlarges the object pixel, binning shrinks the field of view") {
  const TemporaryFolder folder;
  ScanOptions options;
  std::vector<std::uint16_t> frame(2 * 32 * 48, 1);
  options.path = write(folder, "frames.npy", frame, {2, 32, 48});
  options.positions = write<double>(folder, "positions.npy", {10, 20, 110, 220}, {2, 2});
  options.positions_unit = io::PositionUnit::kPixel;
  options.energy_ev = 10000;
  options.distance_m = 1;
  options.detector_pixel_m = 1e-4;
  const double length = 1.2398419843320025e-10 / 1e-4;  // object pixel times extent, m
  check_position(Scan::open(options), 1, 110, 220);
  CHECK((*Scan::open(options).object_pixel_m())[1] == Approx(length / 48).epsilon(1e-12));

  options.crop = 16;
  const Scan cropped = Scan::open(options);
  CHECK((*cropped.object_pixel_m())[0] == Approx(length / 16).epsilon(1e-12));
  check_position(cropped, 1, 55, 220.0 / 3);
  REQUIRE(cropped.notes().size() == 1);
  contains(cropped.notes()[0], "0.5 and 0.333333 times");

  // Binned by 2, the patch keeps its middle: 8 of 16 pixels, beginning 4 further on.
  options.bin = 2;
  const Scan binned = Scan::open(options);
  CHECK(binned.height() == 8);
  CHECK((*binned.object_pixel_m())[0] == Approx(length / 16).epsilon(1e-12));
  check_position(binned, 1, 55 + 4, 220.0 / 3 + 4);

  // In metres the same places come out.
  const Array table = Array::copy_of<double>(
      {10 * length / 32, 20 * length / 48, 110 * length / 32, 220 * length / 48}, {2, 2});
  io::write_npy(folder / "metres.npy", table);
  options.positions = (folder / "metres.npy").string();
  options.positions_unit = io::PositionUnit::kMetre;
  check_position(Scan::open(options), 1, 55 + 4, 220.0 / 3 + 4);

  // A transposed detector has 32 columns; positions are the beam's, and stay.
  options.crop = 0;
  options.bin = 1;
  options.orientation = "transpose";
  const Scan turned = Scan::open(options);
  CHECK(turned.height() == 48);
  CHECK((*turned.object_pixel_m())[0] == Approx(length / 48).epsilon(1e-12));
  check_position(turned, 1, 110.0 * 48 / 32, 220.0 * 32 / 48);
}

namespace {

// An EIGER master of one frame of 8 x 16, pixels of 50 um (rows) and 100 um (columns), pixel (0, 1)
// faulty, beam centre as said.
std::string eiger(const TemporaryFolder& folder, double row, double column) {
  const std::filesystem::path path = folder / "eiger_master.h5";
  io::Hdf5Writer writer(path);
  const auto number = [&](const std::string& name, double value) {
    writer.write("/entry/instrument/detector/" + name, Array::copy_of<double>({value}, {1}));
  };
  for (const char* group :
       {"/entry", "/entry/data", "/entry/instrument", "/entry/instrument/detector"}) {
    writer.group(group);
  }
  std::vector<std::uint16_t> counts(8 * 16);
  for (std::size_t k = 0; k < counts.size(); ++k) counts[k] = static_cast<std::uint16_t>(k);
  writer.write("/entry/data/data_000001", Array::copy_of(counts, {1, 8, 16}));
  number("detector_distance", 1);
  number("y_pixel_size", 50e-6);
  number("x_pixel_size", 100e-6);
  number("beam_center_y", row);
  number("beam_center_x", column);
  std::vector<std::uint32_t> faults(8 * 16, 0);
  faults[1] = 1;
  writer.write("/entry/instrument/detector/pixel_mask", Array::copy_of(faults, {8, 16}));
  writer.commit();
  return path.string();
}

}  // namespace

TEST_CASE("the file's beam centre is the zero frequency, unless it was never told") {
  const TemporaryFolder folder;
  ScanOptions options;
  options.path = eiger(folder, 2.6, 9);
  Scan scan = Scan::open(options);
  // Stored pixel (3, 9) comes to (4, 8).
  CHECK(scan.read(0, 1).data<float>()[4 * 16 + 8] == 3 * 16 + 9);
  contains(scan.notes().back(), "pixel 3,9 of the stored frame, from the file's beam centre 2.6,9");
  options.center_px = {4, 8};
  CHECK(Scan::open(options).read(0, 1).data<float>()[4 * 16 + 8] == 4 * 16 + 8);
  options.center_px.reset();

  for (const auto& [row, column] : {std::pair{0.0, 0.0}, {20.0, 3.0}}) {
    options.path = eiger(folder, row, column);
    scan = Scan::open(options);
    CHECK(scan.read(0, 1).data<float>()[4 * 16 + 8] == 4 * 16 + 8);
    contains(scan.notes().back(), "the middle of the frame is taken");
  }
}

TEST_CASE("detector pixel, file's mask and given mask turn with the frame") {
  const TemporaryFolder folder;
  ScanOptions options;
  options.path = eiger(folder, 4, 8);
  options.energy_ev = 10000;
  std::vector<std::uint8_t> mask(8 * 16, 1);
  mask[2] = 0;
  options.mask = write(folder, "mask.npy", mask, {8, 16});
  Scan scan = Scan::open(options);
  const double length = 1.2398419843320025e-10;
  CHECK((*scan.object_pixel_m())[0] == Approx(length / (8 * 50e-6)).epsilon(1e-9));
  CHECK((*scan.object_pixel_m())[1] == Approx(length / (16 * 100e-6)).epsilon(1e-9));
  const auto good = [&](std::int64_t k) { return scan.mask().data<std::uint8_t>()[k] == 1; };
  CHECK((good(0) && !good(1) && !good(2) && good(3)));
  options.orientation = "transpose";
  scan = Scan::open(options);
  CHECK((*scan.object_pixel_m())[0] == Approx(length / (16 * 100e-6)).epsilon(1e-9));
  CHECK((*scan.object_pixel_m())[1] == Approx(length / (8 * 50e-6)).epsilon(1e-9));
  CHECK((good(0) && !good(8) && !good(16) && good(24)));
}

TEST_CASE("the option --center is a stored pixel, rounded to the nearest with a note") {
  const TemporaryFolder folder;
  ScanOptions options = six(folder);
  options.center_px = {1, 3};
  Scan scan = Scan::open(options);
  CHECK(scan.notes().empty());
  // Row 1 comes to row 2 and column 3 to column 2.
  const Array frame = scan.read(0, 1);
  const std::vector<float> found(frame.data<float>(), frame.data<float>() + 16);
  CHECK(found == std::vector<float>{-1, -1, -1, -1, 1, 2, 3, -1, 5, 6, 7, -1, 9, 10, 11, -1});
  CHECK(scan.mask().data<std::uint8_t>()[3] == 0);
  CHECK(scan.mask().data<std::uint8_t>()[6] == 1);

  options.center_px = {1.5, 1.6};
  scan = Scan::open(options);
  CHECK(scan.read(0, 1).data<float>()[2 * 4 + 2] == 2 * 4 + 2);
  REQUIRE(scan.notes().size() == 1);
  contains(scan.notes()[0], "pixel 2,2 of the stored frame, from --center 1.5,1.6");
  options.center_px = {4, 1};
  contains(message_of(options), "4 x 4 pixels, found 4,1");
  options.center_px = {1, 1};
  options.zero_frequency = io::ZeroFrequency::kCorner;
  contains(message_of(options), "--zero-frequency center");
}

TEST_CASE("file's mask and given mask, dark image, and both in the stored orientation") {
  const TemporaryFolder folder;
  ScanOptions options = six(folder);
  std::vector<std::uint8_t> mask(16, 1);
  mask[1] = 0;
  options.mask = write(folder, "mask.npy", mask, {4, 4});
  std::vector<float> dark(16, 0);
  dark[4] = 3;
  options.dark = write(folder, "dark.npy", dark, {4, 4});
  options.orientation = "transpose";
  Scan scan = Scan::open(options);
  const Array frame = scan.read(1, 1);
  CHECK(frame.data<float>()[4] == -1.0F);
  CHECK(frame.data<float>()[1] == 104 - 3);
  CHECK(frame.data<float>()[6] == 109);

  options.mask = write<std::uint8_t>(folder, "small.npy", {1, 1, 1, 1}, {2, 2});
  contains(message_of(options), "4 x 4, found [2, 2]");
}

TEST_CASE("frames, positions and numbers are chosen together") {
  const TemporaryFolder folder;
  ScanOptions options = six(folder);
  options.frames = {2, 5};
  Scan scan = Scan::open(options);
  CHECK(scan.count() == 3);
  CHECK(scan.frame_index() == std::vector<std::int64_t>{2, 3, 4});
  REQUIRE(scan.positions_px().size() == 3);
  check_position(scan, 0, 4, 5);
  CHECK(scan.read(1, 2).data<float>()[0] == 300);
  CHECK(scan.read(1, 2).shape() == Shape{2, 4, 4});
  CHECK_THROWS_AS(scan.read(2, 2), Error);
  CHECK_THROWS_AS(scan.read(-1, 1), Error);
  options.frames = {3, 7};
  contains(message_of(options), "0 <= A < B <= 6, found 3:7");
  options.frames = {3, 3};
  contains(message_of(options), "found 3:3");
}

TEST_CASE("positions that do not fit the frames are refused") {
  const TemporaryFolder folder;
  ScanOptions options = six(folder);
  options.positions = write<double>(folder, "five.npy", std::vector<double>(10, 1), {5, 2});
  const std::string message = message_of(options);
  contains(message, "6 frames");
  contains(message, "found 5 positions");
  std::vector<double> broken(12, 1);
  broken[7] = std::numeric_limits<double>::quiet_NaN();
  options.positions = write(folder, "broken.npy", broken, {6, 2});
  contains(message_of(options), "position of frame 3");
  contains(message_of(options), "leave the frame out with --frames");
  options.frames = {0, 3};
  CHECK(Scan::open(options).positions_px().size() == 3);
  options.frames = {3, 5};
  contains(message_of(options), "position of frame 3");
  options.frames.reset();
  options.positions = write<double>(folder, "wide.npy", std::vector<double>(24, 1), {6, 4});
  contains(message_of(options), "6 x 4");
  options.raster = {2, 3};
  options.raster_step_px = 4;
  contains(message_of(options), "found both");
  options.positions.clear();
  CHECK(Scan::open(options).positions_px().size() == 6);
  options.raster = {2, 4};
  contains(message_of(options), "6 frames, found 2x4");
  options.raster_step_px.reset();
  contains(message_of(options), "only one of them");
}

namespace {

// A CXI file of 4 frames of 8 x 8 whose own positions are `moves`.
std::string cxi(const TemporaryFolder& folder, const Array& moves) {
  const std::filesystem::path path = folder / "scan.cxi";
  io::Hdf5Writer writer(path);
  writer.write("/cxi_version", Array::copy_of<std::int32_t>({160}, {1}));
  for (const char* group : {"/entry_1", "/entry_1/data_1", "/entry_1/instrument_1",
                            "/entry_1/instrument_1/detector_1", "/entry_1/instrument_1/source_1"}) {
    writer.group(group);
  }
  writer.write("/entry_1/data_1/data", Array::zeros({4, 8, 8}, DType::kU16));
  writer.write("/entry_1/data_1/translation", moves);
  const auto number = [&](const std::string& name, double value) {
    writer.write("/entry_1/instrument_1/" + name, Array::copy_of<double>({value}, {1}));
  };
  number("detector_1/distance", 2);
  number("detector_1/x_pixel_size", 75e-6);
  number("detector_1/y_pixel_size", 75e-6);
  number("source_1/wavelength", io::wavelength_m(8000));
  writer.commit();
  return path.string();
}

}  // namespace

TEST_CASE("a file whose own positions cannot be used takes others") {
  const TemporaryFolder folder;
  ScanOptions options;
  options.path = cxi(folder, Array::zeros({3, 2}, DType::kF64));
  contains(message_of(options), "found 2 columns");
  options.positions = write<double>(folder, "p.npy", {0, 0, 0, 5, 5, 0, 5, 5}, {4, 2});
  options.positions_unit = io::PositionUnit::kPixel;
  check_position(Scan::open(options), 3, 5, 5);
  options.positions.clear();
  options.positions_unit.reset();
  options.raster = {2, 2};
  options.raster_step_px = 3;
  check_position(Scan::open(options), 3, 3, 3);
}

TEST_CASE("geometry: the command line before the positions' file before the scan") {
  const TemporaryFolder folder;
  ScanOptions options;
  options.path = cxi(folder, Array::zeros({4, 3}, DType::kF64));
  const double length = 1.2398419843320025e-6 / (8 * 75e-6);  // m eV: times distance / energy
  CHECK((*Scan::open(options).object_pixel_m())[0] == Approx(length * 2 / 8000).epsilon(1e-9));

  const std::filesystem::path product = folder / "product.h5";
  io::Hdf5Writer writer(product);
  writer.write("/probe_position_x_m", Array::copy_of<double>({0, 1e-6, 2e-6, 3e-6}, {4}));
  writer.write("/probe_position_y_m", Array::copy_of<double>({0, 4e-6, 5e-6, 6e-6}, {4}));
  writer.attribute("/", "probe_energy_eV", 10000.0);
  writer.attribute("/", "detector_object_distance_m", 3.0);
  writer.commit();
  options.positions = product.string();
  Scan scan = Scan::open(options);
  CHECK(*scan.energy_ev() == 10000);
  const double pixel = length * 3 / 10000;
  CHECK((*scan.object_pixel_m())[0] == Approx(pixel).epsilon(1e-9));
  check_position(scan, 1, 4e-6 / pixel - 4, 1e-6 / pixel - 4);
  REQUIRE(scan.notes().size() == 2);
  contains(scan.notes()[0], "10000 is taken, not the scan's 8000");
  contains(scan.notes()[1], "3 is taken, not the scan's 2");

  options.energy_ev = 9000;
  CHECK((*Scan::open(options).object_pixel_m())[0] == Approx(length * 3 / 9000).epsilon(1e-9));
}

namespace {

// A probe of n x n with the geometry of cxi(), but for the distance and the detector pixel.
std::string probe_file(const TemporaryFolder& folder, std::int64_t n, double distance_m,
                       double detector_pixel_m = 75e-6) {
  const std::filesystem::path path = folder / "probe.cxi";
  io::Hdf5Writer writer(path);
  const std::string instrument = "/entry_1/instrument_1/";
  const auto number = [&](const std::string& name, double value) {
    writer.write(instrument + name, Array::copy_of<double>({value}, {1}));
  };
  number("detector_1/distance", distance_m);
  number("detector_1/x_pixel_size", detector_pixel_m);
  number("detector_1/y_pixel_size", detector_pixel_m);
  number("source_1/wavelength", io::wavelength_m(8000));
  const std::vector<std::complex<float>> ones(static_cast<std::size_t>(n * n), {1, 0});
  writer.write(instrument + "source_1/illumination", Array::copy_of(ones, {n, n}));
  writer.commit();
  return path.string();
}

// A level probe of 8 x 8 whose pixel its dataset says, as ptychodus writes it.
std::string product_probe(const TemporaryFolder& folder, double pixel_m) {
  const std::filesystem::path path = folder / "probe.h5";
  io::Hdf5Writer writer(path);
  const std::vector<std::complex<float>> ones(64, {1, 0});
  writer.write("/probe", Array::copy_of(ones, {8, 8}));
  writer.attribute("/probe", "pixel_height_m", pixel_m);
  writer.attribute("/probe", "pixel_width_m", pixel_m);
  writer.commit();
  return path.string();
}

}  // namespace

TEST_CASE("a probe of another pixel size than the scan's is told of") {
  const TemporaryFolder folder;
  ScanOptions options;
  options.path = cxi(folder, Array::zeros({4, 3}, DType::kF64));
  const auto warnings = [&options](const std::string& probe) {
    options.probe = probe;
    return Scan::open(options).warnings();
  };
  const auto warned = [&warnings](const std::string& probe) { return warnings(probe).size() == 1; };
  CHECK_FALSE(warned(probe_file(folder, 8, 2.01)));
  const std::vector<std::string> lines = warnings(probe_file(folder, 8, 2.1));
  REQUIRE(lines.size() == 1);
  contains(lines[0], "probe.cxi: this probe's pixel is 5.42");
  contains(lines[0], "the scan's geometry gives 5.16");
  CHECK_FALSE(warned(product_probe(folder, 5.166e-7)));
  CHECK(warned(product_probe(folder, 5e-7)));

  // Of whole frames, or as they are after crop and bin.
  options.crop = 4;
  CHECK_FALSE(warned(probe_file(folder, 8, 2)));
  CHECK(warned(probe_file(folder, 8, 2.1)));
  CHECK_FALSE(warned(probe_file(folder, 4, 2)));
  CHECK(warned(probe_file(folder, 4, 2.1)));
  options.crop = 0;
  options.bin = 2;
  CHECK_FALSE(warned(probe_file(folder, 8, 2)));
  CHECK_FALSE(warned(probe_file(folder, 4, 2, 150e-6)));
  CHECK(warned(probe_file(folder, 4, 2)));
  options.bin = 1;

  options.distance_m = 2.1;
  CHECK_FALSE(warned(probe_file(folder, 8, 2.1)));
  // A geometry that says nothing refuses no probe.
  CHECK_FALSE(warned(probe_file(folder, 8, 0)));
  CHECK_FALSE(warned(probe_file(folder, 8, std::nan(""))));
}

TEST_CASE("a scan without positions opens, and says so") {
  const TemporaryFolder folder;
  ScanOptions options;
  options.path = six_frames(folder);
  const Scan scan = Scan::open(options);
  CHECK_FALSE(scan.has_positions());
  CHECK(scan.probe().empty());
  CHECK_FALSE(scan.object_pixel_m());
}

TEST_CASE("a probe follows the frame, or has its final size, or is refused with both sizes") {
  const TemporaryFolder folder;
  const auto probe_of = [&](std::int64_t n, float value) {
    std::vector<std::complex<float>> values(static_cast<std::size_t>(n * n), {value, 0});
    return write(folder, "probe.npy", values, {n, n});
  };
  ScanOptions options = six(folder);
  options.probe = probe_of(4, 8);
  CHECK(Scan::open(options).probe().data<std::complex<float>>()[3].real() == 8.0F);
  options.probe_ortho = true;
  CHECK(Scan::open(options).probe().data<std::complex<float>>()[3].real() == 2.0F);
  options.probe_ortho = false;

  // A level probe stays level: times (4 / 2)^2 when cropped, times 2 when binned.
  options.crop = 2;
  Scan scan = Scan::open(options);
  REQUIRE(scan.probe().shape() == Shape{1, 2, 2});
  CHECK(std::abs(scan.probe().data<std::complex<float>>()[0]) == Approx(32.0F));
  options.crop = 0;
  options.bin = 2;
  scan = Scan::open(options);
  CHECK(std::abs(scan.probe().data<std::complex<float>>()[0]) == Approx(16.0F));
  REQUIRE(scan.notes().size() == 1);
  contains(scan.notes()[0], "leaves out 75 %");

  options.probe = probe_of(2, 8);
  CHECK(Scan::open(options).probe().data<std::complex<float>>()[0].real() == 8.0F);
  options.probe = probe_of(3, 8);
  contains(message_of(options), "4 x 4 like the frames, or of 2 x 2");
  contains(message_of(options), "found 3 x 3");
  options.probe = probe_of(4, std::nanf(""));
  contains(message_of(options), "finite values");
  options.probe = probe_of(4, 0);
  contains(message_of(options), "not all 0");
}

TEST_CASE("options that fit no frame are refused") {
  const TemporaryFolder folder;
  ScanOptions options = six(folder);
  options.crop = 5;
  contains(message_of(options), "4 x 4, found 5");
  options.crop = 0;
  options.bin = 3;
  contains(message_of(options), "4 x 4, found 3");
  options.bin = 1;
  options.orientation = "flip-rows,flip-columns";
  contains(message_of(options), "none, flip-rows, flip-columns");
  options.orientation = "none";
  options.path = (folder / "nothing.npy").string();
  contains(message_of(options), "no such file");
}
