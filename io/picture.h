// Pictures of a reconstruction for people: maps in colours with a colour bar and a scale bar.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/bytes.h"
#include "io/colormap.h"
#include "io/result.h"
#include "kernels/array.h"

namespace ptynet::io {

struct PictureOptions {
  Colormap colormap = Colormap::kGrey;
  std::string label;  // above the colour bar: "phase / rad"; see io/font.h for its characters
  // Size of a value's pixel in metres (row, column). Given, a scale bar is drawn: the largest of
  // 1, 2, 5 x 10^k metres that fits into 0.3 of the width, horizontally.
  std::optional<std::array<double, 2>> pixel_size_m;
  // Values at the ends of the colour bar; those beyond get the colour of the end. Without it, the
  // 0.5th and 99.5th percentile of the finite values, so that a few outliers do not take the
  // contrast from the rest.
  std::optional<std::array<double, 2>> range;
};

// f32 [rows, columns] -> u8 [picture rows, picture columns, 3]. A value that is not finite, as
// where nothing was measured, is drawn in a light neutral tone that neither map has. Maps of under
// 512 pixels are enlarged by a whole factor, those of over 2048 averaged over square blocks.
// Throws Error (input) for other arrays, an empty range or a pixel size that is not positive.
Array render_picture(const Array& values, const PictureOptions& options);

struct Panel {
  Array values;       // f32 [rows, columns]
  std::string title;  // above the map, as much of it as there is room for; or empty
};

// Maps of one shape side by side, drawn alike, with one colour bar and one scale bar. Without a
// range in the options it is that of the first map. Maps are averaged when all of them together
// would be over 2048 pixels long. Throws Error (input) as render_picture(), and for no maps and
// maps of several shapes.
Array render_row(const std::vector<Panel>& panels, const PictureOptions& options);

// One picture u8 [rows, columns, 3] below the other, with left edges in line.
Array stacked(const std::vector<Array>& pictures);

// The two percentiles of the finite values that the colour bar begins and ends with; widened by
// 0.5 either way when they are the same; 0 and 1 when no value is finite.
std::array<double, 2> robust_range(const Array& values);

// Length of the scale bar in metres for a picture of that width.
double scale_bar_m(double width_m);
// "500 nm", "2 um" (with the micro sign)
std::string length_label(double length_m);

// amplitude.png (grey), phase.png and coverage.png (colours) in a folder, which is made when
// missing. Pixels that no patch gave anything (coverage is 0) are neutral. Until commit() the
// pictures have temporary names; without it neither they nor the folders that were made stay.
class PictureWriter {
 public:
  // Throws Error (input) when the folder cannot be made or written to, or a picture's name is taken
  // by a folder.
  explicit PictureWriter(const std::filesystem::path& folder);
  // Draws all of them. Throws Error (input), for instance on a full disk.
  void draw(const Result& result);
  void commit();
  std::vector<std::filesystem::path> paths() const;

 private:
  std::filesystem::path path_;
  PendingFolder folder_;  // before the files: they go first
  std::vector<std::unique_ptr<PendingFile>> files_;
};

}  // namespace ptynet::io
