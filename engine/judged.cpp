#include "engine/judged.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "io/png.h"
#include "io/result.h"
#include "kernels/error.h"

namespace ptynet {
namespace {

namespace fs = std::filesystem;

RealImage load_png(const std::filesystem::path& path) {
  const Array picture = io::read_png(path);
  if (picture.shape().rank() != 2) {
    fail_input(path.string(), ": expected a grey picture, found ", picture.shape()[2],
               " channels; convert it, or give a .npy");
  }
  RealImage image{picture.shape()[0], picture.shape()[1], {}};
  const auto copy = [&](const auto* from, double white) {
    std::transform(from, from + picture.elements(), std::back_inserter(image.pixels),
                   [white](auto value) { return value / white; });
  };
  if (picture.dtype() == DType::kU16) {
    copy(picture.data<std::uint16_t>(), 65535);
  } else {
    copy(picture.data<std::uint8_t>(), 255);
  }
  return image;
}

RealImage load_truth(const io::DatasetName& name) {
  if (name.path.extension() == ".png") return load_png(name.path);
  const Array values = io::load_array(name, DType::kF64);
  if (values.shape().rank() != 2 || values.elements() == 0) {
    fail_input(to_string(name), ": expected a truth of shape [rows, columns], found ",
               to_string(values.shape()));
  }
  const auto* from = values.data<double>();
  return {values.shape()[0], values.shape()[1], {from, from + values.elements()}};
}

ComplexImage load_truths(const EvaluateRequest& request) {
  const RealImage amplitude = load_truth(request.truth_amplitude);
  const RealImage phase_rad = load_truth(request.truth_phase);
  if (amplitude.rows != phase_rad.rows || amplitude.columns != phase_rad.columns) {
    fail_input("expected amplitude and phase of the truth in one shape, found ", amplitude.rows,
               " x ", amplitude.columns, " in ", to_string(request.truth_amplitude), " and ",
               phase_rad.rows, " x ", phase_rad.columns, " in ", to_string(request.truth_phase));
  }
  ComplexImage truth{amplitude.rows, amplitude.columns, {}};
  truth.pixels.reserve(amplitude.pixels.size());
  for (std::size_t i = 0; i < amplitude.pixels.size(); ++i) {
    const double angle = phase_rad.pixels[i];
    truth.pixels.push_back(amplitude.pixels[i] *
                           std::complex<double>(std::cos(angle), std::sin(angle)));
  }
  return truth;
}

// A result, and where it lies in the truth.
struct Placed {
  io::Result result;
  std::array<std::int64_t, 2> at;  // the truth's pixel that the result's [0, 0] is
  Region covered;                  // of the truth, whether it is as large or not
};

// Where the result's pixel [0, 0] lies in the truth.
std::int64_t corner(double origin_px, std::int64_t offset_px, const std::string& where) {
  constexpr std::int64_t kFarthest = std::int64_t{1} << 40;
  if (!(std::abs(origin_px) < static_cast<double>(kFarthest)) || std::abs(offset_px) > kFarthest) {
    fail_input(where, ": expected an origin and an offset below 2^40 px, found ", origin_px,
               " and ", offset_px);
  }
  return std::llrint(origin_px) + offset_px;
}

// The smallest rectangle of the truth that holds every covered pixel.
Region covered_region(const io::Result& result, const std::array<std::int64_t, 2>& at,
                      const std::string& where) {
  const std::int64_t rows = result.count.shape()[0], columns = result.count.shape()[1];
  const auto* count = result.count.data<std::uint32_t>();
  Region region{rows, 0, columns, 0};
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < columns; ++c) {
      if (count[r * columns + c] == 0) continue;
      region = {std::min(region.first_row, r), r + 1, std::min(region.first_column, c),
                std::max(region.end_column, c + 1)};
    }
  }
  if (region.end_row == 0) fail_input(where, ": no pixel is covered by a frame");
  return {region.first_row + at[0], region.end_row + at[0], region.first_column + at[1],
          region.end_column + at[1]};
}

Placed place(const fs::path& path, const EvaluateRequest& request) {
  const std::string where = path.string();
  Placed out{io::read_result(path), {}, {}};
  out.at = {corner(out.result.origin_px[0], request.truth_offset_px[0], where),
            corner(out.result.origin_px[1], request.truth_offset_px[1], where)};
  out.covered = covered_region(out.result, out.at, where);
  return out;
}

