// Batch norm, forward.

#include "kernels/cpu/batch_norm.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_backend.h"
#include "kernels/cpu/fixed_activation.h"
#include "kernels/cpu/typed.h"

namespace ptynet::cpu {

namespace {

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

  void finish(std::int64_t i, const ChannelMoments& moments) const {
    const auto norm = ChannelNorm<float>::of(moments, weight[i], bias[i], epsilon);
    mean[i] = norm.mean;
    inverse_std[i] = norm.inverse_std;
    scale[i] = norm.scale;
    shift[i] = norm.shift;
    running_mean[i] = followed(running_mean[i], moments.mean, momentum);
    running_var[i] = followed(running_var[i], moments.unbiased_variance(), momentum);
  }
};

template <typename Kind>
void normalise_row(const Normalisation& by, Kind kind, const float* x, std::int64_t c, float* y) {
  const float* mean = by.mean;
  const float* scale = by.scale;
  const float* shift = by.shift;
  const Activation a = kind.activation();
#pragma omp simd
  for (std::int64_t i = 0; i < c; ++i) {
    y[i] = activate(normalised(x[i], mean[i], scale[i], shift[i]), a);
  }
}

// One training step of a batch norm and its activation.
struct BatchTraining {
  Pixels pixels;
  Partial partial;
  BatchChannels channels;
  const float* x;
  float* y;

  // Within a parallel region.
  template <typename Kind>
  void run(Kind kind) const {
#pragma omp for
    for (std::int64_t part = 0; part < pixels.parts(); ++part) {
      moments_of_part(x, pixels, part, partial);
    }
#pragma omp for
    for (std::int64_t i = 0; i < pixels.c; ++i) finish(i);
    const Normalisation by{channels.mean, channels.scale, channels.shift};
#pragma omp for
    for (std::int64_t pixel = 0; pixel < pixels.count; ++pixel) {
      normalise_row(by, kind, x + pixel * pixels.c, pixels.c, y + pixel * pixels.c);
    }
  }

 private:
  // From the moments of all parts of one channel.
  void finish(std::int64_t i) const {
    const Moments total = partial.part(0);
    for (std::int64_t part = 1; part < pixels.parts(); ++part) {
      merge_moments(total, pixels.first(part), partial.part(part),
                    pixels.first(part + 1) - pixels.first(part), i, i + 1);
    }
    channels.finish(i, {static_cast<double>(pixels.count), total.mean[i], total.spread[i]});
  }
};

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
    with_kind(p.activation, [&](auto kind) {
      using T = decltype(type);
      const T* in = x.data<T>();
      T* out = y.data<T>();
      float* scale = affine.data<float>();
      submit("batch_norm", y, [=, epsilon = p.epsilon] {
        const Activation a = kind.activation();
        float* shift = scale + c;
        for (std::int64_t i = 0; i < c; ++i) {
          scale[i] = weight[i] / std::sqrt(variance[i] + epsilon);
          shift[i] = bias[i] - mean[i] * scale[i];
        }
#pragma omp parallel for
        for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
          const T* from = in + pixel * c;
          T* to = out + pixel * c;
#pragma omp simd
          for (std::int64_t i = 0; i < c; ++i) {
            store(to[i], activate(load(from[i]) * scale[i] + shift[i], a));
          }
        }
      });
    });
  });
}

void CpuBackend::batch_norm_training(const Array& x, BatchNormParameters& p, BatchStatistics& batch,
                                     Array& y) {
  const Pixels pixels(x);
  const std::int64_t parts = pixels.parts();
  Array sums = scratch({parts, 4, pixels.c}, DType::kF64);
  Array room = scratch({parts, 3, pixels.c}, DType::kF32);
  const Partial partial{sums.data<double>(), room.data<float>(), pixels.c};
  const BatchChannels channels{.weight = p.weight.data<float>(),
                               .bias = p.bias.data<float>(),
                               .running_mean = p.running_mean.data<float>(),
                               .running_var = p.running_var.data<float>(),
                               .mean = batch.mean.data<float>(),
                               .inverse_std = batch.inverse_std.data<float>(),
                               .scale = batch.scale.data<float>(),
                               .shift = batch.shift.data<float>(),
                               .epsilon = double{p.epsilon},
                               .momentum = double{p.momentum}};
  const BatchTraining training{pixels, partial, channels, x.data<float>(), y.data<float>()};
  with_kind(p.activation, [&](auto kind) {
    submit("batch_norm_training", y, [training, kind] {
#pragma omp parallel
      training.run(kind);
    });
  });
}

}  // namespace ptynet::cpu
