#include "tools/scan_arguments.h"

#include <limits>

#include "tools/lengths.h"

namespace ptynet::tools {

namespace {

constexpr const char* kGroup = "Scan options";
constexpr std::int64_t kMaxExtent = 65536;  // px of a frame's side

void add_data(CLI::App& command, ScanOptions& scan) {
  add_text(command,
           {"--data", "DATASET", "dataset or member that holds the frames (default: the format's)"},
           scan.data)
      ->group(kGroup);
  add_parsed(command, {"--frames", "A:B", "only frames A to B-1, counted from 0 (default: all)"},
             "A:B with 0 <= A < B",
             [&scan](const std::string& found) {
               const auto range = parse_integers(found, ':');
               if (!range || (*range)[0] < 0 || (*range)[0] >= (*range)[1]) return false;
               scan.frames = {(*range)[0], (*range)[1]};
               return true;
             })
      ->group(kGroup);
}

void add_positions(CLI::App& command, ScanOptions& scan) {
  add_text(command,
           {"--positions", "FILE[:DATASET]",
            "positions from .npy, .npz or .h5 instead of the scan's own"},
           scan.positions)
      ->group(kGroup);
  struct Unit {
    io::PositionUnit unit;
    double scale;
  };
  add_choice<Unit>(command,
                   {"--positions-unit", "", "unit of the positions, where the file leaves it open"},
                   {{"px", {io::PositionUnit::kPixel, 1.0}},
                    {"m", {io::PositionUnit::kMetre, 1.0}},
                    {"um", {io::PositionUnit::kMetre, 1e-6}},
                    {"nm", {io::PositionUnit::kMetre, 1e-9}}},
                   [&scan](const Unit& found) {
                     scan.positions_unit = found.unit;
                     scan.positions_scale = found.scale;
                   })
      ->group(kGroup);
  const auto names = [](std::initializer_list<const char*> list) {
    std::vector<std::pair<std::string, std::string>> out;
    for (const char* name : list) out.emplace_back(name, name);
    return out;
  };
  add_choice<std::string>(
      command,
      {"--positions-order", "", "columns of the positions: row, column or x, y (default rc)"},
      names({"rc", "xy"}), [&scan](const std::string& found) { scan.positions_order = found; })
      ->group(kGroup);
  add_choice<std::string>(command,
                          {"--positions-sign", "",
                           "signs that (row, column) are multiplied with, after the order "
                           "(default ++)"},
                          names({"++", "+-", "-+", "--"}),
                          [&scan](const std::string& found) { scan.positions_sign = found; })
      ->group(kGroup);
  add_parsed(command,
             {"--raster", "RxC",
              "positions of a raster instead: R rows of C frames, row by row; needs --step"},
             "RxC, two whole numbers of 1 or more such as 20x30",
             [&scan](const std::string& found) {
               scan.raster = parse_integers(found, 'x');
               return scan.raster && (*scan.raster)[0] > 0 && (*scan.raster)[1] > 0;
             })
      ->group(kGroup);
  add_positive(command, {"--step", "PX", "distance of neighbours in --raster, object pixels"},
               scan.raster_step_px)
      ->group(kGroup);
}

void add_geometry(CLI::App& command, ScanOptions& scan) {
  add_positive(command, {"--energy", "EV", "photon energy, electronvolts (default: the file's)"},
               scan.energy_ev)
      ->group(kGroup);
  add_length(command, {"--distance", "M", "sample to detector, metres (default: the file's)"},
             kDistance, scan.distance_m)
      ->group(kGroup);
  add_length(command,
             {"--detector-pixel", "M", "side of a detector pixel, metres (default: the file's)"},
             kDetectorPixel, scan.detector_pixel_m)
      ->group(kGroup);
  add_length(command,
             {"--object-pixel-size", "M",
              "side of an object pixel, metres (default: wavelength * distance / (N * detector "
              "pixel))"},
             kObjectPixel, scan.object_pixel_size_m)
      ->group(kGroup);
}

void add_frame_layout(CLI::App& command, ScanOptions& scan) {
  add_choice<io::ZeroFrequency>(
      command, {"--zero-frequency", "", "where the frames have it (default: the format's)"},
      {{"center", io::ZeroFrequency::kCenter}, {"corner", io::ZeroFrequency::kCorner}},
      [&scan](const io::ZeroFrequency& found) { scan.zero_frequency = found; })
      ->group(kGroup);
  std::vector<std::pair<std::string, std::string>> names;
  for (const std::string& name : orientation_names()) names.emplace_back(name, name);
  OptionText orientation{"--orientation", "",
                         "what turns a stored frame into the detector as the beam sees it"};
  for (const auto& [name, value] : names) {
    orientation.description += (name == names.front().first ? ": " : ", ") + name;
  }
  orientation.description += "; rotations are counter-clockwise (default none)";
  add_choice<std::string>(command, orientation, names,
                          [&scan](const std::string& found) { scan.orientation = found; })
      ->type_name("NAME")
      ->group(kGroup);
  add_parsed(command,
             {"--center", "R,C",
              "row and column of the zero frequency in the stored frame, px (default: the file's, "
              "else the frame's centre)"},
             "R,C, two numbers of 0 or more such as 511.5,514",
             [&scan](const std::string& found) {
               scan.center_px = parse_numbers(found);
               return scan.center_px && (*scan.center_px)[0] >= 0 && (*scan.center_px)[1] >= 0;
             })
      ->group(kGroup);
  add_integer(command, {"--crop", "N", "keep N x N px about the centre; 0: all"}, {0, kMaxExtent},
              scan.crop)
      ->group(kGroup);
  add_integer(command, {"--bin", "N", "sum N x N detector pixels into one"}, {1, 1024}, scan.bin)
      ->group(kGroup);
}

void add_detector(CLI::App& command, ScanOptions& scan) {
  add_text(command,
           {"--mask", "FILE[:DATASET]", "good pixels are not 0; besides the scan's own mask"},
           scan.mask)
      ->group(kGroup);
  add_text(command,
           {"--dark", "FILE[:DATASET]", "counts to subtract, clipped at 0 (default: the file's)"},
           scan.dark)
      ->group(kGroup);
}

void add_probe(CLI::App& command, ScanOptions& scan) {
  add_text(command,
           {"--probe", "FILE[:DATASET]", "complex probe, modes first (default: the scan's own)"},
           scan.probe)
      ->group(kGroup);
  add_choice<bool>(command,
                   {"--probe-norm", "",
                    "transform the probe belongs to: sum over pixels, or with 1 / sqrt(pixels) "
                    "(default unnormalised)"},
                   {{"unnormalised", false}, {"ortho", true}},
                   [&scan](const bool& ortho) { scan.probe_ortho = ortho; })
      ->group(kGroup);
}

}  // namespace

const std::vector<std::string>& orientation_names() {
  static const std::vector<std::string> names = {"none",      "flip-rows",     "flip-columns",
                                                 "rotate-90", "rotate-180",    "rotate-270",
                                                 "transpose", "anti-transpose"};
  return names;
}

void add_scan_and_network(CLI::App& command, const std::string& note, const ScanAndNetwork& to) {
  add_text(command,
           {"SCAN", "",
            "the scan: CXI, NXcxi_ptycho, .ptyd, HXN, EIGER master, ptychodus, PtychoNN "
            "and tike .npz, .npy, or other HDF5 with --data" +
                note},
           to.scan)
      ->required();
  add_text(command, {"--weights", "FILE", "ptynet's .h5, .pth, .ckpt or .safetensors"}, to.weights)
      ->required();
  add_text(command,
           {"--architecture", "NAME|FILE.json",
            "built-in network or a file; `ptynet info --architectures` lists them (default: the "
            "weight file's own)"},
           to.architecture);
  add_choice<std::string>(
      command,
      {"--input-rule", "",
       "how counts enter the network: root over frame maximum, counts, root over scan maximum "
       "(default: the architecture's)"},
      {{"ptynet", "ptynet"}, {"ptychonn", "ptychonn"}, {"hxn", "hxn"}},
      [&rule = to.input_rule](const std::string& name) { rule = name; });
}

void add_scan_arguments(CLI::App& command, ScanOptions& scan) {
  add_data(command, scan);
  add_positions(command, scan);
  add_geometry(command, scan);
  add_frame_layout(command, scan);
  add_detector(command, scan);
  add_probe(command, scan);
}

void check_scan_arguments(const ScanOptions& scan) {
  if (scan.raster.has_value() != scan.raster_step_px.has_value()) {
    fail_input("--raster RxC and --step PX belong together, found only ",
               scan.raster ? "--raster" : "--step");
  }
  if (scan.raster && !scan.positions.empty()) {
    fail_input("--raster and --positions both say where the frames are: give one of them");
  }
}

}  // namespace ptynet::tools
