// The readers of single formats, and what they share. Inside of io/ only.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/hdf5.h"
#include "io/npy.h"
#include "io/scan.h"

namespace ptynet::io {

// One format in HDF5: `recognise` says what it was recognised by, or nothing; `read` fills in
// everything but path, format and reason.
struct Hdf5Format {
  std::string name;
  std::function<std::optional<std::string>(const Hdf5Reader&)> recognise;
  std::function<void(const Hdf5Reader&, const ScanRequest&, ScanFile&)> read;
};

Hdf5Format nxcxi_format();
Hdf5Format cxi_format();
Hdf5Format ptyd_format();
Hdf5Format eiger_format();
Hdf5Format hxn_format();
Hdf5Format ptychodus_product_format();
Hdf5Format ptylab_format();

// A file of NumPy: .npy, or .npz of ptychodus, tike, PtychoNN or anyone.
void read_npy_scan(const ScanRequest& request, ScanFile& scan);
void read_npz_scan(const ScanRequest& request, ScanFile& scan);

// What an HDF5 file of a known format says, frames or not: a ptychodus product has none.
ScanFile open_hdf5_tables(const std::filesystem::path& path);

// Photon energy, distance and detector pixel of a CXI file, as far as it has them.
void read_cxi_geometry(const Hdf5Reader& reader, ScanFile& scan);

// Shared by the readers.

// Takes the frames from `dataset`, or from the one the request names.
void take_frames(const Hdf5Reader& reader, const ScanRequest& request, const std::string& dataset,
                 ScanFile& scan);

// A number that is one element of a dataset or an attribute of its group; nothing when absent.
std::optional<double> number_at(const Hdf5Reader& reader, const std::string& group,
                                const std::string& name);
// One or two numbers (row, column); one counts for both.
std::optional<std::array<double, 2>> pair_at(const Hdf5Reader& reader, const std::string& group,
                                             const std::string& name);

// Metres in one "m", "mm", "um", "nm" or "angstrom" and their other spellings, electronvolts in
// one "eV", "keV", "J"; nothing for another name.
std::optional<double> metres_in(const std::string& unit);
std::optional<double> electronvolts_in(const std::string& unit);
// A length in metres, in the unit its attribute `units` names, else in metres.
// Throws Error (input) for a unit that is no length.
std::optional<double> length_at(const Hdf5Reader& reader, const std::string& name);
// Sets the energy unless no photon of a ptychograph has it; then a note says so.
void set_energy(double electronvolts, const std::string& origin, ScanFile& scan);

// Complex numbers as [modes, H, W]: leading dimensions count as modes.
Array as_probe(const Array& values, const std::string& where);
// u8, 1 where `good` says so.
Array mask_where(const std::vector<std::int64_t>& values, std::int64_t height, std::int64_t width,
                 const std::function<bool(std::int64_t)>& good);

// The numbers of a [N, columns] table.
struct Table {
  std::vector<double> values;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  double at(std::int64_t row, std::int64_t column) const {
    return values[static_cast<std::size_t>(row * columns + column)];
  }
};
Table read_table(const Hdf5Dataset& dataset);
Table read_table(const Array& values, const std::string& where);

}  // namespace ptynet::io
