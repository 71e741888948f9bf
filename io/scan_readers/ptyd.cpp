// ptypy's .ptyd: chunks of frames as they were acquired, with metadata beside them.
//
// Axes. `positions` are those of the beam on the object, in metres, as (y, x) with y along the
// rows: nothing is turned around. ptypy names the centre of a view.
#include <algorithm>
#include <numeric>

#include "io/scan_readers/frames.h"
#include "io/scan_readers/readers.h"

namespace ptynet::io {

namespace {

// Chunks are numbered; "10" comes after "9".
std::vector<std::string> chunk_groups(const Hdf5Reader& reader) {
  std::vector<std::string> names = reader.list("/chunks");
  std::sort(names.begin(), names.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() < b.size() : a < b;
  });
  std::vector<std::string> groups;
  for (const std::string& name : names) {
    const std::string group = "/chunks/" + name;
    // A chunk that links to a missing file is an error, not a shorter scan.
    if (!reader.is_group(group)) (void)reader.dataset(group + "/data");
    if (reader.exists(group + "/data")) groups.push_back(group);
  }
  return groups;
}

struct Acquired {
  std::vector<std::int64_t> index;
  std::vector<Position> positions;  // empty, or one per index
};

void read_chunk(const Hdf5Reader& reader, const std::string& group, std::int64_t frames,
                bool with_positions, Acquired& all) {
  std::vector<std::int64_t> index;
  if (reader.exists(group + "/indices")) {
    index = reader.dataset(group + "/indices").read_integers();
  } else {
    index.resize(static_cast<std::size_t>(frames));
    std::iota(index.begin(), index.end(), static_cast<std::int64_t>(all.index.size()));
  }
  if (static_cast<std::int64_t>(index.size()) != frames) {
    fail_input(reader.path().string(), ":", group, ": expected one of `indices` for each of ",
               frames, " frames, found ", index.size());
  }
  if (with_positions && reader.exists(group + "/positions")) {
    const Hdf5Dataset dataset = reader.dataset(group + "/positions");
    const Table table = read_table(dataset);
    if (table.columns != 2 || table.rows != frames) {
      fail_input(dataset.where(), ": expected ", frames, " positions (y, x), one for each frame, ",
                 "found ", table.rows, " x ", table.columns);
    }
    for (std::int64_t k = 0; k < frames; ++k) {
      all.positions.push_back({table.at(k, 0), table.at(k, 1)});
    }
  }
  all.index.insert(all.index.end(), index.begin(), index.end());
}

// Frames by ascending index: chunks are stored as processes finished them.
void put_in_order(Acquired all, ScanFile& scan) {
  std::vector<std::int64_t> order(all.index.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return all.index[static_cast<std::size_t>(a)] < all.index[static_cast<std::size_t>(b)];
  });
  for (const std::int64_t k : order) {
    scan.frame_index.push_back(all.index[static_cast<std::size_t>(k)]);
    if (!all.positions.empty()) {
      scan.positions.push_back(all.positions[static_cast<std::size_t>(k)]);
    }
  }
  if (!std::is_sorted(all.index.begin(), all.index.end())) {
    scan.frames = reordered_frames(scan.frames, order);
  }
}

// weights: 0 is bad. Per frame in the file; a pixel is good if it is so in every frame of a chunk.
void read_mask(const Hdf5Reader& reader, const std::string& name, ScanFile& scan) {
  if (!reader.is_dataset(name)) return;
  const Hdf5Dataset dataset = reader.dataset(name);
  const std::vector<std::int64_t>& shape = dataset.shape();
  const std::int64_t height = scan.frames->height();
  const std::int64_t width = scan.frames->width();
  if (shape.size() < 2 || shape.size() > 3 || shape[shape.size() - 2] != height ||
      shape.back() != width || dataset.elements() == 0) {
    scan.notes.push_back(text(name, " is not of the frames' shape: ignored"));
    return;
  }
  std::vector<std::int64_t> good(static_cast<std::size_t>(height * width), 1);
  const std::int64_t count = shape.size() == 3 ? shape[0] : 1;
  for (std::int64_t k = 0; k < count; ++k) {
    const Array one =
        shape.size() == 3 ? dataset.read(DType::kF32, k, 1) : dataset.read(DType::kF32);
    const float* weight = one.data<float>();
    for (std::size_t p = 0; p < good.size(); ++p) {
      if (!(weight[p] > 0)) good[p] = 0;
    }
  }
  scan.mask = mask_where(good, height, width, [](std::int64_t v) { return v != 0; });
}

void read_meta(const Hdf5Reader& reader, ScanFile& scan) {
  scan.detector_pixel_m = pair_at(reader, "/meta", "psize");
  scan.distance_m = number_at(reader, "/meta", "distance");
  if (const auto kiloelectronvolts = number_at(reader, "/meta", "energy")) {
    set_energy(*kiloelectronvolts * 1e3, "/meta/energy", scan);
  }
  // "fftshift", "geometric" and so on mean the middle; numbers are a pixel (row, column).
  if (!reader.is_dataset("/meta/center")) return;
  const Hdf5Dataset center = reader.dataset("/meta/center");
  if (center.type().kind == Hdf5Kind::kString || center.elements() != 2) return;
  const std::vector<double> values = center.read_numbers();
  scan.beam_center_px = {values[0], values[1]};
  if (values[0] == 0 && values[1] == 0) scan.zero_frequency = ZeroFrequency::kCorner;
}

void read_ptyd(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  const std::vector<std::string> groups = chunk_groups(reader);
  if (groups.empty()) fail_input(reader.path().string(), ":/chunks: holds no frames");
  if (!request.frames_dataset.empty()) {
    take_frames(reader, request, "", scan);
    read_meta(reader, scan);
    return;
  }
  std::vector<std::string> datasets;
  Acquired all;
  for (const std::string& group : groups) {
    datasets.push_back(group + "/data");
    const std::vector<std::int64_t> shape = reader.dataset(datasets.back()).shape();
    read_chunk(reader, group, shape.empty() ? 0 : shape[0], request.own_positions, all);
  }
  scan.frames_dataset = groups.size() == 1 ? datasets[0] : "/chunks/*/data";
  scan.frames = hdf5_frames(reader, datasets);
  if (static_cast<std::int64_t>(all.index.size()) != scan.frames->count()) {
    fail_input(reader.path().string(), ":/chunks: expected data as [M, N, N]");
  }
  if (!all.positions.empty() && all.positions.size() != all.index.size()) {
    fail_input(reader.path().string(), ":/chunks: expected one position for each of ",
               all.index.size(), " frames, found ", all.positions.size());
  }
  put_in_order(std::move(all), scan);
  scan.position_unit = PositionUnit::kMetre;
  scan.positions_are_centers = true;
  read_meta(reader, scan);
  read_mask(reader, groups[0] + "/weights", scan);
  if (scan.mask.empty()) read_mask(reader, "/info/weight2d", scan);
}

}  // namespace

Hdf5Format ptyd_format() {
  return {"ptyd",
          [](const Hdf5Reader& reader) -> std::optional<std::string> {
            if (reader.is_group("/chunks") && reader.exists("/meta")) return "has /chunks, /meta";
            return std::nullopt;
          },
          read_ptyd};
}

}  // namespace ptynet::io
