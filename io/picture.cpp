#include "io/picture.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <vector>

#include "io/canvas.h"
#include "io/font.h"
#include "io/png.h"

namespace ptynet::io {
namespace {

constexpr std::int64_t kLeastSide = 512;  // of a map as drawn, px
constexpr std::int64_t kMostSide = 2048;  // of all maps of a row
constexpr std::int64_t kLeastUnit = 2;    // size of a font pixel, px

// A map of values with its size in the picture.
struct Plane {
  std::int64_t rows;
  std::int64_t columns;
  std::vector<float> values;
  float at(std::int64_t r, std::int64_t c) const {
    return values[static_cast<std::size_t>(r * columns + c)];
  }
};

// Means over blocks of size x size, of what is finite in them; NaN where nothing is.
Plane shrunk(const Array& values, std::int64_t size) {
  const std::int64_t rows = values.shape()[0], columns = values.shape()[1];
  const float* from = values.data<float>();
  Plane out{(rows + size - 1) / size, (columns + size - 1) / size, {}};
  out.values.reserve(static_cast<std::size_t>(out.rows * out.columns));
  for (std::int64_t r = 0; r < rows; r += size) {
    for (std::int64_t c = 0; c < columns; c += size) {
      double sum = 0;
      int n = 0;
      for (std::int64_t y = r; y < std::min(r + size, rows); ++y) {
        for (std::int64_t x = c; x < std::min(c + size, columns); ++x) {
          const float value = from[y * columns + x];
          if (!std::isfinite(value)) continue;
          sum += value;
          ++n;
        }
      }
      out.values.push_back(n > 0 ? static_cast<float>(sum / n)
                                 : std::numeric_limits<float>::quiet_NaN());
    }
  }
  return out;
}

std::string number_label(double value, int digits) {
  char label[32];
  std::snprintf(label, sizeof(label), "%.*g", digits, value);
  return label;
}

// The largest of 1, 2, 5 x 10^k that is not above a positive value.
double round_below(double value) {
  const double decade = std::pow(10, std::floor(std::log10(value)));
  for (const double digit : {10.0, 5.0, 2.0}) {
    if (digit * decade <= value * (1 + 1e-9)) return digit * decade;
  }
  return decade;
}

struct Tick {
  double at;  // 0 at the lower end of the bar, 1 at the upper
  std::string label;
};

// The ends and the round values between them that leave the ends `clearance` of the bar.
std::vector<Tick> ticks_of(const std::array<double, 2>& range, double clearance) {
  const auto [low, high] = range;
  std::vector<Tick> ticks = {{0, number_label(low, 3)}, {1, number_label(high, 3)}};
  const double step = round_below((high - low) / 3);
  // A step below the resolution of doubles around the range gives no ticks of use.
  if (!(step > 1e-9 * std::max(std::abs(low), std::abs(high)))) return ticks;
  for (double k = std::ceil(low / step); k * step < high; ++k) {
    const double at = (k * step - low) / (high - low);
    if (at < clearance || at > 1 - clearance) continue;
    ticks.push_back({at, number_label(k * step, 4)});
  }
  return ticks;
}

// Where everything lies, in pixels of the picture; `unit` is the size of a font pixel, `zoom` that
// of a map's pixel, `pitch` the way from one map to the next.
struct Layout {
  std::int64_t unit, zoom, margin, text_height;
  std::int64_t maps, map_row, map_rows, map_columns, pitch;
  std::int64_t bar_row, bar_column, bar_rows, bar_columns;
  std::int64_t rows, columns;

  std::int64_t map_column(std::size_t k) const {
    return margin + static_cast<std::int64_t>(k) * pitch;
  }
};

int widest_title(const std::vector<Panel>& panels) {
  int widest = 0;
  for (const Panel& panel : panels) widest = std::max(widest, text_width(panel.title));
  return widest;
}

// As large as in a single map of the row's size, but no larger than the titles have room for.
std::int64_t font_unit(const Layout& layout, int title_width) {
  const auto longest =
      static_cast<double>(std::max(layout.map_rows, layout.maps * layout.map_columns));
  std::int64_t unit = std::lround(longest / 400);
  if (title_width > 0) unit = std::min(unit, layout.map_columns / title_width);
  return std::max(kLeastUnit, unit);
}

Layout layout_of(const Plane& plane, std::int64_t zoom, const std::vector<Panel>& panels,
                 const PictureOptions& options) {
  Layout out{};
  out.zoom = zoom;
  out.maps = static_cast<std::int64_t>(panels.size());
  out.map_rows = plane.rows * zoom;
  out.map_columns = plane.columns * zoom;
  const int title_width = widest_title(panels);
  out.unit = font_unit(out, title_width);
  out.margin = 9 * out.unit;
  out.text_height = kGlyphBaseline * out.unit;
  out.pitch = out.map_columns + 6 * out.unit;
  const std::int64_t line = out.text_height + 6 * out.unit;
  out.map_row = out.margin + (title_width > 0 ? line : 0);
  out.bar_row = out.margin + (options.label.empty() ? 0 : line);
  out.bar_column = out.map_column(panels.size() - 1) + out.map_columns + 12 * out.unit;
  out.bar_rows = std::max(out.map_row + out.map_rows - out.bar_row, 60 * out.unit);
  out.bar_columns = 10 * out.unit;
  const std::int64_t widest_number = text_width("-0.00000") * out.unit;
  const std::int64_t beside = std::max<std::int64_t>(out.bar_columns + 5 * out.unit + widest_number,
                                                     text_width(options.label) * out.unit);
  out.columns = out.bar_column + beside + out.margin;
  const std::int64_t below = options.pixel_size_m ? 14 * out.unit : 0;
  out.rows = std::max(out.map_row + out.map_rows, out.bar_row + out.bar_rows) + below + out.margin;
  return out;
}

struct Colours {
  Colormap colormap;
  std::array<double, 2> range;

