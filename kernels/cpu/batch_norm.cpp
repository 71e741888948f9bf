// Batch norm. Sums over pixels are taken in float over blocks that stay in the cache, and from
// there in double; which pixels meet in which order depends on the shape alone, not on the threads.

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/typed.h"

namespace ptynet::cpu {

namespace {

constexpr std::int64_t kBlockPixels = 64;
constexpr std::int64_t kMostParts = 64;

// All pixels of a batch, cut into parts for the threads.
struct Pixels {
  std::int64_t count, c;

  explicit Pixels(const Array& x)
      : count(x.elements() / std::max<std::int64_t>(x.shape()[3], 1)), c(x.shape()[3]) {}
  std::int64_t blocks() const { return (count + kBlockPixels - 1) / kBlockPixels; }
  std::int64_t parts() const { return std::clamp<std::int64_t>(blocks(), 1, kMostParts); }
  std::int64_t first(std::int64_t part) const {
    return std::min(part * blocks() / parts() * kBlockPixels, count);
  }
};

// Per channel, of some pixels: their mean and the sum of squared deviations from it.
struct Moments {
  double* mean;
  double* spread;
};

// Adds `rows` pixels to the `seen` of before, as Chan, Golub and LeVeque 1983 merge moments: no
// difference of large sums is ever taken.
void merge_moments(const Moments& total, std::int64_t seen, const Moments& added, std::int64_t rows,
                   std::int64_t first_channel, std::int64_t last_channel) {
  const double share = static_cast<double>(rows) / static_cast<double>(seen + rows);
  const double between = static_cast<double>(seen) * share;
#pragma omp simd
  for (std::int64_t i = first_channel; i < last_channel; ++i) {
    const double apart = added.mean[i] - total.mean[i];
    total.mean[i] += share * apart;
    total.spread[i] += added.spread[i] + between * apart * apart;
  }
}

// Runs body(first row, rows of it) by fours and then by ones, the number known to the compiler: a
// sum over four rows is read and written once.
template <typename Body>
void by_rows(std::int64_t rows, const Body& body) {
  std::int64_t row = 0;
  for (; row + 4 <= rows; row += 4) body(row, std::integral_constant<std::int64_t, 4>{});
  for (; row < rows; ++row) body(row, std::integral_constant<std::int64_t, 1>{});
}

// room: 3 c floats, and moments of c channels.
void moments_of_block(const float* x, std::int64_t rows, std::int64_t c, float* room,
                      const Moments& out) {
  float* centre = room;
  float* first_order = room + c;
  float* second_order = room + 2 * c;
  std::fill_n(room, 3 * c, 0.0F);
  by_rows(rows, [=](std::int64_t row, auto together) {
    const float* values = x + row * c;
#pragma omp simd
    for (std::int64_t i = 0; i < c; ++i) {
      float sum = 0;
      for (std::int64_t r = 0; r < together; ++r) sum += values[r * c + i];
      centre[i] += sum;
    }
  });
  for (std::int64_t i = 0; i < c; ++i) centre[i] /= static_cast<float>(rows);
  by_rows(rows, [=](std::int64_t row, auto together) {
    const float* values = x + row * c;
#pragma omp simd
    for (std::int64_t i = 0; i < c; ++i) {
      float sum = 0;
      float squares = 0;
      for (std::int64_t r = 0; r < together; ++r) {
        const float deviation = values[r * c + i] - centre[i];
        sum += deviation;
        squares += deviation * deviation;
      }
      first_order[i] += sum;
      second_order[i] += squares;
    }
  });
#pragma omp simd
  for (std::int64_t i = 0; i < c; ++i) {  // the centre was rounded: put it right
    const double off = double{first_order[i]} / static_cast<double>(rows);
    out.mean[i] = double{centre[i]} + off;
    out.spread[i] = double{second_order[i]} - double{first_order[i]} * off;
  }
}

// Scratch memory of a reduction: what each part found, and its room for blocks.
struct Partial {
  double* sums;  // [parts, 4, c]: of the part, of the block under way
  float* room;   // [parts, 3, c]
  std::int64_t c;

