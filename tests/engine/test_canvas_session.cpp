// Frames to a canvas without a detour: the same bytes as a session and a stitcher, batch by batch.
#include <cmath>
#include <complex>
#include <cstring>

#include "engine/bench.h"
#include "engine/canvas_session.h"
#include "engine/session.h"
#include "engine/stitcher.h"
#include "kernels/random.h"
#include "tests/catch.h"
#include "tests/engine/count_allocations.h"

using namespace ptynet;

namespace {

constexpr std::int64_t kSide = 16;
constexpr std::int64_t kFrames = 7;
constexpr std::int64_t kBatch = 3;

Array counts() {
  const CounterRandom random(5, "frames");
  Array out = Array::host({kFrames, kSide, kSide}, DType::kU16);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<std::uint16_t>()[i] =
        static_cast<std::uint16_t>(100 * random.uniform(static_cast<std::uint64_t>(i)));
  }
  return out;
}

std::vector<io::Position> positions() {
  std::vector<io::Position> out;
  for (int i = 0; i < kFrames; ++i) out.push_back({2.0 * (i % 3), 3.5 * (i / 3)});
  return out;
}

CanvasOptions canvas_options() {
  CanvasOptions o;
  o.rows = 24;
  o.columns = 26;
  o.border = 1;
  o.weight = Array::host({kSide, kSide}, DType::kF32);
  const CounterRandom random(5, "weight");
  for (std::int64_t i = 0; i < kSide * kSide; ++i) {
    o.weight.data<float>()[i] = static_cast<float>(random.uniform(static_cast<std::uint64_t>(i)));
  }
  return o;
}

SessionOptions session_options() {
  SessionOptions o;
  o.context.threads = 2;
  o.height = o.width = kSide;
  o.batch = kBatch;
  o.frame_type = DType::kU16;
  return o;
}

CanvasSession make_session() {
  const Architecture architecture = built_in_architecture("ptynet-s");
  return {architecture, bench_state(architecture), session_options(), canvas_options()};
}

// Frames [first, first + n) into the room for them.
void fill(CanvasSession& session, std::int64_t first, std::int64_t n) {
  const Array frames = counts();
  std::memcpy(session.frames().data(), frames.slice(first, n).data(), frames.slice(0, n).bytes());
  double* corner = session.corners().data<double>();
  for (std::int64_t i = first; i < first + n; ++i) {
    const io::Position at = positions()[static_cast<std::size_t>(i)];
    *corner++ = at.row;
    *corner++ = at.column;
  }
}

void push_all(CanvasSession& session) {
  for (std::int64_t first = 0; first < kFrames; first += kBatch) {
    const std::int64_t n = std::min(kBatch, kFrames - first);
    fill(session, first, n);
    session.push(n);
  }
}

// The long way, by the same backend's operations one by one.
Canvas expected_canvas() {
  const Architecture architecture = built_in_architecture("ptynet-s");
  Session session(architecture, bench_state(architecture), session_options());
  Context& context = session.context();
  const CanvasOptions o = canvas_options();
  std::vector<std::int64_t> object(static_cast<std::size_t>(2 * o.rows * o.columns));
  std::vector<std::int64_t> coverage(static_cast<std::size_t>(o.rows * o.columns));
  Canvas out{Array::host({o.rows, o.columns}, DType::kC64),
             Array::host({o.rows, o.columns}, DType::kF32),
             Array::zeros({o.rows, o.columns}, DType::kU32)};
  const CanvasSums sums{object.data(), coverage.data(), out.count.data<std::uint32_t>(), o.rows,
                        o.columns};
  for (std::int64_t i = 0; i < kFrames; ++i) {
    const Shape shape{1, kSide, kSide};
    Array amplitude = Array::host(shape, DType::kF32);
    Array phase = Array::host(shape, DType::kF32);
    session.run(counts().slice(i, 1), amplitude, phase);
    Array patch = Array::host(shape, DType::kC64);
    context.backend().compose_object(amplitude, phase, patch);
    const io::Position at = positions()[static_cast<std::size_t>(i)];
    context.backend().stitch(patch, o.weight, Array::copy_of<double>({at.row, at.column}, {1, 2}),
                             o.border, sums);
  }
  object_of_sums(object.data(), coverage.data(), o.rows * o.columns,
                 out.object.data<std::complex<float>>());
  coverage_of_sums(coverage.data(), o.rows * o.columns, out.coverage.data<float>());
  return out;
}

bool same(const Array& a, const Array& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data(), b.data(), a.bytes()) == 0;
}

bool same(const Canvas& a, const Canvas& b) {
  return same(a.object, b.object) && same(a.coverage, b.coverage) && same(a.count, b.count);
}

}  // namespace

TEST_CASE("a canvas session gives the bytes of a session and stitching, also in between") {
  CanvasSession session = make_session();
  const Canvas expected = expected_canvas();
  CHECK_FALSE(same(session.canvas(), expected));
  push_all(session);
  CHECK(same(session.canvas(), expected));
  CHECK(same(session.canvas(), expected));  // looking adds nothing
  session.clear();
  fill(session, 0, 2);
  session.push(2);
  CHECK_FALSE(same(session.canvas(), expected));
  for (const std::int64_t first : {2, 4}) {
    fill(session, first, 2);
    session.push(2);
  }
  session.canvas();
  fill(session, 6, 1);
  session.push(1);
  CHECK(same(session.canvas(), expected));
  session.clear();
  const Canvas empty = session.canvas();
  CHECK(same(empty.count, Array::zeros(empty.count.shape(), DType::kU32)));
}

TEST_CASE("timing its steps leaves a canvas session empty") {
  CanvasSession session = make_session();
  push_all(session);
  CHECK(session.profile().size() > 10);
  const Canvas empty = session.canvas();
  CHECK(same(empty.count, Array::zeros(empty.count.shape(), DType::kU32)));
  push_all(session);
  CHECK(same(session.canvas(), expected_canvas()));
}

TEST_CASE("a canvas session refuses what does not lie on the canvas, and adds nothing of it") {
  CanvasSession session = make_session();
  fill(session, 0, 3);
  session.corners().data<double>()[3] = 10.5;
  CHECK_THROWS_WITH(session.push(),
                    "frame 1 of the batch: its patch of 16x16 at row 2, column 10.5 "
                    "does not lie on the canvas of 24x26");
  session.corners().data<double>()[3] = std::nan("");
  CHECK_THROWS_AS(session.push(), Error);
  CHECK_THROWS_AS(session.push(0), Error);
  CHECK_THROWS_AS(session.push(4), Error);
  const Canvas empty = session.canvas();
  CHECK(same(empty.count, Array::zeros(empty.count.shape(), DType::kU32)));

  const Architecture architecture = built_in_architecture("ptynet-s");
  const StateDict state = bench_state(architecture);
  CanvasOptions o = canvas_options();
  o.rows = 15;
  CHECK_THROWS_AS(CanvasSession(architecture, state, session_options(), o), Error);
  o = canvas_options();
  o.border = 8;
  CHECK_THROWS_AS(CanvasSession(architecture, state, session_options(), o), Error);
  o = canvas_options();
  o.weight = o.weight.slice(0, 8);
  CHECK_THROWS_AS(CanvasSession(architecture, state, session_options(), o), Error);
}

#ifdef PTYNET_COUNTS_ALLOCATIONS
TEST_CASE("a push to a canvas allocates nothing") {
  CanvasSession session = make_session();
  push_all(session);
  fill(session, 0, 3);
  int found = -1;
  {
    const tests::AllocationCount count;
    session.push();
    found = count.own();
  }
  CHECK(found == 0);
}
#endif
