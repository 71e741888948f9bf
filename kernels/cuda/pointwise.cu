#include <algorithm>

#include "kernels/cuda/activate_all.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/vectors.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kMostParts = 4;  // that one launch joins

template <typename Element>
struct Elementwise {
  const Element* a;
  const Element* b;  // null: only a
  Element* y;
  std::int64_t count;
  Activation activation;

  template <int N>
  PTYNET_DEVICE void run(std::int64_t first) const {
    Vector<float, N> v = load_floats<N>(a + first);
    if (b != nullptr) {
      const Vector<float, N> other = load_floats<N>(b + first);
      PTYNET_UNROLL
      for (int i = 0; i < N; ++i) v[i] += other[i];
    }
    activate_all(v, activation);
    store_floats(y + first, v);
  }
};

// A thread takes N elements; the one that meets the end, those that are left.
template <typename Element, int N>
PTYNET_KERNEL(kThreads)
elementwise_kernel(Elementwise<Element> work) {
  std::int64_t i = (static_cast<std::int64_t>(block().x) * kThreads + thread()) * N;
  if (i + N <= work.count) return work.template run<N>(i);
  PTYNET_NO_UNROLL
  for (; i < work.count; ++i) work.template run<1>(i);
}

void launch_elementwise(const char* name, Precision precision, const Addends& in,
                        const Activation& activation, void* y, std::int64_t count, Stream stream) {
  with_element(precision, [&](auto type) {
    using Element = decltype(type);
    constexpr int kVector = kPerAccess<Element>;
    const bool aligned = are_aligned(16, in.a, in.b, y);
    const std::int64_t vectors = aligned ? (count + kVector - 1) / kVector : count;
    const Elementwise<Element> work{static_cast<const Element*>(in.a),
                                    static_cast<const Element*>(in.b), static_cast<Element*>(y),
                                    count, activation};
    launch(name, aligned ? elementwise_kernel<Element, kVector> : elementwise_kernel<Element, 1>,
           LaunchShape{{blocks_for(name, vectors, kThreads)}, kThreads}, stream, work);
  });
}

// Channels are counted in words, which move untouched: 2 to 16 bytes, as all parts allow.
template <typename Word>
struct Joined {
  const Word* parts[kMostParts];
  int ends[kMostParts];  // of each part's words within those joined here
  int words;             // of a pixel, joined here
  Word* y;               // the first pixel's first word of those
  int stride;            // words between pixels of y
  std::int64_t count;    // words to move
};

template <typename Word>
PTYNET_KERNEL(kThreads)
concat_kernel(Joined<Word> work) {
  const std::int64_t i = static_cast<std::int64_t>(block().x) * kThreads + thread();
  if (i >= work.count) return;
  const auto pixel = static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(work.words);
  const int word = static_cast<int>(i - std::int64_t{pixel} * work.words);
  int begin = 0;
  PTYNET_UNROLL
  for (int part = 0; part < kMostParts; ++part) {
    const int end = work.ends[part];
    if (word >= begin && word < end) {
      const Word v =
          load_readonly(work.parts[part] + std::int64_t{pixel} * (end - begin) + word - begin);
      store(work.y + std::int64_t{pixel} * work.stride + word, v);
    }
    begin = end;
  }
}

// Joins parts [from, from + kMostParts) to their place in y; returns the word after it.
template <typename Word>
int join(std::span<const ChannelPart> parts, std::size_t element_bytes, std::int64_t pixels,
         Word* y, int stride, int place, Stream stream) {
  Joined<Word> work{};
  for (int i = 0; i < kMostParts; ++i) {
    if (i < static_cast<int>(parts.size())) {
      const ChannelPart& part = parts[static_cast<std::size_t>(i)];
      work.parts[i] = static_cast<const Word*>(part.data);
      work.words +=
          static_cast<int>(static_cast<std::size_t>(part.channels) * element_bytes / sizeof(Word));
    }
    work.ends[i] = work.words;
  }
  work.y = y + place;
  work.stride = stride;
  work.count = pixels * work.words;
  launch("concat_channels", concat_kernel<Word>,
         LaunchShape{{blocks_for("concat_channels", work.count, kThreads)}, kThreads}, stream,
         work);
  return place + work.words;
}

template <typename Word>
void join_all(std::span<const ChannelPart> parts, std::size_t element_bytes, std::int64_t pixels,
              void* y, Stream stream) {
  std::size_t bytes = 0;  // of a pixel
  for (const ChannelPart& part : parts) {
    bytes += static_cast<std::size_t>(part.channels) * element_bytes;
  }
  int place = 0;
  while (!parts.empty()) {
    const std::size_t together = std::min<std::size_t>(parts.size(), kMostParts);
    place = join(parts.first(together), element_bytes, pixels, static_cast<Word*>(y),
                 static_cast<int>(bytes / sizeof(Word)), place, stream);
    parts = parts.subspan(together);
  }
}

// In words, as Joined.
template <typename Word>
struct Cut {
  const Word* x;  // the first pixel's first word that is wanted
  int stride;     // words between pixels of x
  int words;      // of a pixel of y
  Word* y;
  std::int64_t count;  // words to move
};

