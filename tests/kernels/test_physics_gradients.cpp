// Gradients of the diffraction and of the losses.
#include <limits>

#include "tests/kernels/differences.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

// The value of a loss as its sums give it: [n, columns], of which the first `terms` are added up.
Array loss_of(const Array& sums, std::int64_t terms, double divisor) {
  Array out = Array::zeros({1}, DType::kF64);
  const std::int64_t columns = sums.elements() / sums.shape()[0];
  for (std::int64_t i = 0; i < sums.elements(); ++i) {
    if (i % columns < terms) out.data<double>()[0] += sums.data<double>()[i] / divisor;
  }
  return out;
}

}  // namespace

TEST_CASE("gradients of diffraction are its central differences") {
  for (const Shape& frames : {Shape{2, 4, 3}, Shape{1, 5, 4}}) {
    for (const std::int64_t modes : {1, 3}) {
      const Shape probe{modes, frames[1], frames[2], 2};
      const Shape fields{frames[0], modes, frames[1], frames[2], 2};
      const auto wave = [](const Arrays& in) { return ExitWave{in[0], in[1], in[2]}; };
      check_gradient(
          text("diffract ", to_string(frames), " modes ", modes),
          {random_doubles("amplitude", frames, -0.3, 1), random_doubles("phase", frames, -3, 3),
           random_doubles("probe", probe)},
          [&](Backend& on, const Arrays& in) {
            Array far = room(fields);
            Array intensity = room(frames);
            on.diffract(wave(in), far, intensity);
            return Arrays{intensity};
          },
          [&](Backend& on, const Arrays& in, const Arrays& upstream) {
            Array far = room(fields);
            Array intensity = room(frames);
            on.diffract(wave(in), far, intensity);
            ExitWave d{room(frames), room(frames), room(probe)};
            on.diffract_gradient(wave(in), far, upstream[0], d);
            return Arrays{d.amplitude, d.phase, d.probe};
          });
    }
  }
}

TEST_CASE("diffraction gives the far field's intensity") {
  const auto backend = make_reference_backend();
  const Array amplitude = random_array("amplitude", {2, 5, 4}, -0.3, 1);
  const Array phase = random_array("phase", {2, 5, 4}, -3, 3);
  const Array probe = random_array("probe", {3, 5, 4, 2});
  Array far = Array::host({2, 3, 5, 4, 2}, DType::kF32);
  Array intensity = Array::host({2, 5, 4}, DType::kF32);
  backend->diffract({amplitude, phase, probe}, far, intensity);
  Array object = Array::host({2, 5, 4}, DType::kC64);
  Array light = Array::host({3, 5, 4}, DType::kC64);
  Array expected = Array::host({2, 5, 4}, DType::kF32);
  std::memcpy(light.data(), probe.data(), probe.bytes());
  backend->compose_object(amplitude, phase, object);
  backend->far_field_intensity(object, light, expected);
  for (std::int64_t i = 0; i < expected.elements(); ++i) {
    // The object was rounded to f32 on the one way, 20 terms of it are summed.
    CHECK(intensity.data<float>()[i] == Approx(expected.data<float>()[i]).margin(1e-4));
  }
}

TEST_CASE("gradients of the intensity losses are their central differences") {
  const Shape frames{3, 4, 5};
  const double factor = 0.7;
  for (const IntensityLoss kind :
       {IntensityLoss::kL1, IntensityLoss::kAmplitude, IntensityLoss::kPoisson}) {
    const std::string name = text("intensity_loss ", static_cast<int>(kind));
    Array measured = random_doubles(name + " measured", frames, 0, 9);
    measured.data<double>()[2] = 0;
    const Array predicted = drawn_until(
        name, [&](const std::string& draw) { return random_doubles(draw, frames, 0.1, 9); },
        [&](const Array& candidate) {
          Array difference = candidate.clone();
          for (std::int64_t i = 0; i < difference.elements(); ++i) {
            difference.data<double>()[i] -= measured.data<double>()[i];
          }
          return keeps_clear(difference, {0});
        });
    measured.data<double>()[7] = std::numeric_limits<double>::infinity();
    measured.data<double>()[31] = std::numeric_limits<double>::quiet_NaN();
    measured.data<double>()[50] = -1;
    check_gradient(
        name, {predicted},
        [&](Backend& on, const Arrays& in) {
          Array sums = room({3, 4});
          Array unwanted;
          on.intensity_loss(kind, in[0], measured, factor, sums, unwanted);
          double good = 0;
          for (std::int64_t i = 0; i < 3; ++i) good += sums.data<double>()[4 * i + 1];
          return Arrays{loss_of(sums, 1, good / factor)};
        },
        [&](Backend& on, const Arrays& in, const Arrays& upstream) {
          Array sums = room({3, 4});
          Array d = room(frames);
          // The factor is how a loss takes what stands upstream of it.
          on.intensity_loss(kind, in[0], measured, factor * upstream[0].data<double>()[0], sums, d);
          CHECK(d.data<double>()[7] == 0.0);
          CHECK(d.data<double>()[31] == 0.0);
          CHECK(d.data<double>()[50] == 0.0);
          return Arrays{d};
        });
  }
}

TEST_CASE("gradients of the patch and object errors are their central differences") {
  const Shape frames{2, 3, 4};
  const double factor = 1.3;
  const ExitWave target{
      random_doubles("wanted amplitude", frames), random_doubles("wanted phase", frames), {}};
  const Array object = random_doubles("wanted object", {2, 3, 4, 2});
  for (const Array& weight : {Array(), random_doubles("weight", {3, 4}, 0, 1)}) {
    const Arrays operands{random_doubles("amplitude", frames, -0.2, 1.2),
                          random_doubles("phase", frames, -3, 3)};
    const auto patch_error = [&](Backend& on, const Arrays& in, double scale, ExitWave& d) {
      Array sums = room({2, 2});
      on.patch_error({in[0], in[1], {}}, target, weight, scale, sums, d);
      return Arrays{loss_of(sums, 2, 2 / scale)};
    };
    const auto object_error = [&](Backend& on, const Arrays& in, double scale, ExitWave& d) {
      Array sums = room({2});
      on.object_error({in[0], in[1], {}}, object, weight, scale, sums, d);
      return Arrays{loss_of(sums, 1, 2 / scale)};
    };
    const auto check = [&](const std::string& name, const auto& loss) {
      check_gradient(
          name, operands,
          [&](Backend& on, const Arrays& in) {
            ExitWave unwanted;
            return loss(on, in, factor, unwanted);
          },
          [&](Backend& on, const Arrays& in, const Arrays& upstream) {
            ExitWave d{room(frames), room(frames), {}};
            loss(on, in, factor * upstream[0].template data<double>()[0], d);
            return Arrays{d.amplitude, d.phase};
          });
    };
    check(text("patch_error", weight.empty() ? "" : " weighted"), patch_error);
    check(text("object_error", weight.empty() ? "" : " weighted"), object_error);
  }
}