  Moments part(std::int64_t i) const { return {sums + i * 4 * c, sums + (i * 4 + 1) * c}; }
  Moments block(std::int64_t i) const { return {sums + (i * 4 + 2) * c, sums + (i * 4 + 3) * c}; }
  float* block_room(std::int64_t i) const { return room + i * 3 * c; }
};

void moments_of_part(const float* x, const Pixels& pixels, std::int64_t part,
                     const Partial& partial) {
  const Moments total = partial.part(part);
  std::fill_n(total.mean, 2 * pixels.c, 0.0);
  const std::int64_t first = pixels.first(part);
  const std::int64_t last = pixels.first(part + 1);
  for (std::int64_t pixel = first; pixel < last; pixel += kBlockPixels) {
    const std::int64_t rows = std::min(kBlockPixels, last - pixel);
    moments_of_block(x + pixel * pixels.c, rows, pixels.c, partial.block_room(part),
                     partial.block(part));
    merge_moments(total, pixel - first, partial.block(part), rows, 0, pixels.c);
  }
}

// What a training step of batch norm reads and writes, per channel.
struct BatchChannels {
  const float* weight;
  const float* bias;
  float* running_mean;
  float* running_var;
  float* mean;
  float* inverse_std;
  float* scale;
  float* shift;
  double epsilon, momentum;

  // From the moments of all pixels.
  void finish(std::int64_t i, double batch_mean, double spread, std::int64_t pixels) const {
    const auto count = static_cast<double>(pixels);
    const double unbiased = spread / std::max(count - 1.0, 1.0);
    mean[i] = static_cast<float>(batch_mean);
    inverse_std[i] = static_cast<float>(1.0 / std::sqrt(spread / count + epsilon));
    scale[i] = weight[i] * inverse_std[i];
    // With what rounding took from the mean.
    shift[i] =
        static_cast<float>(double{bias[i]} + (double{mean[i]} - batch_mean) * double{scale[i]});
    const auto follow = [&](float& running, double batch) {
      running = static_cast<float>(double{running} + momentum * (batch - double{running}));
    };
    follow(running_mean[i], batch_mean);
    follow(running_var[i], unbiased);
  }
};

// y = (x - mean) * scale + shift; the difference first, for means far larger than the spread.
void normalise_row(const float* x, const BatchChannels& channels, std::int64_t c, float* y) {
  const float* mean = channels.mean;
  const float* scale = channels.scale;
  const float* shift = channels.shift;
#pragma omp simd
  for (std::int64_t i = 0; i < c; ++i) y[i] = (x[i] - mean[i]) * scale[i] + shift[i];
}

// Per channel, for the gradient: dx = gain * (dy - offset - (x - mean) * slope).
struct GradientChannels {
  const float* mean;
  float* gain;
  float* offset;
  float* slope;

  void run_row(const float* x, const float* dy, std::int64_t c, float* dx) const {
    const float* centre = mean;
    const float* a = gain;
    const float* b = offset;
    const float* k = slope;
#pragma omp simd
    for (std::int64_t i = 0; i < c; ++i) dx[i] = a[i] * (dy[i] - b[i] - (x[i] - centre[i]) * k[i]);
  }
};

// Sums over a part: dy in the first c doubles, dy * (x - mean) in the next.
void gradient_sums_of_part(const float* x, const float* dy, const float* mean, const Pixels& pixels,
                           std::int64_t part, const Partial& partial) {
  const std::int64_t c = pixels.c;
  const Moments total = partial.part(part);
  std::fill_n(total.mean, 2 * c, 0.0);
  float* plain = partial.block_room(part);
  float* weighted = plain + c;
  const std::int64_t last = pixels.first(part + 1);
  for (std::int64_t pixel = pixels.first(part); pixel < last; pixel += kBlockPixels) {
    std::fill_n(plain, 2 * c, 0.0F);
    by_rows(std::min(kBlockPixels, last - pixel), [=](std::int64_t row, auto together) {
      const float* values = x + (pixel + row) * c;
      const float* slopes = dy + (pixel + row) * c;
#pragma omp simd
      for (std::int64_t i = 0; i < c; ++i) {
        float sum = 0;
        float weighted_sum = 0;
        for (std::int64_t r = 0; r < together; ++r) {
          sum += slopes[r * c + i];
          weighted_sum += slopes[r * c + i] * (values[r * c + i] - mean[i]);
        }
        plain[i] += sum;
        weighted[i] += weighted_sum;
      }
    });
#pragma omp simd
    for (std::int64_t i = 0; i < c; ++i) {
      total.mean[i] += double{plain[i]};
      total.spread[i] += double{weighted[i]};
    }
  }
}

}  // namespace

void CpuBackend::batch_norm(const Array& x, const BatchNormParameters& p, Array& y) {
  const std::int64_t c = x.shape()[3];
  const std::int64_t pixels = x.elements() / std::max<std::int64_t>(c, 1);
  const float* weight = p.weight.data<float>();
  const float* bias = p.bias.data<float>();
  const float* mean = p.running_mean.data<float>();
  const float* variance = p.running_var.data<float>();
  Array affine = scratch({2, c}, DType::kF32);
  with_float_type(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    T* out = y.data<T>();
    float* scale = affine.data<float>();
    submit("batch_norm", y, [=, epsilon = p.epsilon] {
      float* shift = scale + c;
      for (std::int64_t i = 0; i < c; ++i) {
        scale[i] = weight[i] / std::sqrt(variance[i] + epsilon);
        shift[i] = bias[i] - mean[i] * scale[i];
      }
#pragma omp parallel for
      for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
        for (std::int64_t i = 0; i < c; ++i) {
          store(out[pixel * c + i], load(in[pixel * c + i]) * scale[i] + shift[i]);
        }
      }
    });
  });
}