  Rgb of(double value) const {
    if (!std::isfinite(value)) return kNeutral;
    return color_at(colormap, (value - range[0]) / (range[1] - range[0]));
  }
};

void draw_map(Canvas& canvas, const Layout& layout, std::int64_t column, const Plane& plane,
              const Colours& colours) {
  const std::int64_t zoom = layout.zoom;
  for (std::int64_t r = 0; r < plane.rows; ++r) {
    for (std::int64_t c = 0; c < plane.columns; ++c) {
      canvas.fill(layout.map_row + r * zoom, column + c * zoom, zoom, zoom,
                  colours.of(static_cast<double>(plane.at(r, c))));
    }
  }
  canvas.frame(layout.map_row, column, layout.map_rows, layout.map_columns);
}

// As much of it as there is room for above a map.
void draw_title(Canvas& canvas, const Layout& layout, std::int64_t column, std::string title) {
  while (text_width(title) * layout.unit > layout.map_columns) title.pop_back();
  canvas.write(layout.margin, column, title, layout.unit);
}

void draw_bar(Canvas& canvas, const Layout& layout, const PictureOptions& options,
              const std::array<double, 2>& range) {
  canvas.write(layout.margin, layout.bar_column, options.label, layout.unit);
  const auto last = static_cast<double>(layout.bar_rows - 1);
  for (std::int64_t r = 0; r < layout.bar_rows; ++r) {
    canvas.fill(layout.bar_row + r, layout.bar_column, 1, layout.bar_columns,
                color_at(options.colormap, 1 - static_cast<double>(r) / last));
  }
  canvas.frame(layout.bar_row, layout.bar_column, layout.bar_rows, layout.bar_columns);
  const std::int64_t right = layout.bar_column + layout.bar_columns;
  const double clearance = 2.4 * static_cast<double>(layout.text_height) / last;
  for (const Tick& tick : ticks_of(range, clearance)) {
    const std::int64_t row = layout.bar_row + std::lround((1 - tick.at) * last);
    canvas.fill(row, right, 1, 3 * layout.unit, kInk);
    // Centred on the tick, but within the bar at its ends.
    const std::int64_t text_row = std::clamp(row - layout.text_height / 2, layout.bar_row,
                                             layout.bar_row + layout.bar_rows - layout.text_height);
    canvas.write(text_row, right + 5 * layout.unit, tick.label, layout.unit);
  }
}

void draw_scale(Canvas& canvas, const Layout& layout, double width_m) {
  const double length_m = scale_bar_m(width_m);
  const auto columns = std::max<std::int64_t>(
      1, std::lround(length_m / width_m * static_cast<double>(layout.map_columns)));
  const std::int64_t row = layout.rows - layout.margin - layout.text_height;
  const std::int64_t thickness = 2 * layout.unit;
  canvas.fill(row + (layout.text_height - thickness) / 2, layout.margin, thickness, columns, kInk);
  canvas.write(row, layout.margin + columns + 5 * layout.unit, length_label(length_m), layout.unit);
}

void check_panels(const std::vector<Panel>& panels) {
  if (panels.empty()) fail_input("expected maps f32[rows, columns] to draw, found none");
  for (const auto& [values, title] : panels) {
    if (values.empty() || values.shape().rank() != 2 || values.dtype() != DType::kF32 ||
        values.elements() == 0) {
      fail_input("expected a map f32[rows, columns] to draw, found ", describe(values));
    }
    if (values.shape() != panels.front().values.shape()) {
      fail_input("expected maps of one shape to draw side by side, found ",
                 to_string(panels.front().values.shape()), " and ", to_string(values.shape()));
    }
  }
}

void check_options(const std::array<double, 2>& range, const PictureOptions& options) {
  if (!(range[0] < range[1]) || !std::isfinite(range[1] - range[0])) {
    fail_input("expected a range of values to draw, found ", range[0], " to ", range[1]);
  }
  if (!options.pixel_size_m) return;
  for (const double size_m : *options.pixel_size_m) {
    if (!(size_m > 0) || !std::isfinite(size_m)) {
      fail_input("expected a positive pixel size to draw a scale bar, found ", size_m, " m");
    }
  }
}

// The map with NaN where no patch gave anything.
Array where_known(const Array& values, const Array& coverage) {
  Array out = values.clone();
  auto* value = out.data<float>();
  const auto* weight = coverage.data<float>();
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    if (!(weight[i] > 0)) value[i] = std::numeric_limits<float>::quiet_NaN();
  }
  return out;
}

}  // namespace

