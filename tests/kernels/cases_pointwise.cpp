#include "tests/kernels/cases.h"

namespace ptynet::tests {

namespace {

const Shape kShape{2, 6, 8, 5};

const Activation kActivations[] = {kPlain, kLeaky, kClip, kSigmoid, kTanh, kRelu};

void add_activations(OperationCases& cases) {
  for (const Activation& a : kActivations) {
    const int kind = static_cast<int>(a.kind);
    cases.push_back({text("activation ", kind), [a](Backend& backend) -> std::vector<Output> {
                       Array y = Array::host(kShape, DType::kF32);
                       backend.activation(random_array("activation", kShape, -3, 3), a, y);
                       return {{y}};
                     }});
    cases.push_back(
        {text("activation_gradient ", kind), [a](Backend& backend) -> std::vector<Output> {
           Array dx = Array::host(kShape, DType::kF32);
           const Array y = random_activated("activation y", kShape, a);
           backend.activation_gradient({y, random_array("activation dy", kShape)}, a, dx);
           return {{dx}};
         }});
  }
}

BatchNormParameters batch_norm_parameters(std::int64_t channels, const Activation& a) {
  BatchNormParameters p{random_array("bn w", {channels}), random_array("bn b", {channels}),
                        random_array("bn mean", {channels}),
                        random_array("bn var", {channels}, 0.1, 2)};
  p.activation = a;
  return p;
}

// Off centre, so that a sum of squares alone would lose digits.
Array batch_norm_input(const std::string& name, const Shape& shape) {
  return random_array(name, shape, 1, 4);
}

void add_batch_norm(OperationCases& cases, const Shape& shape, const Activation& a) {
  const std::int64_t channels = shape[3];
  const std::int64_t count = shape.elements() / channels;
  const std::string about = text("a", static_cast<int>(a.kind), " ", to_string(shape));
  cases.push_back({"batch_norm " + about, [=](Backend& backend) -> std::vector<Output> {
                     Array y = Array::host(shape, DType::kF32);
                     backend.batch_norm(random_array("bn", shape),
                                        batch_norm_parameters(channels, a), y);
                     return {{y, 2}};  // what is scaled and the shift
                   }});
  cases.push_back({"batch_norm_training " + about, [=](Backend& backend) -> std::vector<Output> {
                     BatchNormParameters p = batch_norm_parameters(channels, a);
                     BatchStatistics batch = room_for_batch(channels);
                     Array y = Array::host(shape, DType::kF32);
                     for (const char* name : {"bn first", "bn second"}) {
                       backend.batch_norm_training(batch_norm_input(name, shape), p, batch, y);
                     }
                     return {{y, count},
                             {batch.mean, count},
                             {batch.inverse_std, count},
                             {batch.scale, count},
                             {batch.shift, count},
                             {p.running_mean, count},
                             {p.running_var, count}};
                   }});
  for (const std::string wanted : {"xwb", "x", "wb"}) {
    cases.push_back({text("batch_norm_gradient ", wanted, " ", about), [=](Backend& backend) {
                       const Array x = batch_norm_input("bn x", shape);
                       BatchNormParameters p = batch_norm_parameters(channels, a);
                       BatchStatistics batch = room_for_batch(channels);
                       Array y = Array::host(shape, DType::kF32);
                       make_reference_backend()->batch_norm_training(x, p, batch, y);
                       OperandGradients d;
                       if (wanted != "wb") d.x = Array::host(shape, DType::kF32);
                       if (wanted != "x") d.w = Array::host({channels}, DType::kF32);
                       if (wanted != "x") d.b = Array::host({channels}, DType::kF32);
                       backend.batch_norm_gradient(x, batch, a, random_array("bn dy", shape), d);
                       std::vector<Output> outputs;
                       for (const Array& found : {d.x, d.w, d.b}) {
                         if (!found.empty()) outputs.push_back({found, count});
                       }
                       return outputs;
                     }});
  }
}

// A few values only, so that windows hold their largest more than once.
Array with_ties(const std::string& name, const Shape& shape) {
  Array out = random_array(name, shape, -2, 3);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<float>()[i] = std::floor(out.data<float>()[i]);
  }
  return out;
}

void add_resizing(OperationCases& cases) {
  for (const std::int64_t kernel : {1, 2, 3}) {
    const Shape large{2, 7, 9, 5};
    const Shape small{2, 7 / kernel, 9 / kernel, 5};
    for (const bool ties : {false, true}) {
      const auto input = [ties, large] {
        return ties ? with_ties("pool", large) : random_array("pool", large);
      };
      const std::string about = text(kernel, ties ? " ties" : "");
      cases.push_back({text("max_pool2d ", about),
                       [kernel, small, input](Backend& backend) -> std::vector<Output> {
                         Array y = Array::host(small, DType::kF32);
                         backend.max_pool2d(input(), kernel, y);
                         return {{y}};
                       }});
      cases.push_back({text("max_pool2d_gradient ", about),
                       [kernel, small, large, input](Backend& backend) -> std::vector<Output> {
                         Array dx = Array::host(large, DType::kF32);
                         backend.max_pool2d_gradient(input(), kernel,
                                                     random_array("pool dy", small), dx);
                         return {{dx}};
                       }});
    }
  }
  for (const std::int64_t scale : {1, 2, 3}) {
    for (const Shape& small : {Shape{2, 4, 5, 3}, Shape{1, 1, 2, 8}}) {
      const Shape large{small[0], small[1] * scale, small[2] * scale, small[3]};
      const std::string about = text(scale, " ", to_string(small));
      cases.push_back({text("upsample_bilinear2d ", about),
                       [scale, small, large](Backend& backend) -> std::vector<Output> {
                         Array y = Array::host(large, DType::kF32);
                         backend.upsample_bilinear2d(random_array("up", small), scale, y);
                         return {{y, 4}};
                       }});
      cases.push_back({text("upsample_bilinear2d_gradient ", about),
                       [scale, small, large](Backend& backend) -> std::vector<Output> {
                         Array dx = Array::host(small, DType::kF32);
                         backend.upsample_bilinear2d_gradient(random_array("up dy", large), scale,
                                                              dx);
                         return {{dx, 4 * scale * scale}};
                       }});
    }
  }
}

}  // namespace

