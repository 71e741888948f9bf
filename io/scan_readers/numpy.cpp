// Scans in NumPy's files: bare .npy, and the .npz of ptychodus, tike and PtychoNN.
#include <complex>

#include "io/scan_readers/frames.h"
#include "io/scan_readers/readers.h"
#include "io/zip.h"

namespace ptynet::io {

namespace {

std::shared_ptr<FrameSource> member_frames(const ScanRequest& request, const std::string& name,
                                           Leading leading) {
  return npy_frames(ZipArchive::open(request.path).open_member(name + ".npy"), leading);
}

// The member of the format, or the one the request names.
void take_member(const ScanRequest& request, const std::string& name, Leading leading,
                 ScanFile& scan) {
  scan.frames_dataset = request.frames_dataset.empty() ? name : request.frames_dataset;
  scan.frames = member_frames(request, scan.frames_dataset, leading);
}

// tike: positions are pixels (row, column) of the patch's first pixel; frames have their zero
// frequency in the corner, the probe is as it stands in space.
void read_tike(const NpzFile& file, const ScanRequest& request, ScanFile& scan) {
  take_member(request, "data", Leading::kObjects, scan);
  scan.zero_frequency = ZeroFrequency::kCorner;
  if (file.has("probe")) {
    scan.probe = as_probe(file.read("probe", DType::kC64), request.path.string() + ":probe");
  }
  if (!request.own_positions) return;
  const std::string where = request.path.string() + ":scan";
  const Table table = read_table(file.read("scan", DType::kF64), where);
  if (table.columns != 2) {
    fail_input(where, ": expected (row, column) of every frame, found ", table.columns, " columns");
  }
  for (std::int64_t k = 0; k < table.rows; ++k) {
    scan.positions.push_back({table.at(k, 0), table.at(k, 1)});
  }
  scan.position_unit = PositionUnit::kPixel;
}

// ptychodus' patterns: `indexes` pair them with the positions of a product file.
void read_ptychodus(const NpzFile& file, const ScanRequest& request, ScanFile& scan) {
  take_member(request, "patterns", Leading::kObjects, scan);
  if (file.has("indexes")) {
    const Array index = file.read("indexes", DType::kF64);
    const double* from = index.data<double>();
    for (std::int64_t k = 0; k < index.elements(); ++k) {
      scan.frame_index.push_back(static_cast<std::int64_t>(from[k]));
    }
    if (index.elements() != scan.frames->count()) {
      fail_input(request.path.string(), ":indexes: expected one for each of ", scan.frames->count(),
                 " frames, found ", index.elements());
    }
  }
  if (file.has("bad_pixels")) {
    const Array bad = file.read("bad_pixels", DType::kU8);
    const std::int64_t height = scan.frames->height();
    const std::int64_t width = scan.frames->width();
    if (!(bad.shape() == Shape{height, width})) {
      fail_input(request.path.string(), ":bad_pixels: expected the frames' shape, ", height, " x ",
                 width, ", found ", to_string(bad.shape()));
    }
    const auto* from = bad.data<std::uint8_t>();
    scan.mask = mask_where({from, from + bad.elements()}, height, width,
                           [](std::int64_t v) { return v == 0; });
  }
  scan.notes.push_back(
      "positions and probe are in the product file: give it as --positions and "
      "--probe");
}

// PtychoNN: `position` in metres, column 0 along the rows, column 1 along the columns.
void read_ptychonn(const NpzFile& file, const ScanRequest& request, ScanFile& scan) {
  take_member(request, "reciprocal", Leading::kRaster, scan);
  if (!request.own_positions || !file.has("position")) return;
  const std::string where = request.path.string() + ":position";
  const Table table = read_table(file.read("position", DType::kF64), where);
  if (table.columns != 2) {
    fail_input(where, ": expected (y, x) of every frame, found ", table.columns, " columns");
  }
  for (std::int64_t k = 0; k < table.rows; ++k) {
    scan.positions.push_back({table.at(k, 0), table.at(k, 1)});
  }
  scan.position_unit = PositionUnit::kMetre;
  scan.positions_are_centers = true;
}

void note_objects(const Shape& shape, ScanFile& scan) {
  if (shape.rank() != 4) return;
  scan.notes.push_back(text(scan.frames_dataset.empty() ? "the array" : scan.frames_dataset,
                            " holds ", shape[0],
                            " objects as [objects, N, H, W]: the first is read"));
}

// The only member that can be frames; an error that lists what is there otherwise.
std::string only_frames(const NpzFile& file, const std::filesystem::path& path) {
  std::string found;
  std::string listing;
  int candidates = 0;
  for (const std::string& name : file.names()) {
    const NpyHeader header = file.open(name).header();
    listing += text(listing.empty() ? "" : ", ", printable(name), " ", to_string(header.shape));
    const bool frames = (header.shape.rank() == 3 || header.shape.rank() == 4) &&
                        header.type.kind != ElementKind::kComplex;
    if (frames) found = name;
    candidates += frames ? 1 : 0;
  }
  if (candidates != 1) {
    fail_input(path.string(), ": expected one array of frames [N, H, W], found ",
               listing.empty() ? "no arrays" : listing, "; name the frames with --data");
  }
  return found;
}

}  // namespace

void read_npy_scan(const ScanRequest& request, ScanFile& scan) {
  scan.format = "npy";
  scan.reason = "begins like a .npy file";
  scan.frames = npy_frames(open_file(request.path), Leading::kObjects);
  note_objects(read_npy_header(*open_file(request.path)).shape, scan);
}

void read_npz_scan(const ScanRequest& request, ScanFile& scan) {
  const NpzFile file(request.path);
  if (file.has("patterns")) {
    scan.format = "ptychodus";
    scan.reason = "has patterns";
    read_ptychodus(file, request, scan);
  } else if (file.has("reciprocal")) {
    scan.format = "ptychonn";
    scan.reason = "has reciprocal";
    read_ptychonn(file, request, scan);
  } else if (file.has("data") && file.has("scan")) {
    scan.format = "tike";
    scan.reason = "has data, scan";
    read_tike(file, request, scan);
  } else {
    scan.format = "npz";
    const bool named = !request.frames_dataset.empty();
    scan.reason = named ? "a .npz archive, frames named by --data"
                        : "a .npz archive with one array of frames";
    take_member(request, named ? "" : only_frames(file, request.path), Leading::kObjects, scan);
  }
  if (scan.format != "ptychonn") note_objects(file.open(scan.frames_dataset).shape(), scan);
}

}  // namespace ptynet::io