void CpuBackend::batch_norm_training(const Array& x, BatchNormParameters& p, BatchStatistics& batch,
                                     Array& y) {
  const Pixels pixels(x);
  const std::int64_t parts = pixels.parts();
  Array sums = scratch({parts, 4, pixels.c}, DType::kF64);
  Array room = scratch({parts + 1, 3, pixels.c}, DType::kF32);
  const Partial partial{sums.data<double>(), room.data<float>(), pixels.c};
  float* shared = partial.block_room(parts);
  BatchChannels channels{};
  channels.weight = p.weight.data<float>();
  channels.bias = p.bias.data<float>();
  channels.running_mean = p.running_mean.data<float>();
  channels.running_var = p.running_var.data<float>();
  channels.mean = batch.mean.data<float>();
  channels.inverse_std = batch.inverse_std.data<float>();
  channels.scale = shared;
  channels.shift = shared + pixels.c;
  channels.epsilon = double{p.epsilon};
  channels.momentum = double{p.momentum};
  submit("batch_norm_training", y, [=, in = x.data<float>(), out = y.data<float>()] {
#pragma omp parallel
    {
#pragma omp for
      for (std::int64_t part = 0; part < parts; ++part) moments_of_part(in, pixels, part, partial);
#pragma omp for
      for (std::int64_t i = 0; i < pixels.c; ++i) {
        const Moments total = partial.part(0);
        for (std::int64_t part = 1; part < parts; ++part) {
          merge_moments(total, pixels.first(part), partial.part(part),
                        pixels.first(part + 1) - pixels.first(part), i, i + 1);
        }
        channels.finish(i, total.mean[i], total.spread[i], pixels.count);
      }
#pragma omp for
      for (std::int64_t pixel = 0; pixel < pixels.count; ++pixel) {
        normalise_row(in + pixel * pixels.c, channels, pixels.c, out + pixel * pixels.c);
      }
    }
  });
}

void CpuBackend::batch_norm_gradient(const Array& x, const Array& weight,
                                     const BatchStatistics& batch, const Array& dy,
                                     OperandGradients& d) {
  const Pixels pixels(x);
  const std::int64_t parts = pixels.parts();
  const std::int64_t c = pixels.c;
  Array sums = scratch({parts, 4, c}, DType::kF64);
  Array room = scratch({parts + 1, 3, c}, DType::kF32);
  const Partial partial{sums.data<double>(), room.data<float>(), c};
  float* shared = partial.block_room(parts);
  const GradientChannels channels{batch.mean.data<float>(), shared, shared + c, shared + 2 * c};
  submit("batch_norm_gradient", dy,
         [=, in = x.data<float>(), slopes = dy.data<float>(), scale = weight.data<float>(),
          inverse_std = batch.inverse_std.data<float>(), dx = data_or_null<float>(d.x),
          dw = data_or_null<float>(d.w), db = data_or_null<float>(d.b)] {
#pragma omp parallel
           {
#pragma omp for
             for (std::int64_t part = 0; part < parts; ++part) {
               gradient_sums_of_part(in, slopes, channels.mean, pixels, part, partial);
             }
#pragma omp for
             for (std::int64_t i = 0; i < c; ++i) {
               double plain = 0;
               double weighted = 0;
               for (std::int64_t part = 0; part < parts; ++part) {
                 plain += partial.part(part).mean[i];
                 weighted += partial.part(part).spread[i];
               }
               const double narrow = double{inverse_std[i]};
               const double share = 1.0 / static_cast<double>(pixels.count);
               channels.gain[i] = scale[i] * inverse_std[i];
               channels.offset[i] = static_cast<float>(plain * share);
               channels.slope[i] = static_cast<float>(weighted * narrow * narrow * share);
               if (db != nullptr) db[i] = static_cast<float>(plain);
               if (dw != nullptr) dw[i] = static_cast<float>(weighted * narrow);
             }
             if (dx != nullptr) {
#pragma omp for
               for (std::int64_t pixel = 0; pixel < pixels.count; ++pixel) {
                 channels.run_row(in + pixel * c, slopes + pixel * c, c, dx + pixel * c);
               }
             }
           }
         });
}

}  // namespace ptynet::cpu
