// The master file of a DECTRIS EIGER detector: links to data files, and the detector's settings.
// It knows nothing of positions.
#include "io/scan_readers/frames.h"
#include "io/scan_readers/readers.h"

namespace ptynet::io {

namespace {

const std::string kData = "/entry/data";
const std::string kDetector = "/entry/instrument/detector";
const std::string kSpecific = kDetector + "/detectorSpecific";

// data_000001, data_000002, ... in that order, all of them there.
std::vector<std::string> data_sets(const Hdf5Reader& reader) {
  std::vector<std::string> names;
  for (const std::string& name : reader.list(kData)) {
    if (name.rfind("data_", 0) == 0) names.push_back(text(kData, "/", name));
  }
  return names;
}

void read_energy(const Hdf5Reader& reader, ScanFile& scan) {
  const auto name =
      reader.first_of({kSpecific + "/photon_energy", "/entry/instrument/beam/incident_energy"});
  if (name) {
    const auto unit = reader.string_attribute(*name, "units");
    const auto scale = electronvolts_in(unit.value_or("eV"));
    if (!scale) {
      fail_input(reader.path().string(), ":", *name, ": expected an energy, found units '",
                 printable(*unit), "'");
    }
    set_energy(reader.number(*name) * *scale, *name, scan);
    return;
  }
  const std::string wavelength = "/entry/instrument/beam/incident_wavelength";
  if (!reader.is_dataset(wavelength)) return;
  const auto unit = reader.string_attribute(wavelength, "units");
  const double metres = metres_in(unit.value_or("angstrom")).value_or(1e-10);
  set_energy(energy_ev(reader.number(wavelength) * metres), wavelength, scan);
}

// pixel_mask: 0 is good, every bit is a fault.
void read_mask(const Hdf5Reader& reader, ScanFile& scan) {
  const auto name = reader.first_of({kSpecific + "/pixel_mask", kDetector + "/pixel_mask"});
  if (!name) return;
  const Hdf5Dataset dataset = reader.dataset(*name);
  const std::int64_t height = scan.frames->height();
  const std::int64_t width = scan.frames->width();
  if (dataset.shape() != std::vector<std::int64_t>{height, width}) {
    scan.notes.push_back(text(*name, " is not of the frames' shape: ignored"));
    return;
  }
  scan.mask =
      mask_where(dataset.read_integers(), height, width, [](std::int64_t v) { return v == 0; });
}

void read_eiger(const Hdf5Reader& reader, const ScanRequest& request, ScanFile& scan) {
  if (!request.frames_dataset.empty()) {
    take_frames(reader, request, "", scan);
  } else {
    const std::vector<std::string> names = data_sets(reader);
    if (names.empty()) fail_input(reader.path().string(), ":", kData, ": holds no frames");
    scan.frames_dataset = names.size() == 1 ? names[0] : kData + "/data_*";
    scan.frames = hdf5_frames(reader, names);
  }
  scan.distance_m = length_at(reader, kDetector + "/detector_distance");
  const auto x = length_at(reader, kDetector + "/x_pixel_size");
  const auto y = length_at(reader, kDetector + "/y_pixel_size");
  if (x) scan.detector_pixel_m = {y.value_or(*x), *x};
  const auto row = number_at(reader, kDetector, "beam_center_y");
  const auto column = number_at(reader, kDetector, "beam_center_x");
  if (row && column) scan.beam_center_px = {*row, *column};
  read_energy(reader, scan);
  read_mask(reader, scan);
}

}  // namespace

Hdf5Format eiger_format() {
  return {"eiger",
          [](const Hdf5Reader& reader) -> std::optional<std::string> {
            if (reader.exists(kData + "/data_000001")) return "has /entry/data/data_000001";
            if (reader.is_group(kSpecific)) return "has " + kSpecific;
            return std::nullopt;
          },
          read_eiger};
}

}  // namespace ptynet::io
