#include "kernels/cuda/activate_all.h"
#include "kernels/cuda/batch_norm_training.h"
#include "kernels/cuda/channel_sums.h"

namespace ptynet::cuda {

namespace {

constexpr std::int64_t kMostParts = 1024;
constexpr std::int64_t kLeastRounds = 4;  // pixels of a thread that moves several values at once
constexpr int kFinishColumns = 8;         // channels of a block that sums up parts

// Adds up two sums per channel and hands them on. Terms: what is added, what becomes of it, and how
// many blocks a multiprocessor's registers allow: left to itself, ptxas aims higher and spills.
template <int N, typename Terms>
PTYNET_KERNEL(kChannelThreads, Terms::kBlocks)
sum_channels_kernel(ChannelLayout layout, Terms terms) {
  const ChannelThread<N> me(layout);
  Vector<double, 2 * N> sums{};  // the first of N channels, then the second
  if (me.has_channels()) {
    const auto columns = terms.template columns<N>(me.channel());
    me.for_each_pixel([&](std::int64_t at) { columns.add(at, sums); });
  }
  me.add_column(sums);
  if (me.has_channels() && me.is_first()) terms.template finish<N>(me.channel(), sums);
}

template <int N, typename Work>
PTYNET_KERNEL(kChannelThreads)
each_pixel_kernel(ChannelLayout layout, Work work) {
  const ChannelThread<N> me(layout);
  if (!me.has_channels()) return;
  const auto columns = work.template columns<N>(me.channel());
  me.for_each_pixel([&](std::int64_t at) { columns.run(at); });
}

// Sums of a block's slab, [parts, 2, channels].
struct Parts {
  double* sums;
  int channels;

  template <int N>
  PTYNET_DEVICE void write(int channel, const Vector<double, 2 * N>& found) const {
    double* to = sums + static_cast<std::int64_t>(block().x) * 2 * channels + channel;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      store(to + i, found[i]);
      store(to + channels + i, found[N + i]);
    }
  }
};

// Of all parts, channel by channel; what becomes of them is the direction's.
template <typename Finish>
struct SumsOfParts {
  static constexpr int kBlocks = 4;
  const double* sums;
  Finish whole;

  struct Columns {
    const double* sums;
    int channels;
    int channel;
    // `at` is that of an array [parts, channels].
    PTYNET_DEVICE void add(std::int64_t at, Vector<double, 2>& total) const {
      const double* from = sums + 2 * at - channel;
      total[0] += load(from);
      total[1] += load(from + channels);
    }
  };
  template <int N>
  PTYNET_DEVICE Columns columns(int channel) const {
    return {sums, whole.shape.channels, channel};
  }
  template <int N>
  PTYNET_DEVICE void finish(int channel, const Vector<double, 2>& total) const {
    whole.run(channel, total[0], total[1]);
  }
};

// Sums of x - origin and of its square. The origin is the channel's first value: as it is one of
// those that are summed, their spread is at least 1 / n of the squares' sum, and a difference of
// the two sums loses no more than n roundings of a double, wherever the mean lies.
template <typename Element>
struct MomentTerms {
  static constexpr int kBlocks = 5;
  const Element* x;
  Parts parts;

  template <int N>
  struct Columns {
    const Element* x;
    Vector<float, N> origin;
    PTYNET_DEVICE void add(std::int64_t at, Vector<double, 2 * N>& sums) const {
      const Vector<float, N> v = load_floats<N>(x + at);
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) {
        const double apart = static_cast<double>(v[i]) - static_cast<double>(origin[i]);
        sums[i] += apart;
        sums[N + i] += apart * apart;
      }
    }
  };
  template <int N>
  PTYNET_DEVICE Columns<N> columns(int channel) const {
    return {x, load_channels<N>(x + channel)};
  }
  template <int N>
  PTYNET_DEVICE void finish(int channel, const Vector<double, 2 * N>& sums) const {
    parts.write<N>(channel, sums);
  }
};

template <typename Element>
struct FinishMoments {
  BatchShape shape;
  const Element* x;
  BatchTraining training;

  PTYNET_DEVICE void run(int channel, double sum, double squares) const {
    const auto count = static_cast<double>(shape.pixels);
    const double off = sum / count;  // of the mean, from the origin
    const double origin = static_cast<double>(to_float(load_readonly(x + channel)));
    const ChannelMoments moments{count, origin + off, squares - sum * off};
    const auto norm =
        ChannelNorm<float>::of(moments, load_readonly(training.weight + channel),
                               load_readonly(training.bias + channel), training.epsilon);
    store(training.batch.mean + channel, norm.mean);
    store(training.batch.inverse_std + channel, norm.inverse_std);
    store(training.batch.scale + channel, norm.scale);
    store(training.batch.shift + channel, norm.shift);
    move(training.running_mean + channel, moments.mean);
    move(training.running_var + channel, moments.unbiased_variance());
  }

 private:
  PTYNET_DEVICE void move(float* running, double batch) const {
    store(running, followed(load(running), batch, training.momentum));
  }
};