bool is_empty(const Region& region) {
  return region.first_row >= region.end_row || region.first_column >= region.end_column;
}

Region common(const Region& a, const Region& b) {
  return {std::max(a.first_row, b.first_row), std::min(a.end_row, b.end_row),
          std::max(a.first_column, b.first_column), std::min(a.end_column, b.end_column)};
}

// What frames of every result cover.
Region common_region(const std::vector<Placed>& placed, const std::vector<fs::path>& paths) {
  Region out = placed.front().covered;
  for (std::size_t k = 1; k < placed.size(); ++k) {
    out = common(out, placed[k].covered);
    if (is_empty(out)) {
      fail_input(paths[k].string(), ": expected a part of the object in common with ",
                 paths[0].string(), ", found none; give results of one scan");
    }
  }
  return out;
}

// The region of the truth to judge.
Region judged_region(const Region& covered, const ComplexImage& truth,
                     const EvaluateRequest& request) {
  const std::string where = request.result.string();
  const std::int64_t border = request.border_px;
  const std::int64_t rows = covered.end_row - covered.first_row;
  const std::int64_t columns = covered.end_column - covered.first_column;
  if (border < 0 || border > rows || border > columns || 2 * border >= std::min(rows, columns)) {
    fail_input(where, ": expected a border of 0 to ", (std::min(rows, columns) - 1) / 2,
               " px, found ", border, "; the frames cover ", rows, " x ", columns, " px");
  }
  const Region region = common({covered.first_row + border, covered.end_row - border,
                                covered.first_column + border, covered.end_column - border},
                               {0, truth.rows, 0, truth.columns});
  if (is_empty(region)) {
    fail_input(where, ": the result does not overlap the truth of ", truth.rows, " x ",
               truth.columns, " px: its first covered pixel would be (", covered.first_row, ", ",
               covered.first_column, ") of it; give --truth-offset");
  }
  return region;
}

std::optional<ScanR> r_factor_of(const io::Process& process) {
  const bool known = process.residual_stitched && process.residual_flat && process.residual_mean;
  if (!known) return std::nullopt;
  return ScanR{*process.residual_stitched, *process.residual_flat, *process.residual_mean};
}

JudgedResult cut_out(const Placed& placed, const ComplexImage& truth, const Region& region) {
  const io::Result& result = placed.result;
  JudgedResult out;
  out.object = {truth.rows, truth.columns, {}};
  out.pixel_size_m = result.pixel_size_m;
  out.r_factor = r_factor_of(result.process);
  const std::int64_t stride = result.object.shape()[1];
  const auto* object = result.object.data<std::complex<float>>();
  const auto* count = result.count.data<std::uint32_t>();
  for (std::int64_t r = region.first_row; r < region.end_row; ++r) {
    for (std::int64_t c = region.first_column; c < region.end_column; ++c) {
      const std::int64_t index = (r - placed.at[0]) * stride + c - placed.at[1];
      const bool covered = count[index] > 0;
      const auto& expected = truth.pixels[out.object.pixels.size()];
      out.object.pixels.push_back(covered ? std::complex<double>(object[index]) : expected);
      out.covered.push_back(covered);
    }
  }
  return out;
}

ComplexImage cut_out(const ComplexImage& whole, const Region& region) {
  ComplexImage out{region.end_row - region.first_row, region.end_column - region.first_column, {}};
  for (std::int64_t r = region.first_row; r < region.end_row; ++r) {
    const auto row = whole.pixels.begin() + r * whole.columns;
    out.pixels.insert(out.pixels.end(), row + region.first_column, row + region.end_column);
  }
  return out;
}

}  // namespace

Judged judge(const EvaluateRequest& request) {
  std::vector<fs::path> paths{request.result};
  paths.insert(paths.end(), request.beside.begin(), request.beside.end());
  std::vector<Placed> placed;
  placed.reserve(paths.size());
  for (const fs::path& path : paths) placed.push_back(place(path, request));
  const ComplexImage whole_truth = load_truths(request);
  Judged out;
  out.region = judged_region(common_region(placed, paths), whole_truth, request);
  out.truth = cut_out(whole_truth, out.region);
  for (const Placed& one : placed) out.results.push_back(cut_out(one, out.truth, out.region));
  for (std::size_t k = 0; k < paths.size(); ++k) out.results[k].path = paths[k];
  return out;
}

}  // namespace ptynet
