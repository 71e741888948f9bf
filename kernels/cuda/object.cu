#include "kernels/cuda/complex.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/object.h"
#include "kernels/cuda/vectors.h"
#include "kernels/phasor.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;

// Not std::polar: a network's amplitude may be negative.
PTYNET_DEVICE Complexes<1> composed(float amplitude, float phase) {
  const UnitPhasor u = unit_phasor(phase);
  return {{amplitude * u.cosine, amplitude * u.sine}};
}

// Where the object comes from, kPixels of all frames at once. kPair: both channels of two.
template <typename Element, bool kPair>
struct FromNetwork {
  static constexpr int kPixels = 1;
  const Element* x;
  int channels;
  OutputHead amplitude_head;
  OutputHead phase_head;

  PTYNET_DEVICE Complexes<1> object(std::int64_t pixel, const PatchResults& results) const {
    float values[2] = {1, 1};
    if constexpr (kPair) {
      const auto both = load_readonly(reinterpret_cast<const Vector<Element, 2>*>(x) + pixel);
      values[0] = to_float(amplitude_head.channel == 0 ? both[0] : both[1]);
      values[1] = to_float(phase_head.channel == 0 ? both[0] : both[1]);
    } else {
      const Element* of_pixel = x + pixel * channels;
      if (amplitude_head.channel >= 0) {
        values[0] = to_float(load_readonly(of_pixel + amplitude_head.channel));
      }
      if (phase_head.channel >= 0)
        values[1] = to_float(load_readonly(of_pixel + phase_head.channel));
    }
    const float amplitude = applied(amplitude_head, values[0]);
    const float phase = applied(phase_head, values[1]);
    if (results.amplitude != nullptr) store(results.amplitude + pixel, amplitude);
    if (results.phase != nullptr) store(results.phase + pixel, phase);
    return composed(amplitude, phase);
  }

  PTYNET_DEVICE static float applied(const OutputHead& head, float v) {
    return head.channel < 0 ? 1.0F : v * head.scale + head.offset;
  }
};

template <int N>
struct FromPolar {
  static constexpr int kPixels = N;
  PolarPatches patches;

  PTYNET_DEVICE Complexes<N> object(std::int64_t pixel, const PatchResults&) const {
    const auto amplitude = load_floats<N>(patches.amplitude + pixel);
    const auto phase = load_floats<N>(patches.phase + pixel);
    Complexes<N> out;
    PTYNET_UNROLL
    for (int i = 0; i < N; ++i) {
      const Complexes<1> one = composed(amplitude[i], phase[i]);
      out[2 * i] = one[0];
      out[2 * i + 1] = one[1];
    }
    return out;
  }
};

template <int N>
struct FromObject {
  static constexpr int kPixels = N;
  const float* array;

  PTYNET_DEVICE Complexes<N> object(std::int64_t pixel, const PatchResults&) const {
    return load_readonly(complex_at<N>(array, pixel));
  }
};

// Neighbouring blocks take the same pixels of different frames, so that the probe stays in the
// caches.
template <typename Source>
PTYNET_KERNEL(kThreads)
patch_kernel(Source source, int pixels, ProbeModes probe, PatchResults results) {
  constexpr int kPixels = Source::kPixels;
  const int pixel = (block().y * kThreads + thread()) * kPixels;
  if (pixel >= pixels) return;
  const std::int64_t frame = block().x;
  const std::int64_t at = frame * pixels + pixel;
  const Complexes<kPixels> object = source.object(at, results);
  if (results.object != nullptr) store(complex_at<kPixels>(results.object, at), object);
  if (results.waves == nullptr) return;
  const std::int64_t first_mode = probe.of_each_frame ? frame * probe.modes : 0;
  for (int mode = 0; mode < probe.modes; ++mode) {
    const Complexes<kPixels> light =
        load_readonly(complex_at<kPixels>(probe.probe, (first_mode + mode) * pixels + pixel));
    store(complex_at<kPixels>(results.waves, (frame * probe.modes + mode) * pixels + pixel),
          product(light, object));
  }
}

template <typename Source>
void launch_patches(const char* name, const Source& source, const PatchShape& shape,
                    const ProbeModes& probe, const PatchResults& results, Stream stream) {
  const int pixels = shape.h * shape.w;
  if (results.waves != nullptr && probe.modes < 1) {
    fail_runtime(name, " takes a probe of at least one mode for waves, found ", probe.modes,
                 ": give a probe, or ask for no waves");
  }
  const int in_frame = blocks_for(name, pixels, kThreads * Source::kPixels);
  const LaunchShape blocks{grid_of(name, shape.n, in_frame), kThreads};
  launch(name, patch_kernel<Source>, blocks, stream, source, pixels, probe, results);
}

// Whether two pixels of every complex array move as 16 bytes.
bool in_pairs(const PatchShape& shape, const ProbeModes& probe, const PatchResults& results) {
  return shape.h * shape.w % 2 == 0 && are_aligned(16, probe.probe, results.object, results.waves);
}

}  // namespace

void compose_patches(const PatchShape& shape, const NetworkOutput& output, const ProbeModes& probe,
                     const PatchResults& results, Stream stream) {
  const OutputHead& a = output.amplitude;
  const OutputHead& p = output.phase;
  if (a.channel >= output.channels || p.channel >= output.channels) {
    fail_runtime("compose_patches takes heads of ", output.channels, " channels, found channels ",
                 a.channel, " and ", p.channel, ": check the architecture's heads");
  }
  with_element(output.precision, [&](auto type) {
    using Element = decltype(type);
    const auto* x = static_cast<const Element*>(output.x);
    const bool together = output.channels == 2 && a.channel >= 0 && p.channel >= 0;
    if (together && are_aligned(2 * sizeof(Element), x)) {
      launch_patches("compose_patches", FromNetwork<Element, true>{x, 2, a, p}, shape, probe,
                     results, stream);
    } else {
      launch_patches("compose_patches", FromNetwork<Element, false>{x, output.channels, a, p},
                     shape, probe, results, stream);
    }
  });
}

void compose_patches(const PatchShape& shape, const PolarPatches& patches, const ProbeModes& probe,
                     const PatchResults& results, Stream stream) {
  constexpr const char* kName = "compose_patches";
  if (in_pairs(shape, probe, results) && are_aligned(8, patches.amplitude, patches.phase)) {
    return launch_patches(kName, FromPolar<2>{patches}, shape, probe, results, stream);
  }
  launch_patches(kName, FromPolar<1>{patches}, shape, probe, results, stream);
}

void exit_waves(const PatchShape& shape, const float* object, const ProbeModes& probe, float* waves,
                Stream stream) {
  PatchResults results;
  results.waves = waves;
  if (in_pairs(shape, probe, results) && are_aligned(16, object)) {
    return launch_patches("exit_waves", FromObject<2>{object}, shape, probe, results, stream);
  }
  launch_patches("exit_waves", FromObject<1>{object}, shape, probe, results, stream);
}

}  // namespace ptynet::cuda
