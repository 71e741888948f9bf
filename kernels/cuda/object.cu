#include "kernels/cuda/device.h"
#include "kernels/cuda/launching.h"
#include "kernels/cuda/object.h"
#include "kernels/phasor.h"

namespace ptynet::cuda {

namespace {

constexpr int kThreads = 256;

using Complex = Vector<float, 2>;

PTYNET_DEVICE Complex product(const Complex& a, const Complex& b) {
  return {{a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]}};
}

// Not std::polar: a network's amplitude may be negative.
PTYNET_DEVICE Complex composed(float amplitude, float phase) {
  const UnitPhasor u = unit_phasor(phase);
  return {{amplitude * u.cosine, amplitude * u.sine}};
}

PTYNET_DEVICE Complex* pair(float* array, std::int64_t i) {
  return reinterpret_cast<Complex*>(array) + i;
}
PTYNET_DEVICE const Complex* pair(const float* array, std::int64_t i) {
  return reinterpret_cast<const Complex*>(array) + i;
}

// Where the object comes from, pixel by pixel of all frames. kPair: both channels of two at once.
template <typename Element, bool kPair>
struct FromNetwork {
  const Element* x;
  int channels;
  OutputHead amplitude_head;
  OutputHead phase_head;

  PTYNET_DEVICE Complex object(std::int64_t pixel, const PatchResults& results) const {
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

struct FromPolar {
  PolarPatches patches;
  PTYNET_DEVICE Complex object(std::int64_t pixel, const PatchResults&) const {
    return composed(load_readonly(patches.amplitude + pixel), load_readonly(patches.phase + pixel));
  }
};

struct FromObject {
  const float* array;
  PTYNET_DEVICE Complex object(std::int64_t pixel, const PatchResults&) const {
    return load_readonly(pair(array, pixel));
  }
};

// A thread: one pixel. Neighbouring blocks take the same pixels of different frames, so that the
// probe stays in the caches.
template <typename Source>
PTYNET_KERNEL(kThreads)
patch_kernel(Source source, int pixels, ProbeModes probe, PatchResults results) {
  const int pixel = block().y * kThreads + thread();
  if (pixel >= pixels) return;
  const std::int64_t frame = block().x;
  const std::int64_t at = frame * pixels + pixel;
  const Complex object = source.object(at, results);
  if (results.object != nullptr) store(pair(results.object, at), object);
  if (results.waves == nullptr) return;
  for (int mode = 0; mode < probe.modes; ++mode) {
    const Complex light = load_readonly(pair(probe.probe, std::int64_t{mode} * pixels + pixel));
    store(pair(results.waves, (frame * probe.modes + mode) * pixels + pixel),
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
  const LaunchShape blocks{grid_of(name, shape.n, blocks_for(name, pixels, kThreads)), kThreads};
  launch(name, patch_kernel<Source>, blocks, stream, source, pixels, probe, results);
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
  launch_patches("compose_patches", FromPolar{patches}, shape, probe, results, stream);
}

void exit_waves(const PatchShape& shape, const float* object, const ProbeModes& probe, float* waves,
                Stream stream) {
  PatchResults results;
  results.waves = waves;
  launch_patches("exit_waves", FromObject{object}, shape, probe, results, stream);
}

}  // namespace ptynet::cuda
