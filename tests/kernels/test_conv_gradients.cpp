// What a table of operands does not show of convolutions on the CPU backend: large batches,
// recordings with weights that change, what unwanted gradients cost.
#include <algorithm>

#include "tests/catch.h"
#include "tests/kernels/cases.h"

using namespace ptynet;
using namespace ptynet::tests;

namespace {

constexpr Activation kSlope{ActivationKind::kLeakyRelu, 0.2F, 0};

struct Layer {
  Shape x;
  Shape w;
  Shape y;
  ConvOptions o;
  bool transposed;
};

// Every way that gradients are computed: mirrored, oneDNN's own, few outputs, transposed.
const Layer kLayers[] = {
    {{4, 20, 20, 32}, {16, 3, 3, 32}, {4, 20, 20, 16}, {1, 1, 1, kSlope, false}, false},
    {{4, 20, 20, 16}, {32, 3, 3, 16}, {4, 10, 10, 32}, {2, 1, 1, kSlope, false}, false},
    {{4, 20, 20, 16}, {2, 3, 3, 8}, {4, 20, 20, 2}, {1, 1, 2, kSlope, false}, false},
    {{3, 40, 40, 8}, {8, 2, 2, 32}, {3, 80, 80, 32}, {2, 0, 1, kSlope, false}, true}};

// A layer's arrays, all of its own.
struct Operands {
  explicit Operands(const Layer& l)
      : x(random_array("x", l.x)),
        w(random_array("w", l.w)),
        b(random_array("b", {l.y[3]})),
        dy(random_array("dy", l.y)),
        y(Array::zeros(l.y, DType::kF32)),
        d{Array::zeros(l.x, DType::kF32), Array::zeros(l.w, DType::kF32),
          Array::zeros({l.y[3]}, DType::kF32)} {}

  Array x, w, b, dy, y;
  OperandGradients d;
};

void forward(Backend& backend, const Layer& l, Operands& a) {
  l.transposed ? backend.conv_transpose2d(a.x, a.w, a.b, l.o, a.y)
               : backend.conv2d(a.x, a.w, a.b, l.o, a.y);
}

void backward(Backend& backend, const Layer& l, Operands& a) {
  const OutputGradient out{a.y, a.dy};
  l.transposed ? backend.conv_transpose2d_gradient(a.x, a.w, out, l.o, a.d)
               : backend.conv2d_gradient(a.x, a.w, out, l.o, a.d);
}

bool same(const Array& a, const Array& b) {
  return std::equal(a.data<float>(), a.data<float>() + a.elements(), b.data<float>());
}

bool same(const Operands& a, const Operands& b) {
  return same(a.y, b.y) && same(a.d.x, b.d.x) && same(a.d.w, b.d.w) && same(a.d.b, b.d.b);
}

}  // namespace

TEST_CASE("a transposed convolution of a large batch is that of its images") {
  const auto backend = make_cpu_backend(2);
  const Layer layer = kLayers[3];  // its places are larger than a cache, and go in pieces
  Operands all(layer);
  forward(*backend, layer, all);
  for (std::int64_t i = 0; i < layer.x[0]; ++i) {
    Array y = Array::host({1, 80, 80, 32}, DType::kF32);
    backend->conv_transpose2d(all.x.slice(i, 1), all.w, all.b, layer.o, y);
    CHECK(same(y, all.y.slice(i, 1)));
  }
}

TEST_CASE("a planned recording of a training step gives the eager bytes, also of new weights") {
  const auto backend = make_cpu_backend(2);
  for (const Layer& layer : kLayers) {
    INFO(to_string(layer.w));
    Operands eager(layer);
    Operands recorded(layer);
    const auto work = [&] {
      forward(*backend, layer, recorded);
      backward(*backend, layer, recorded);
    };
    Arena arena(backend->allocator());
    backend->set_allocator(&arena);
    backend->rehearse(work);
    backend->release_unused();
    arena.place();
    const auto replay = backend->record(work);
    backend->set_allocator(nullptr);
    for (int step = 0; step < 4; ++step) {
      forward(*backend, layer, eager);
      backward(*backend, layer, eager);
      replay->run();
      CHECK(same(eager, recorded));
      for (Operands* a : {&eager, &recorded}) {
        for (std::int64_t i = 0; i < a->w.elements(); ++i) {
          a->w.data<float>()[i] -= 0.1F * a->d.w.data<float>()[i];
        }
      }
    }
  }
}

TEST_CASE("gradients that are not wanted are not computed") {
  const auto backend = make_cpu_backend(2);
  for (const Layer& layer : kLayers) {
    INFO(to_string(layer.w));
    Operands a(layer);
    const OperandGradients all = a.d;
    const auto steps = [&](bool x, bool w, bool b) {
      a.d = {x ? all.x : Array(), w ? all.w : Array(), b ? all.b : Array()};
      return backend->record([&] { backward(*backend, layer, a); })->steps().size();
    };
    CHECK(steps(false, false, false) == 0);
    CHECK(steps(false, false, true) == 1);
    CHECK(steps(true, false, false) == 2);
    CHECK(steps(false, true, false) == 2);
    CHECK(steps(true, true, true) == 3);
  }
}