// y = activation(normalised x), as both directions compute it.
template <int N>
struct Normalised {
  Vector<float, N> mean;
  Vector<float, N> scale;
  Vector<float, N> shift;
  Activation activation;

  PTYNET_DEVICE Normalised(const NormArrays<const float>& batch, const Activation& a, int channel)
      : mean(load_channels<N>(batch.mean + channel)),
        scale(load_channels<N>(batch.scale + channel)),
        shift(load_channels<N>(batch.shift + channel)),
        activation(a) {}

  PTYNET_DEVICE Vector<float, N> of(const Vector<float, N>& x) const {
    Vector<float, N> y;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) y[i] = normalised(x[i], mean[i], scale[i], shift[i]);
    activate_all(y, activation);
    return y;
  }

  // dy before the activation.
  PTYNET_DEVICE Vector<float, N> gradient(const Vector<float, N>& x,
                                          const Vector<float, N>& dy) const {
    Vector<float, N> g = dy;
    slope_all(g, of(x), activation);
    return g;
  }
};

template <typename Element>
struct Normalise {
  const Element* x;
  Element* y;
  NormArrays<const float> batch;
  Activation activation;

  template <int N>
  struct Columns {
    const Element* x;
    Element* y;
    Normalised<N> by;
    PTYNET_DEVICE void run(std::int64_t at) const {
      store_floats(y + at, by.of(load_floats<N>(x + at)));
    }
  };
  template <int N>
  PTYNET_DEVICE Columns<N> columns(int channel) const {
    return {x, y, {batch, activation, channel}};
  }
};

// BatchNormResult in the type of its arrays.
template <typename Element>
struct GradientOperands {
  const Element* x;
  const Element* dy;
  NormArrays<const float> batch;
  Activation activation;
};

// Sums of g, dy before the activation, and of g * (x - mean).
template <typename Element>
struct GradientTerms {
  static constexpr int kBlocks = 4;
  GradientOperands<Element> from;
  Parts parts;

  template <int N>
  struct Columns {
    const Element* x;
    const Element* dy;
    Normalised<N> by;
    PTYNET_DEVICE void add(std::int64_t at, Vector<double, 2 * N>& sums) const {
      const Vector<float, N> v = load_floats<N>(x + at);
      const Vector<float, N> g = by.gradient(v, load_floats<N>(dy + at));
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) {
        sums[i] += static_cast<double>(g[i]);
        sums[N + i] += static_cast<double>(g[i] * (v[i] - by.mean[i]));
      }
    }
  };
  template <int N>
  PTYNET_DEVICE Columns<N> columns(int channel) const {
    return {from.x, from.dy, {from.batch, from.activation, channel}};
  }
  template <int N>
  PTYNET_DEVICE void finish(int channel, const Vector<double, 2 * N>& sums) const {
    parts.write<N>(channel, sums);
  }
};

struct FinishGradient {
  BatchShape shape;
  const float* inverse_std;
  BatchNormDerivatives d;

  PTYNET_DEVICE void run(int channel, double sum, double weighted_sum) const {
    const auto found = ChannelGradient<float>::of(
        sum, weighted_sum, load_readonly(inverse_std + channel), static_cast<double>(shape.pixels));
    store(d.terms + channel, found.offset);
    store(d.terms + shape.channels + channel, found.tilt);
    if (d.dw != nullptr) store(d.dw + channel, found.dw);
    if (d.db != nullptr) store(d.db + channel, found.db);
  }
};

template <typename Element>
struct PullBack {
  GradientOperands<Element> from;
  const float* offset;
  const float* tilt;
  Element* dx;

  template <int N>
  struct Columns {
    const Element* x;
    const Element* dy;
    Element* dx;
    Normalised<N> by;
    Vector<float, N> offset;
    Vector<float, N> tilt;
    PTYNET_DEVICE void run(std::int64_t at) const {
      const Vector<float, N> v = load_floats<N>(x + at);
      const Vector<float, N> g = by.gradient(v, load_floats<N>(dy + at));
      Vector<float, N> out;
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) {
        out[i] = normalised_gradient(g[i], v[i] - by.mean[i], by.scale[i], offset[i], tilt[i]);
      }
      store_floats(dx + at, out);
    }
  };
  template <int N>
  PTYNET_DEVICE Columns<N> columns(int channel) const {
    return {from.x,
            from.dy,
            dx,
            {from.batch, from.activation, channel},
            load_channels<N>(offset + channel),
            load_channels<N>(tilt + channel)};
  }
};

// Channels of a thread that sums, in 16 bits too. With 8, whose access would be twice as large, a
// thread of the gradient's sums needs 107 registers instead of 62 and twice the shared memory: half
// as many threads fit, which have no more bytes on their way and hide less of the work in double.
constexpr int kSumVector = 4;

