// The scan that tests/golden/make_signs.py stores in every supported format, and its truth.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "io/scan.h"
#include "tests/support.h"

namespace ptynet::tests {

struct Truth {
  std::vector<double> frames;  // [N, H, W] counts, zero frequency in the centre
  std::int64_t count = 0;
  std::int64_t size = 0;                // frames are square
  std::vector<io::Position> positions;  // px
  std::vector<double> mask;
  double energy_ev = 0;
  double distance_m = 0;
  double detector_pixel_m = 0;
  double object_pixel_m = 0;
};

inline Truth read_truth(const std::filesystem::path& path) {
  const io::Hdf5Reader file(path);
  Truth truth;
  const io::Hdf5Dataset frames = file.dataset("frames");
  truth.count = frames.shape()[0];
  truth.size = frames.shape()[1];
  truth.frames = frames.read_numbers();
  const std::vector<double> positions = file.dataset("positions").read_numbers();
  for (std::size_t k = 0; k < positions.size(); k += 2) {
    truth.positions.push_back({positions[k], positions[k + 1]});
  }
  truth.mask = file.dataset("mask").read_numbers();
  truth.energy_ev = *file.number_attribute("/", "energy_ev");
  truth.distance_m = *file.number_attribute("/", "distance_m");
  truth.detector_pixel_m = *file.number_attribute("/", "detector_pixel_m");
  truth.object_pixel_m = *file.number_attribute("/", "object_pixel_m");
  return truth;
}

// The Python of the tests: PTYNET_TEST_PYTHON, else Debian's.
inline std::string python() {
  const char* chosen = std::getenv("PTYNET_TEST_PYTHON");
  return chosen != nullptr && *chosen != '\0' ? chosen : "/usr/bin/python3";
}

// The files of all formats as make_signs.py makes them with `arguments`, in `folder`;
// empty when there is no h5py.
inline std::filesystem::path make_signs(const TemporaryFolder& folder,
                                        const std::string& arguments = "") {
  if (std::system((python() + " -c 'import h5py, numpy' 2>/dev/null").c_str()) != 0) return {};
  const std::string script = std::string(PTYNET_SOURCE_DIR) + "/tests/golden/make_signs.py";
  const std::string command =
      python() + " -B " + script + " " + folder.path().string() + " " + arguments;
  if (std::system(command.c_str()) != 0) FAIL("failed: " << command);
  return folder.path();
}

// The small scene, made once for all test cases of a program.
inline const std::filesystem::path& signs_folder() {
  static const TemporaryFolder folder;
  static const std::filesystem::path made = make_signs(folder);
  return made;
}

// The scene that the demo's network can see, with the demo's probe.
inline const std::filesystem::path& demo_signs_folder() {
  static const TemporaryFolder folder;
  static const std::filesystem::path made =
      make_signs(folder, "--probe " + std::string(PTYNET_SOURCE_DIR) + "/examples/demo/scan.cxi");
  return made;
}

#define PTYNET_NEED_FOLDER_OF_SIGNS(folder)                                                \
  do {                                                                                     \
    if ((folder).empty()) {                                                                \
      PTYNET_SKIP("needs Python with numpy and h5py; set PTYNET_TEST_PYTHON to such one"); \
    }                                                                                      \
  } while (false)
#define PTYNET_NEED_SIGNS() PTYNET_NEED_FOLDER_OF_SIGNS(ptynet::tests::signs_folder())
#define PTYNET_NEED_DEMO_SIGNS() PTYNET_NEED_FOLDER_OF_SIGNS(ptynet::tests::demo_signs_folder())

// Frames of any type.
inline std::vector<double> as_doubles(const Array& values) {
  std::vector<double> out;
  const auto copy = [&](const auto* from) { out.assign(from, from + values.elements()); };
  switch (values.dtype()) {
    case DType::kU8:
      copy(values.data<std::uint8_t>());
      break;
    case DType::kU16:
      copy(values.data<std::uint16_t>());
      break;
    case DType::kU32:
      copy(values.data<std::uint32_t>());
      break;
    case DType::kI32:
      copy(values.data<std::int32_t>());
      break;
    case DType::kF32:
      copy(values.data<float>());
      break;
    default:
      FAIL("frames of an unexpected type");
  }
  return out;
}

}  // namespace ptynet::tests