void add_pointwise_cases(OperationCases& cases) {
  add_activations(cases);
  for (const Shape& shape : {kShape, Shape{5, 7, 3, 16}, Shape{2, 32, 32, 8}}) {
    for (const Activation& a : kActivations) add_batch_norm(cases, shape, a);
  }
  add_resizing(cases);
  cases.push_back({"add", [](Backend& backend) -> std::vector<Output> {
                     Array y = Array::host(kShape, DType::kF32);
                     backend.add(random_array("add a", kShape), random_array("add b", kShape), y);
                     return {{y}};
                   }});
  cases.push_back({"concat_channels", [](Backend& backend) -> std::vector<Output> {
                     const std::vector<Array> parts{random_array("cat a", {2, 3, 4, 1}),
                                                    random_array("cat b", {2, 3, 4, 5}),
                                                    random_array("cat c", {2, 3, 4, 2})};
                     Array y = Array::host({2, 3, 4, 8}, DType::kF32);
                     backend.concat_channels(parts, y);
                     return {{y}};
                   }});
  for (const std::int64_t first : {0, 1, 6}) {
    cases.push_back({text("slice_channels ", first), [first](Backend& backend) {
                       Array y = Array::host({2, 3, 4, first == 1 ? 5 : 2}, DType::kF32);
                       backend.slice_channels(random_array("slice", {2, 3, 4, 8}), first, y);
                       return std::vector<Output>{{y}};
                     }});
  }
}

}  // namespace ptynet::tests