template <typename Word>
PTYNET_KERNEL(kThreads)
slice_kernel(Cut<Word> work) {
  const std::int64_t i = static_cast<std::int64_t>(block().x) * kThreads + thread();
  if (i >= work.count) return;
  const auto pixel = static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(work.words);
  const std::int64_t word = i - std::int64_t{pixel} * work.words;
  store(work.y + i, load_readonly(work.x + std::int64_t{pixel} * work.stride + word));
}

// Calls body with a value of the largest word that `fits` a number of bytes.
template <typename Fits, typename Body>
void with_word(const Fits& fits, const Body& body) {
  if (fits(16)) return body(Vector<std::uint32_t, 4>{});
  if (fits(8)) return body(Vector<std::uint32_t, 2>{});
  if (fits(4)) return body(std::uint32_t{});
  body(std::uint16_t{});
}

std::size_t bytes_of(Precision precision, int elements) {
  std::size_t bytes = 0;
  with_element(precision, [&](auto type) { bytes = sizeof(type); });
  return bytes * static_cast<std::size_t>(elements);
}

// A head that takes nothing reads no channel.
struct Heads {
  HeadGradient amplitude;
  HeadGradient phase;
  std::uint32_t channels;
  float* dx;
  std::int64_t count;

  // N elements of dx.
  template <int N>
  PTYNET_DEVICE void run(std::int64_t first) const {
    Vector<float, N> out;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      const auto at = static_cast<std::uint32_t>(first) + static_cast<std::uint32_t>(i);
      const std::uint32_t pixel = at / channels;
      const int channel = static_cast<int>(at - pixel * channels);
      out[i] = part(amplitude, pixel, channel) + part(phase, pixel, channel);
    }
    store_floats(dx + first, out);
  }

 private:
  PTYNET_DEVICE static float part(const HeadGradient& from, std::uint32_t pixel, int channel) {
    return from.head.channel == channel ? load_readonly(from.dy + pixel) * from.head.scale : 0.0F;
  }
};

template <int N>
PTYNET_KERNEL(kThreads)
heads_gradient_kernel(Heads work) {
  std::int64_t i = (static_cast<std::int64_t>(block().x) * kThreads + thread()) * N;
  if (i + N <= work.count) return work.run<N>(i);
  PTYNET_NO_UNROLL
  for (; i < work.count; ++i) work.run<1>(i);
}

}  // namespace

void activation(Precision precision, const void* x, const Activation& a, void* y,
                std::int64_t count, Stream stream) {
  launch_elementwise("activation", precision, {x, nullptr}, a, y, count, stream);
}

void add(Precision precision, const Addends& addends, const Activation& a, void* y,
         std::int64_t count, Stream stream) {
  launch_elementwise("add", precision, addends, a, y, count, stream);
}

void concat_channels(Precision precision, std::span<const ChannelPart> parts, std::int64_t pixels,
                     void* y, Stream stream) {
  const std::size_t element_bytes = bytes_of(precision, 1);
  const auto fits = [&](std::size_t bytes) {
    return are_aligned(bytes, static_cast<char*>(y)) &&
           std::all_of(parts.begin(), parts.end(), [&](const ChannelPart& part) {
             return bytes_of(precision, part.channels) % bytes == 0 &&
                    are_aligned(bytes, static_cast<const char*>(part.data));
           });
  };
  with_word(fits,
            [&]<typename Word>(Word) { join_all<Word>(parts, element_bytes, pixels, y, stream); });
}

void slice_channels(Precision precision, const ChannelSlice& slice, std::int64_t pixels, void* y,
                    Stream stream) {
  constexpr const char* kName = "slice_channels";
  const std::size_t stride = bytes_of(precision, slice.channels);
  const std::size_t wanted = bytes_of(precision, slice.count);
  const char* x = static_cast<const char*>(slice.x) + bytes_of(precision, slice.first);
  const auto fits = [&](std::size_t bytes) {
    return stride % bytes == 0 && wanted % bytes == 0 &&
           are_aligned(bytes, x, static_cast<const char*>(y));
  };
  with_word(fits, [&]<typename Word>(Word) {
    Cut<Word> work{};
    work.x = reinterpret_cast<const Word*>(x);
    work.stride = static_cast<int>(stride / sizeof(Word));
    work.words = static_cast<int>(wanted / sizeof(Word));
    work.y = static_cast<Word*>(y);
    work.count = pixels * work.words;
    launch(kName, slice_kernel<Word>,
           LaunchShape{{blocks_for(kName, work.count, kThreads)}, kThreads}, stream, work);
  });
}

void output_heads_gradient(const HeadGradient& amplitude, const HeadGradient& phase,
                           std::int64_t pixels, int channels, float* dx, Stream stream) {
  constexpr const char* kName = "output_heads_gradient";
  constexpr int kVector = kPerAccess<float>;
  Heads work{amplitude, phase, static_cast<std::uint32_t>(channels), dx, pixels * channels};
  for (HeadGradient* from : {&work.amplitude, &work.phase}) {
    if (from->dy == nullptr) from->head.channel = -1;
  }
  const bool aligned = are_aligned(16, dx);
  // Counted in elements, so that a number of them is no larger than kernels take it to be.
  const int single = blocks_for(kName, work.count, kThreads);
  const int blocks = aligned ? (single + kVector - 1) / kVector : single;
  launch(kName, aligned ? heads_gradient_kernel<kVector> : heads_gradient_kernel<1>,
         LaunchShape{{blocks}, kThreads}, stream, work);
}

}  // namespace ptynet::cuda