std::array<double, 2> robust_range(const Array& values) {
  std::vector<float> finite;
  const float* from = values.data<float>();
  std::copy_if(from, from + values.elements(), std::back_inserter(finite),
               [](float value) { return std::isfinite(value); });
  if (finite.empty()) return {0, 1};
  const auto percentile = [&](double fraction) {
    const auto rank = std::lround(fraction * static_cast<double>(finite.size() - 1));
    std::nth_element(finite.begin(), finite.begin() + rank, finite.end());
    return static_cast<double>(finite[static_cast<std::size_t>(rank)]);
  };
  const double low = percentile(0.005), high = percentile(0.995);
  if (low == high) return {low - 0.5, high + 0.5};
  return {low, high};
}

double scale_bar_m(double width_m) { return round_below(0.3 * width_m); }

std::string length_label(double length_m) {
  struct Unit {
    double metres;
    const char* name;
  };
  constexpr std::array<Unit, 5> kUnits = {
      {{1, "m"}, {1e-3, "mm"}, {1e-6, "\u00b5m"}, {1e-9, "nm"}, {1e-12, "pm"}}};
  // A length just below a unit by rounding still counts as one of it.
  const auto unit = std::find_if(kUnits.begin(), kUnits.end() - 1, [&](const Unit& candidate) {
    return length_m >= candidate.metres * (1 - 1e-9);
  });
  return text(number_label(length_m / unit->metres, 4), " ", unit->name);
}

Array render_row(const std::vector<Panel>& panels, const PictureOptions& options) {
  check_panels(panels);
  const Array& first = panels.front().values;
  const std::array<double, 2> range = options.range.value_or(robust_range(first));
  check_options(range, options);
  const std::int64_t longest = std::max(first.shape()[0], first.shape()[1]);
  const std::int64_t together = longest * static_cast<std::int64_t>(panels.size());
  const std::int64_t block = (together + kMostSide - 1) / kMostSide;
  const std::int64_t zoom = block > 1 ? 1 : (kLeastSide + longest - 1) / longest;
  std::vector<Plane> planes;
  planes.reserve(panels.size());
  for (const Panel& panel : panels) planes.push_back(shrunk(panel.values, block));
  const Layout layout = layout_of(planes.front(), zoom, panels, options);
  Canvas canvas(layout.rows, layout.columns);
  for (std::size_t k = 0; k < panels.size(); ++k) {
    const std::int64_t column = layout.map_column(k);
    draw_map(canvas, layout, column, planes[k], {options.colormap, range});
    draw_title(canvas, layout, column, panels[k].title);
  }
  draw_bar(canvas, layout, options, range);
  if (options.pixel_size_m) {
    draw_scale(canvas, layout, (*options.pixel_size_m)[1] * static_cast<double>(first.shape()[1]));
  }
  return canvas.picture();
}

Array render_picture(const Array& values, const PictureOptions& options) {
  return render_row({{values, ""}}, options);
}

Array stacked(const std::vector<Array>& pictures) {
  std::int64_t rows = 0, columns = 0;
  for (const Array& picture : pictures) {
    rows += picture.shape()[0];
    columns = std::max(columns, picture.shape()[1]);
  }
  Canvas canvas(rows, columns);
  std::int64_t row = 0;
  for (const Array& picture : pictures) {
    canvas.paste(row, 0, picture);
    row += picture.shape()[0];
  }
  return canvas.picture();
}

PictureWriter::PictureWriter(const std::filesystem::path& folder) : path_(folder), folder_(folder) {
  for (const auto& path : paths()) files_.push_back(std::make_unique<PendingFile>(path));
}

std::vector<std::filesystem::path> PictureWriter::paths() const {
  return {path_ / "amplitude.png", path_ / "phase.png", path_ / "coverage.png"};
}

void PictureWriter::draw(const Result& result) {
  const auto draw_one = [&](std::size_t i, const Array& values, Colormap colormap,
                            const char* label) {
    const PictureOptions options{colormap, label, result.pixel_size_m, std::nullopt};
    write_png(files_[i]->path(), render_picture(where_known(values, result.coverage), options));
    files_[i]->sync();
  };
  draw_one(0, result.amplitude(), Colormap::kGrey, "amplitude");
  draw_one(1, result.phase_rad(), Colormap::kHelix, "phase / rad");
  draw_one(2, result.coverage, Colormap::kHelix, "summed weight");
}

void PictureWriter::commit() {
  for (const auto& file : files_) file->commit();
  folder_.keep();
}

}  // namespace ptynet::io
