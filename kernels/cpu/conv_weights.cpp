#include "kernels/cpu/conv_weights.h"

#include <algorithm>

namespace ptynet::cpu {

namespace {

// to[column * to_step + row] = from[row * from_step + column], in tiles of whole cache lines.
void transpose(const float* from, std::int64_t from_step, std::int64_t rows, std::int64_t columns,
               float* to, std::int64_t to_step) {
  constexpr std::int64_t kTile = 16;
  for (std::int64_t first_row = 0; first_row < rows; first_row += kTile) {
    const std::int64_t end_row = std::min(rows, first_row + kTile);
    for (std::int64_t first = 0; first < columns; first += kTile) {
      const std::int64_t end = std::min(columns, first + kTile);
      for (std::int64_t column = first; column < end; ++column) {
        for (std::int64_t row = first_row; row < end_row; ++row) {
          to[column * to_step + row] = from[row * from_step + column];
        }
      }
    }
  }
}

}  // namespace

std::int64_t groups_to_run(std::int64_t ci, std::int64_t co, std::int64_t groups) {
  const bool depthwise = ci == groups && co == groups;
  return co / groups < 8 && !depthwise ? 1 : groups;
}

void ungroup_weights(const WeightShape& shape, const float* from, float* to) {
  const std::int64_t ci_group = shape.ci_group();
  std::fill_n(to, shape.co * shape.taps() * shape.ci, 0.0F);
  for (std::int64_t tap = 0; tap < shape.co * shape.taps(); ++tap) {
    const std::int64_t group = tap / shape.taps() / shape.co_group();
    std::copy_n(from + tap * ci_group, ci_group, to + tap * shape.ci + group * ci_group);
  }
}

void regroup_weights(const WeightShape& shape, const float* from, float* to) {
  const std::int64_t ci_group = shape.ci_group();
  for (std::int64_t tap = 0; tap < shape.co * shape.taps(); ++tap) {
    const std::int64_t group = tap / shape.taps() / shape.co_group();
    std::copy_n(from + tap * shape.ci + group * ci_group, ci_group, to + tap * ci_group);
  }
}

void mirror_weights(const WeightShape& shape, const float* from, float* to) {
  const std::int64_t taps = shape.taps();
  const std::int64_t rows = shape.co_group();
  const std::int64_t columns = shape.ci_group();
#pragma omp parallel for collapse(2)
  for (std::int64_t group = 0; group < shape.groups; ++group) {
    for (std::int64_t tap = 0; tap < taps; ++tap) {
      transpose(from + (group * rows * taps + taps - 1 - tap) * columns, taps * columns, rows,
                columns, to + (group * columns * taps + tap) * rows, taps * rows);
    }
  }
}

void PhaseWeights::pack_tap(const float* w, float* packed, std::int64_t group, std::int64_t phase,
                            std::int64_t u) const {
  const std::int64_t ci_group = ci / groups;
  const std::int64_t co_group = co / groups;
  const std::int64_t row = stride * (taps_h - 1 - u / taps_w) + phase / stride;
  const std::int64_t column = stride * (taps_w - 1 - u % taps_w) + phase % stride;
  // A group is a part of its own, or shares the only one.
  const std::int64_t part = parts == groups ? group : 0;
  const std::int64_t place = group - part;
  const std::int64_t first = (part * stride * stride + phase) * (co / parts) + place * co_group;
  const std::int64_t step = taps_h * taps_w * (ci / parts);
  float* to = packed + first * step + u * (ci / parts) + place * ci_group;
  if (row < kh && column < kw) {
    transpose(w + ((group * ci_group * kh + row) * kw + column) * co_group, kh * kw * co_group,
              ci_group, co_group, to, step);
    return;
  }
  for (std::int64_t c = 0; c < co_group; ++c) std::fill_n(to + c * step, ci_group, 0.0F);
}

void PhaseWeights::pack(const float* w, float* packed) const {
  const std::int64_t phases = stride * stride;
  const std::int64_t window = taps_h * taps_w;
  if (parts != groups) std::fill_n(packed, co * phases * window * ci, 0.0F);
#pragma omp parallel for collapse(3)
  for (std::int64_t group = 0; group < groups; ++group) {
    for (std::int64_t phase = 0; phase < phases; ++phase) {
      for (std::int64_t u = 0; u < window; ++u) pack_tap(w, packed, group, phase, u);
    }
  }
}

void PhaseWeights::pack_bias(const float* b, float* packed) const {
  for (std::int64_t part = 0; part < parts; ++part) {
    for (std::int64_t phase = 0; phase < stride * stride; ++phase) {
      packed = std::copy_n(b + part * co / parts, co / parts, packed);
    }
  }
}

}  // namespace ptynet::cpu
