#include "tests/kernels/cases.h"

namespace ptynet::tests {

namespace {

struct ConvCase {
  std::int64_t n, h, w, ci, co, kernel, stride, padding, groups;
  Activation activation;
  bool bias;
};

std::string name_of_case(const std::string& operation, const ConvCase& c) {
  return text(operation, " n", c.n, " ", c.h, "x", c.w, " ", c.ci, "->", c.co, " k", c.kernel, " s",
              c.stride, " p", c.padding, " g", c.groups, " a", static_cast<int>(c.activation.kind),
              c.bias ? " bias" : "");
}

// The shapes of the five networks in small, and odd ones.
const ConvCase kConvolutions[] = {
    {1, 16, 16, 1, 16, 3, 1, 1, 1, kLeaky, true}, {2, 16, 16, 16, 16, 3, 2, 1, 1, kLeaky, true},
    {1, 9, 11, 16, 32, 3, 2, 1, 1, kLeaky, true}, {1, 8, 8, 64, 64, 3, 1, 1, 2, kLeaky, false},
    {3, 7, 5, 16, 2, 3, 1, 1, 2, kLeaky, true},   {1, 12, 10, 64, 1, 3, 1, 1, 1, kTanh, true},
    {1, 12, 12, 1, 32, 5, 1, 2, 1, kLeaky, true}, {2, 6, 6, 32, 64, 1, 1, 0, 1, kPlain, false},
    {1, 8, 8, 32, 32, 2, 2, 0, 1, kPlain, false}, {1, 8, 8, 32, 2, 5, 1, 2, 2, kLeaky, false},
    {1, 6, 6, 2, 2, 1, 1, 0, 2, kLeaky, false},   {1, 16, 16, 1, 64, 4, 2, 1, 1, kLeaky, true},
    {1, 5, 5, 6, 9, 3, 1, 0, 3, kRelu, true},     {1, 4, 4, 3, 5, 3, 3, 2, 1, kSigmoid, true},
    {1, 1, 1, 4, 4, 3, 1, 1, 1, kClip, true},     {1, 10, 10, 12, 12, 3, 1, 1, 12, kPlain, true},
    {5, 6, 7, 12, 20, 3, 1, 1, 1, kLeaky, true},  {2, 8, 8, 16, 2, 5, 1, 2, 2, kLeaky, true},
    {5, 9, 9, 1, 16, 3, 1, 1, 1, kLeaky, true},   {2, 6, 5, 2, 2, 3, 1, 1, 2, kClip, true},
    {2, 7, 9, 10, 6, 3, 2, 1, 2, kLeaky, false},  {2, 8, 6, 8, 8, 3, 2, 0, 1, kRelu, true},
    {4, 32, 32, 16, 16, 3, 1, 1, 1, kLeaky, true}};

const ConvCase kTransposed[] = {
    {1, 8, 8, 64, 64, 4, 2, 1, 2, kLeaky, true}, {2, 5, 7, 2, 2, 4, 2, 1, 2, kClip, true},
    {1, 4, 4, 64, 32, 4, 2, 1, 1, kRelu, true},  {1, 6, 6, 32, 32, 2, 2, 0, 1, kPlain, false},
    {1, 6, 6, 2, 2, 2, 2, 0, 1, kPlain, false},  {1, 4, 4, 64, 2, 4, 2, 1, 1, kSigmoid, true},
    {1, 5, 4, 6, 9, 3, 1, 1, 3, kLeaky, true},   {1, 3, 3, 4, 6, 5, 3, 0, 2, kPlain, true},
    {1, 3, 3, 4, 4, 2, 3, 0, 1, kTanh, true},    {1, 3, 4, 3, 5, 3, 2, 1, 1, kPlain, true},
    {1, 4, 4, 64, 64, 4, 2, 1, 2, kLeaky, true}, {5, 5, 3, 12, 10, 4, 2, 1, 2, kLeaky, true}};

// The two operations, alike in all but the way round.
struct Convolution {
  const char* name;
  void (Backend::*forward)(const Array&, const Array&, const Array&, const ConvOptions&, Array&);
  void (Backend::*gradient)(const Array&, const Array&, const OutputGradient&, const ConvOptions&,
                            OperandGradients&);
  bool transposed;
};

constexpr Convolution kForward{"conv2d", &Backend::conv2d, &Backend::conv2d_gradient, false};
constexpr Convolution kBackward{"conv_transpose2d", &Backend::conv_transpose2d,
                                &Backend::conv_transpose2d_gradient, true};

struct Operands {
  Shape x;
  Shape w;
  Shape y;
  // Terms summed for one element of each.
  std::int64_t y_terms;
  std::int64_t dx_terms;
  std::int64_t dw_terms;
  std::int64_t db_terms;
};

Operands operands_of(const Convolution& operation, const ConvCase& c) {
  const TransposedAxis rows{c.h, c.kernel, c.stride, c.padding};
  const TransposedAxis columns{c.w, c.kernel, c.stride, c.padding};
  const std::int64_t all_taps = c.kernel * c.kernel;
  const std::int64_t taps = rows.taps() * columns.taps();  // that meet one finer pixel
  const std::int64_t ci = c.ci / c.groups;
  const std::int64_t co = c.co / c.groups;
  if (operation.transposed) {
    const Shape y{c.n, rows.outputs(), columns.outputs(), c.co};
    return {{c.n, c.h, c.w, c.ci},
            {c.ci, c.kernel, c.kernel, co},
            y,
            taps * ci,
            all_taps * co,
            c.n * c.h * c.w,
            y.elements() / c.co};
  }
  const Shape y{c.n, (c.h + 2 * c.padding - c.kernel) / c.stride + 1,
                (c.w + 2 * c.padding - c.kernel) / c.stride + 1, c.co};
  return {{c.n, c.h, c.w, c.ci},
          {c.co, c.kernel, c.kernel, ci},
          y,
          all_taps * ci,
          taps * co,
          y.elements() / c.co,
          y.elements() / c.co};
}

void add_forward(OperationCases& cases, const Convolution& operation, const ConvCase& c) {
  const std::string name = name_of_case(operation.name, c);
  cases.push_back({name, [operation, c, name](Backend& backend) -> std::vector<Output> {
                     const Operands s = operands_of(operation, c);
                     const Array b = c.bias ? random_array(name + "b", {c.co}) : Array();
                     Array y = Array::host(s.y, DType::kF32);
                     (backend.*operation.forward)(
                         random_array(name, s.x), random_array(name + "w", s.w), b,
                         {c.stride, c.padding, c.groups, c.activation, false}, y);
                     return {{y, s.y_terms}};
                   }});
}

// All three derivatives, and each alone.
void add_gradients(OperationCases& cases, const Convolution& operation, const ConvCase& c) {
  for (const std::string wanted : {"xwb", "x", "w", "b"}) {
    if (wanted == "b" && !c.bias) continue;
    const std::string name = name_of_case(text(operation.name, "_gradient ", wanted), c);
    cases.push_back({name, [operation, c, name, wanted](Backend& backend) {
                       const Operands s = operands_of(operation, c);
                       std::vector<Output> outputs;
                       const auto room = [&](char operand, const Shape& shape, std::int64_t terms) {
                         if (wanted.find(operand) == std::string::npos) return Array();
                         outputs.push_back({Array::host(shape, DType::kF32), terms});
                         return outputs.back().value;
                       };
                       OperandGradients d;
                       d.x = room('x', s.x, s.dx_terms);
                       d.w = room('w', s.w, s.dw_terms);
                       if (c.bias) d.b = room('b', {c.co}, s.db_terms);
                       const Array y = random_activated(name + "y", s.y, c.activation);
                       const Array dy = random_array(name + "dy", s.y);
                       (backend.*operation.gradient)(
                           random_array(name, s.x), random_array(name + "w", s.w), {y, dy},
                           {c.stride, c.padding, c.groups, c.activation, false}, d);
                       return outputs;
                     }});
  }
}

struct PairCase {
  ConvCase first;
  ConvCase second;
};

// Convolutions to two channels that transposed ones double: the end of PtyNet-S in small, and odd
// ones.
const PairCase kEnds[] = {
    {{1, 8, 10, 16, 2, 3, 1, 1, 2, kLeaky, true}, {1, 8, 10, 2, 2, 4, 2, 1, 2, kClip, true}},
    {{3, 13, 7, 12, 2, 3, 1, 0, 1, kTanh, false}, {3, 11, 5, 2, 2, 3, 2, 1, 1, kPlain, true}},
    {{2, 6, 5, 4, 2, 3, 1, 1, 1, kPlain, true}, {2, 6, 5, 2, 2, 2, 2, 0, 1, kLeaky, false}},
    {{1, 5, 4, 6, 8, 3, 2, 1, 2, kRelu, true}, {1, 3, 2, 8, 6, 4, 2, 1, 1, kPlain, false}}};

// The beginning of PtyNet-S.
const PairCase kBeginning{{1, 9, 8, 1, 16, 3, 1, 1, 1, kLeaky, true},
                          {1, 9, 8, 16, 16, 3, 2, 1, 1, kLeaky, true}};

// The way back: a transposed convolution, and a convolution of its result.
const PairCase kAround{{1, 4, 5, 6, 9, 4, 2, 1, 3, kRelu, true},
                       {1, 8, 10, 9, 2, 5, 1, 2, 1, kPlain, false}};

ConvLayer random_layer(const std::string& name, const Convolution& operation, const ConvCase& c) {
  return {random_array(name + "w", operands_of(operation, c).w),
          c.bias ? random_array(name + "b", {c.co}) : Array(),
          {c.stride, c.padding, c.groups, c.activation, false},
          operation.transposed};
}

void add_pair(OperationCases& cases, const Convolution& first, const Convolution& second,
              const PairCase& c) {
  const std::string name = text("conv_pair ", name_of_case(first.name, c.first), " + ",
                                name_of_case(second.name, c.second));
  cases.push_back({name, [=](Backend& backend) -> std::vector<Output> {
                     const Operands from = operands_of(first, c.first);
                     const Operands to = operands_of(second, c.second);
                     Array y = Array::host(to.y, DType::kF32);
                     backend.conv_pair(random_array(name, from.x),
                                       random_layer(name + "first ", first, c.first),
                                       random_layer(name + "second ", second, c.second), y);
                     return {{y, from.y_terms + to.y_terms}};
                   }});
}

}  // namespace

void add_convolution_cases(OperationCases& cases) {
  for (const ConvCase& c : kConvolutions) add_forward(cases, kForward, c);
  for (const ConvCase& c : kTransposed) add_forward(cases, kBackward, c);
  for (const PairCase& c : kEnds) add_pair(cases, kForward, kBackward, c);
  add_pair(cases, kForward, kForward, kBeginning);
  add_pair(cases, kBackward, kForward, kAround);
  for (const ConvCase& c : kConvolutions) add_gradients(cases, kForward, c);
  for (const ConvCase& c : kTransposed) add_gradients(cases, kBackward, c);
}

}  // namespace ptynet::tests