// The pixels of a part, the same wherever arrays lie.
std::int64_t part_pixels(const BatchShape& s) {
  const int columns = std::min((s.channels + kSumVector - 1) / kSumVector, kChannelThreads);
  const std::int64_t round = kChannelThreads / columns;
  const std::int64_t rounds = (s.pixels + round * kMostParts - 1) / (round * kMostParts);
  return round * std::max(rounds, kLeastRounds);
}

std::int64_t parts_of(const BatchShape& s) {
  const std::int64_t slab = part_pixels(s);
  return (s.pixels + slab - 1) / slab;
}

// Whether N channels of a pixel are one access in each array.
template <int N, typename... Elements>
bool moves_at_once(const BatchShape& s, const Elements*... arrays) {
  return s.channels % N == 0 && (are_aligned(N * sizeof(Elements), arrays) && ...);
}

ChannelLayout layout_of(const BatchShape& s, int at_once, std::int64_t slab) {
  return ChannelLayout::of(s.pixels, s.channels, at_once, kChannelThreads, slab);
}

template <int N, typename Terms>
void launch_sums(const char* name, const ChannelLayout& layout, const Terms& terms, Stream stream) {
  launch(name, sum_channels_kernel<N, Terms>, layout.launch_shape(name, N), stream, layout, terms);
}

// The sums of parts, and then what `finish` makes of theirs.
template <typename Terms, typename Finish>
void run_sums(const char* name, bool wide, const Terms& terms, const Finish& finish,
              Stream stream) {
  const BatchShape& s = finish.shape;
  const std::int64_t slab = part_pixels(s);
  if (wide) {
    launch_sums<kSumVector>(name, layout_of(s, kSumVector, slab), terms, stream);
  } else {
    launch_sums<1>(name, layout_of(s, 1, slab), terms, stream);
  }
  const std::int64_t parts = parts_of(s);
  launch_sums<1>(name, ChannelLayout::of(parts, s.channels, 1, kFinishColumns, parts),
                 SumsOfParts<Finish>{terms.parts.sums, finish}, stream);
}

template <int N, typename Work>
void launch_each(const char* name, const BatchShape& s, std::int64_t rounds, const Work& work,
                 Stream stream) {
  const int columns = std::min(s.channels / N, kChannelThreads);
  const ChannelLayout layout = layout_of(s, N, kChannelThreads / columns * rounds);
  launch(name, each_pixel_kernel<N, Work>, layout.launch_shape(name, N), stream, layout, work);
}

template <int N, typename Work>
void run_each(const char* name, bool wide, const BatchShape& s, const Work& work, Stream stream) {
  if (wide) {
    launch_each<N>(name, s, kLeastRounds, work, stream);
  } else {
    launch_each<1>(name, s, kLeastRounds * N, work, stream);
  }
}

template <typename Element>
void train(const BatchShape& s, const Element* x, const BatchTraining& t, double* scratch,
           Element* y, Stream stream) {
  constexpr const char* kName = "batch_norm_training";
  constexpr int kVector = kPerAccess<Element>;
  run_sums(kName, moves_at_once<kSumVector>(s, x), MomentTerms<Element>{x, {scratch, s.channels}},
           FinishMoments<Element>{s, x, t}, stream);
  const NormArrays<const float> batch{t.batch.mean, t.batch.inverse_std, t.batch.scale,
                                      t.batch.shift};
  run_each<kVector>(kName, moves_at_once<kVector>(s, x, y), s,
                    Normalise<Element>{x, y, batch, t.activation}, stream);
}

template <typename Element>
void pull_back(const BatchShape& s, const GradientOperands<Element>& from, double* scratch,
               const BatchNormDerivatives& d, Stream stream) {
  constexpr const char* kName = "batch_norm_gradient";
  constexpr int kVector = kPerAccess<Element>;
  run_sums(kName, moves_at_once<kSumVector>(s, from.x, from.dy),
           GradientTerms<Element>{from, {scratch, s.channels}},
           FinishGradient{s, from.batch.inverse_std, d}, stream);
  if (d.dx == nullptr) return;
  auto* dx = static_cast<Element*>(d.dx);
  run_each<kVector>(kName, moves_at_once<kVector>(s, from.x, from.dy, dx), s,
                    PullBack<Element>{from, d.terms, d.terms + s.channels, dx}, stream);
}

}  // namespace

std::int64_t batch_norm_scratch(const BatchShape& s) { return parts_of(s) * 2 * s.channels; }

void batch_norm_training(const BatchShape& s, Precision precision, const void* x,
                         const BatchTraining& t, double* scratch, void* y, Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    train(s, static_cast<const Element*>(x), t, scratch, static_cast<Element*>(y), stream);
  });
}

void batch_norm_gradient(const BatchShape& s, Precision precision, const BatchNormResult& result,
                         double* scratch, const BatchNormDerivatives& d, Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    pull_back(s,
              GradientOperands<Element>{static_cast<const Element*>(result.x),
                                        static_cast<const Element*>(result.dy), result.batch,
                                        result.activation},
              scratch, d, stream);
  });
}

}  // namespace ptynet::cuda
