// What the scan readers accept and refuse, beside the conventions (test_scan_signs.cpp).
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>

#include "io/datasets.h"
#include "io/hdf5.h"
#include "io/near_field.h"
#include "io/npy.h"
#include "io/scan.h"
#include "tests/io/signs.h"

namespace ptynet::io {

namespace {

using Catch::Matchers::Contains;
using tests::as_doubles;
using tests::read_truth;
using tests::signs_folder;
using tests::TemporaryFolder;
using tests::Truth;

}  // namespace

TEST_CASE("Scan: probe, frame numbers and types", "[scan]") {
  PTYNET_NEED_SIGNS();
  const std::filesystem::path folder = signs_folder();
  const Array truth = Hdf5Reader(folder / "truth.h5").read("probe", DType::kC64);
  for (const char* file : {"scan.cxi", "product.h5", "tike.npz", "truth.h5:probe"}) {
    INFO(file);
    const Array probe = load_probe(parse_dataset_name((folder / file).string()));
    REQUIRE(probe.shape() == Shape{1, 64, 64});
    CHECK(std::memcmp(probe.data(), truth.data(), truth.bytes()) == 0);
  }
  CHECK(open_scan({folder / "scan.cxi", ""}).probe.shape() == Shape{1, 64, 64});
  const PositionTable product = load_positions({folder / "product.h5", ""});
  CHECK(*product.energy_ev == 8000);
  CHECK(*product.distance_m == 2);
  CHECK((*product.object_pixel_m)[1] == Approx(6.457510335e-08).epsilon(1e-9));
  CHECK(open_scan({folder / "scan.ptyd", ""}).frame_index.size() == 35);
  CHECK(open_scan({folder / "scan.ptyd", ""}).frame_index[34] == 34);
  CHECK(open_scan({folder / "patterns.npz", ""}).frame_index[0] == 100);
  CHECK(open_scan({folder / "patterns.npz", ""}).frames->dtype() == DType::kU16);
  CHECK(open_scan({folder / "scan.cxi", ""}).frames->dtype() == DType::kU32);
  CHECK(open_scan({folder / "scan.ptyd", ""}).frames->dtype() == DType::kI32);
  CHECK(open_scan({folder / "plain.h5", "raw/frames"}).frames->dtype() == DType::kU32);
  CHECK(open_scan({folder / "ptychonn.npz", ""}).frames->dtype() == DType::kF32);
  CHECK_THAT(open_scan({folder / "objects.npy", ""}).notes.at(0), Contains("2 objects"));
  CHECK((*open_scan({folder / "series_master.h5", ""}).beam_center_px)[0] == 32);
  CHECK((*open_scan({folder / "patterns.npz", ""}).frames).read(3, 2).shape() == Shape{2, 64, 64});
  CHECK_THROWS_WITH(open_scan({folder / "product.h5", ""}), Contains("holds no frames"));
  CHECK_THROWS_WITH(open_scan({folder / "plain.h5", ""}), Contains("--data"));
  CHECK_THROWS_WITH(open_scan({folder / "scan.cxi", ""}).frames->read(30, 6),
                    Contains("frames 30 to 36 are not among its 35"));
  const Array mask = load_mask(parse_dataset_name((folder / "series_master.h5").string()));
  CHECK(mask.data<std::uint8_t>()[5 * 64 + 60] == 0);
  CHECK(mask.data<std::uint8_t>()[0] == 1);
}

TEST_CASE("Scan: bitshuffle-LZ4 chunks are read, or the missing filter is named", "[scan]") {
  PTYNET_NEED_SIGNS();
  const std::filesystem::path file = signs_folder() / "bitshuffle.h5";
  try {
    ScanFile scan = open_scan({file, "entry/data/data"});
    const Truth truth = read_truth(signs_folder() / "truth.h5");
    const std::vector<double> found = as_doubles(scan.frames->read(0, 15));
    CHECK(std::equal(found.begin(), found.end(), truth.frames.begin() + 20 * 64 * 64));
  } catch (const Error& error) {
    CHECK_THAT(error.what(),
               Contains("filter 32008") && Contains("install the package bitshuffle"));
    PTYNET_SKIP("HDF5's bitshuffle filter is not installed");
  }
}

TEST_CASE("Scan: links and virtual datasets that lead nowhere name what is missing", "[scan]") {
  PTYNET_NEED_SIGNS();
  const TemporaryFolder folder;
  std::filesystem::copy_file(signs_folder() / "series_master.h5", folder / "series_master.h5");
  std::filesystem::copy_file(signs_folder() / "scan.ptyd", folder / "scan.ptyd");
  CHECK_THROWS_WITH(open_scan({folder / "series_master.h5", ""}),
                    Contains("series_data_000001.h5") && Contains("/entry/data/data_000001"));
  CHECK_THROWS_WITH(open_scan({folder / "scan.ptyd", ""}), Contains("scan_part.ptyd"));
  std::filesystem::copy_file(signs_folder() / "virtual.h5", folder / "virtual.h5");
  CHECK_THROWS_WITH(open_scan({folder / "virtual.h5", "frames"}),
                    Contains("needs the file series_data_000001.h5"));
}

TEST_CASE("Scan: hostile files are one error", "[scan]") {
  const TemporaryFolder folder;
  std::ofstream(folder / "text.h5") << "not HDF5";
  CHECK_THROWS_WITH(open_scan({folder / "text.h5", ""}), Contains("text.h5") && Contains("HDF5"));
  CHECK_THROWS_WITH(open_scan({folder / "absent.cxi", ""}), Contains("no such file"));
  CHECK_THROWS_WITH(open_scan({folder.path(), ""}), Contains("something else than a file"));
  std::ofstream(folder / "empty.npy").close();
  CHECK_THROWS_AS(open_scan({folder / "empty.npy", ""}), Error);

  const auto write_cxi = [&](const std::string& name, const Array& frames, const Array& moves) {
    Hdf5Writer writer(folder / name);
    writer.write("cxi_version", std::vector<std::int64_t>{160});
    writer.write("entry_1/data_1/data", frames);
    writer.write("entry_1/data_1/translation", moves);
    writer.commit();
    return ScanRequest{folder / name, ""};
  };
  const Array frames = Array::zeros({4, 8, 8}, DType::kU16);
  const Array moves = Array::zeros({4, 3}, DType::kF64);
  CHECK(open_scan(write_cxi("good.cxi", frames, moves)).positions.size() == 4);
  CHECK_THROWS_WITH(open_scan(write_cxi("none.cxi", Array::zeros({0, 8, 8}, DType::kU16), moves)),
                    Contains("holds no frames"));
  CHECK_THROWS_WITH(open_scan(write_cxi("more.cxi", frames, Array::zeros({5, 3}, DType::kF64))),
                    Contains("each of 4 frames, found 5 positions"));
  CHECK_THROWS_WITH(open_scan(write_cxi("flat.cxi", frames, Array::zeros({4, 2}, DType::kF64))),
                    Contains("found 2 columns"));
  CHECK_THROWS_WITH(open_scan(write_cxi("line.cxi", Array::zeros({4}, DType::kU16), moves)),
                    Contains("found 1 dimensions"));
  Array broken = Array::zeros({4, 3}, DType::kF64);
  broken.data<double>()[6] = std::nan("");
  const ScanFile unplaced = open_scan(write_cxi("nan.cxi", frames, broken));
  CHECK_NOTHROW(check_finite(unplaced.positions, 0, 2, "nan.cxi"));
  CHECK_THROWS_WITH(check_finite(unplaced.positions, 1, 4, "nan.cxi"),
                    Contains("nan.cxi: the position of frame 2 is not a number"));
  const auto size = std::filesystem::file_size(folder / "good.cxi");
  for (std::uintmax_t length = 0; length < size; length += 97) {
    std::filesystem::copy_file(folder / "good.cxi", folder / "cut.cxi",
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::resize_file(folder / "cut.cxi", length);
    INFO("cut to " << length << " of " << size << " bytes");
    CHECK_THROWS_AS(open_scan({folder / "cut.cxi", ""}), Error);
  }
  write_npy(folder / "line.npy", Array::zeros({7}, DType::kF32));
  CHECK_THROWS_WITH(open_scan({folder / "line.npy", ""}), Contains("found 1 dimensions"));
  write_npy(folder / "none.npy", Array::zeros({0, 8, 8}, DType::kF32));
  CHECK_THROWS_WITH(open_scan({folder / "none.npy", ""}), Contains("holds no frames"));
  write_npy(folder / "wave.npy", Array::zeros({2, 8, 8}, DType::kC64));
  CHECK_THROWS_WITH(open_scan({folder / "wave.npy", ""}), Contains("complex64"));
}

TEST_CASE("Scan: positions of the file are not read when others are given", "[scan]") {
  const TemporaryFolder folder;
  Hdf5Writer writer(folder / "a.cxi");
  writer.write("cxi_version", std::vector<std::int64_t>{160});
  writer.write("entry_1/data_1/data", Array::zeros({4, 8, 8}, DType::kU16));
  writer.write("entry_1/data_1/translation", Array::zeros({7, 2}, DType::kF64));
  writer.commit();
  CHECK_THROWS_AS(open_scan({folder / "a.cxi", ""}), Error);
  CHECK(open_scan({folder / "a.cxi", "", false}).positions.empty());
}

TEST_CASE("Scan: HXN frames after the last known position are left out", "[scan]") {
  const TemporaryFolder folder;
  const auto dump = [&](const std::string& name, std::vector<double> points) {
    Hdf5Writer writer(folder / name);
    writer.write("dp", Array::zeros({3, 8, 8}, DType::kF32));
    writer.write("points", Array::copy_of(points, {2, 3}));
    writer.commit();
    return ScanRequest{folder / name, ""};
  };
  const double none = std::nan("");
  const ScanFile scan = open_scan(dump("a.h5", {1, 2, none, 3, 4, none}));
  CHECK(scan.frames->count() == 2);
  CHECK(scan.frames->read(0, 2).shape() == Shape{2, 8, 8});
  CHECK(scan.positions[1].row == Approx(4e-6));
  // Gaps elsewhere stay, for --frames to leave out.
  const auto unplaced = [&](const std::string& name, std::vector<double> points) {
    const ScanFile gaps = open_scan(dump(name, std::move(points)));
    check_finite(gaps.positions, 0, gaps.frames->count(), name);
  };
  CHECK_THROWS_WITH(unplaced("b.h5", {1, none, 2, 3, none, 4}), Contains("frame 1"));
  CHECK_THROWS_WITH(unplaced("c.h5", {none, none, none, none, none, none}), Contains("frame 0"));
}

TEST_CASE("Scan: FILE:DATASET and units", "[scan]") {
  const TemporaryFolder folder;
  CHECK(parse_dataset_name("a.h5:/x/y").dataset == "/x/y");
  CHECK(parse_dataset_name("a.h5:/x/y").path == "a.h5");
  CHECK(parse_dataset_name("a.npy").dataset.empty());
  std::ofstream(folder / "a:b.npy").close();
  CHECK(parse_dataset_name((folder / "a:b.npy").string()).dataset.empty());
  CHECK_THROWS_AS(parse_dataset_name(""), Error);
  CHECK_THROWS_AS(parse_dataset_name(":x"), Error);

  write_npy(folder / "p.npy", Array::copy_of<double>({1, 2, 3, 4, 5, 6}, {3, 2}));
  const PositionTable bare = load_positions({folder / "p.npy", ""});
  CHECK(bare.unit == PositionUnit::kUnknown);  // not guessed
  CHECK(bare.positions[2].column == 6);
  write_npy(folder / "q.npy", Array::copy_of<double>({1, 2, 3, 4, 5, 6}, {2, 3}));
  CHECK(load_positions({folder / "q.npy", ""}).positions[2].column == 6);
  CHECK_THROWS_WITH(load_positions({folder / "p.npy", "x"}), Contains("'x' was asked for"));
  write_npy(folder / "r.npy", Array::zeros({3, 4}, DType::kF64));
  CHECK_THROWS_WITH(load_positions({folder / "r.npy", ""}), Contains("expected positions as"));

  ScanFile scan;
  write_npy(folder / "f.npy", Array::zeros({3, 8, 8}, DType::kU8));
  scan = open_scan({folder / "f.npy", ""});
  PositionTable table = bare;
  table.frame_index = {12, 10, 11};
  scan.frame_index = {10, 11, 12};
  set_positions(table, "p.npy", scan);
  CHECK(scan.positions[2].row == 1);  // by number, not by order
  table.frame_index = {12, 10, 13};
  CHECK_THROWS_WITH(set_positions(table, "p.npy", scan), Contains("frame number 11"));
  table.frame_index.clear();
  table.positions.pop_back();
  CHECK_THROWS_WITH(set_positions(table, "p.npy", scan), Contains("3 frames, found 2 positions"));
  CHECK(wavelength_m(8000.0) == Approx(1.5498025e-10).epsilon(1e-6));
  CHECK(energy_ev(wavelength_m(1234.5)) == Approx(1234.5).epsilon(1e-14));

  write_npy(folder / "dark.npy", Array::copy_of<float>({1, 2, 3, 4, 3, 4, 5, 6}, {2, 2, 2}));
  CHECK(load_image({folder / "dark.npy", ""}).data<float>()[3] == 5);
}

TEST_CASE("Scan: 64-bit counts keep what marks a dead pixel", "[scan]") {
  PTYNET_NEED_SIGNS();
  const TemporaryFolder folder;
  const std::string python =
      "import sys, numpy as np, h5py\n"
      "a = np.zeros((2, 4, 4), np.uint64); a[1, 2, 3] = 2**64 - 1; a[1, 0, 0] = 70000\n"
      "np.save(sys.argv[1] + '/u.npy', a)\n"
      "b = a.astype(np.int64); b[0, 0, 0] = -2**40; np.save(sys.argv[1] + '/i.npy', b)\n"
      "h5py.File(sys.argv[1] + '/u.h5', 'w')['f'] = a\n";
  std::ofstream(folder / "make.py") << python;
  REQUIRE(std::system(
              (tests::python() + " " + (folder / "make.py").string() + " " + folder.path().string())
                  .c_str()) == 0);
  for (const auto& [file, data] : {std::pair{"u.npy", ""}, std::pair{"u.h5", "f"}}) {
    INFO(file);
    const Array one = open_scan({folder / file, data}).frames->read(1, 1);
    REQUIRE(one.dtype() == DType::kU32);
    CHECK(one.data<std::uint32_t>()[11] == 0xFFFFFFFFu);
    CHECK(one.data<std::uint32_t>()[0] == 70000);
  }
  const Array low = open_scan({folder / "i.npy", ""}).frames->read(0, 1);
  CHECK(low.data<std::int32_t>()[0] == std::numeric_limits<std::int32_t>::min());
}

TEST_CASE("Scan: the largest value of a small signed type stays the largest", "[scan]") {
  PTYNET_NEED_SIGNS();
  const TemporaryFolder folder;
  const std::string python =
      "import sys, numpy as np, h5py\n"
      "for bits in (8, 16):\n"
      "    a = np.zeros((2, 4, 4), 'i%d' % (bits // 8)); top = 2**(bits - 1) - 1\n"
      "    a[1, 2, 3] = top; a[1, 2, 2] = top - 1; a[1, 0, 0] = -1\n"
      "    np.save(sys.argv[1] + '/i%d.npy' % bits, a)\n"
      "    h5py.File(sys.argv[1] + '/i%d.h5' % bits, 'w')['f'] = a\n";
  std::ofstream(folder / "make.py") << python;
  REQUIRE(std::system(
              (tests::python() + " " + (folder / "make.py").string() + " " + folder.path().string())
                  .c_str()) == 0);
  for (const auto& [file, data, top] : {std::tuple{"i8.npy", "", 127},
                                        {"i16.npy", "", 32767},
                                        {"i8.h5", "f", 127},
                                        {"i16.h5", "f", 32767}}) {
    INFO(file);
    const Array one = open_scan({folder / file, data}).frames->read(1, 1);
    REQUIRE(one.dtype() == DType::kI32);
    CHECK(one.data<std::int32_t>()[11] == std::numeric_limits<std::int32_t>::max());
    CHECK(one.data<std::int32_t>()[10] == top - 1);
    CHECK(one.data<std::int32_t>()[0] == -1);
  }
}

TEST_CASE("Scan: a near field is seen in frames, not in wide steps alone", "[scan]") {
  PTYNET_NEED_DEMO_SIGNS();
  ScanFile scan = open_scan({tests::demo_signs_folder() / "scan.cxi", ""});
  CHECK(!scan.near_field);
  const std::vector<Position> own = scan.positions;
  // The shadows move 1 px a pixel of the object. Were the steps three times as wide, they would be
  // those of a beam three times as wide, over 200 px, in a field of view of 128 px.
  for (Position& p : scan.positions) p = {3 * p.row, 3 * p.column};
  judge_near_field(scan);
  CHECK(scan.near_field);
  CHECK_THAT(scan.near_field_reason, Contains("same shadow"));
  // A unit mistaken by a factor of a million costs no more time than this.
  for (Position& p : scan.positions) p = {1e6 * p.row, 1e6 * p.column};
  judge_near_field(scan);
  // Frames as far apart that have nothing in common: a far field without overlap.
  for (std::size_t k = 0; k < own.size(); ++k) {
    const Position& p = own[k * 7 % own.size()];
    scan.positions[k] = {3 * p.row, 3 * p.column};
  }
  judge_near_field(scan);
  CHECK(!scan.near_field);
  CHECK(scan.near_field_reason.empty());
}

TEST_CASE("Scan: real files", "[scan]") {
  PTYNET_NEED_REFERENCE();
  const std::filesystem::path data = *tests::reference_folder() / "data";
  SECTION("siemens star, tike") {
    const ScanFile scan = open_scan({data / "siemens-star-small.npz", ""});
    CHECK(scan.format == "tike");
    CHECK(scan.frames->count() == 516);
    CHECK(scan.frames->height() == 128);
    CHECK(scan.zero_frequency == ZeroFrequency::kCorner);
    CHECK(scan.position_unit == PositionUnit::kPixel);
    CHECK(scan.positions.front().row == Approx(167.5796356201172).epsilon(1e-12));
    CHECK(scan.positions.front().column == Approx(-159.7339630126953).epsilon(1e-12));
    CHECK(scan.positions.back().row == Approx(-164.28831481933594).epsilon(1e-12));
    CHECK(scan.positions.back().column == Approx(-159.9990997314453).epsilon(1e-12));
    const std::vector<float> probe(reinterpret_cast<const float*>(scan.probe.data()),
                                   reinterpret_cast<const float*>(scan.probe.data()) + 2 * 16384);
    double energy = 0;
    for (const float v : probe) energy += static_cast<double>(v) * v;
    CHECK(energy == Approx(51.82716369628906).epsilon(1e-5));
    double counts = 0;
    for (std::int64_t k = 0; k < 516; k += 43) {
      for (const double v : as_doubles(scan.frames->read(k, 43))) counts += v;
    }
    CHECK(counts / 516 == Approx(461212.90625).epsilon(1e-6));
  }
  SECTION("PETRA III, near field") {
    const ScanFile scan = open_scan({data / "petra3-p25-near-field.cxi", ""});
    CHECK(scan.format == "cxi");
    CHECK(scan.frames->count() == 200);
    CHECK(scan.frames->height() == 100);
    CHECK(scan.frames->width() == 100);
    std::int64_t good = 0;
    for (std::int64_t k = 0; k < 10000; ++k) good += scan.mask.data<std::uint8_t>()[k];
    CHECK(good == 9995);
    CHECK(*scan.distance_m == Approx(1.1200000047683716).epsilon(1e-12));
    CHECK((*scan.detector_pixel_m)[0] == Approx(5.500000042957254e-05).epsilon(1e-12));
    CHECK((*scan.detector_pixel_m)[1] == Approx(5.500000042957254e-05).epsilon(1e-12));
    CHECK(wavelength_m(*scan.energy_ev) == Approx(9.794912103622266e-11).epsilon(1e-12));
    // the sample's x is to the left and its y up; the beam moves against both
    CHECK(scan.positions.front().row == Approx(-3.8399612094508484e-05).epsilon(1e-12));
    CHECK(scan.positions.front().column == Approx(-5.340003190212883e-05).epsilon(1e-12));
    CHECK(scan.positions.back().column == Approx(-4.362745676189661e-05).epsilon(1e-12));
    CHECK(scan.near_field);
    CHECK_THAT(scan.near_field_reason, Contains("1.19"));
  }
}

}  // namespace ptynet::io
