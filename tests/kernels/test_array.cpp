#include "kernels/allocator.h"
#include "kernels/array.h"
#include "kernels/math.h"
#include "tests/catch.h"

using namespace ptynet;

TEST_CASE("a shape refuses what cannot be held") {
  CHECK(Shape({2, 3, 4}).elements() == 24);
  CHECK(Shape({5, 0, std::int64_t{1} << 60}).elements() == 0);
  CHECK_THROWS_AS(Shape({-1}), Error);
  CHECK_THROWS_AS(Shape({std::int64_t{1} << 40, std::int64_t{1} << 40}), Error);
  CHECK_THROWS_AS(Shape({1, 1, 1, 1, 1, 1, 1}), Error);
  CHECK(to_string(Shape{3, 64, 64}) == "[3, 64, 64]");
}

TEST_CASE("arrays share elements, slices look into them, clones do not") {
  Array a = Array::copy_of<float>({1, 2, 3, 4, 5, 6}, {3, 2});
  Array row = a.slice(1, 1);
  row.data<float>()[0] = 30;
  CHECK(a.data<float>()[2] == 30);
  Array copy = a.clone();
  copy.data<float>()[0] = 7;
  CHECK(a.data<float>()[0] == 1);
  CHECK_THROWS_AS(a.slice(2, 2), Error);
  CHECK_THROWS_AS(a.slice(-1, 1), Error);
  CHECK_THROWS_AS(a.data<double>(), Error);
  CHECK_THROWS_AS(a.reshape({5}), Error);
  CHECK_THROWS_AS(Array::host({std::int64_t{1} << 61, 2}, DType::kF32), Error);
}

TEST_CASE("a device name is read strictly") {
  CHECK(Device::parse("cpu") == Device{DeviceKind::kCpu, 0});
  CHECK(Device::parse("cuda:3") == Device{DeviceKind::kCuda, 3});
  for (const char* wrong : {"", "gpu", "cuda:", "cuda:-1", "cuda:1x", "CPU"}) {
    CHECK_THROWS_AS(Device::parse(wrong), Error);
  }
}

TEST_CASE("half and bfloat16 widen exactly and narrow to the nearest") {
  CHECK(widen(Half{0x3c00}) == 1.0F);
  CHECK(widen(Half{0xc000}) == -2.0F);
  CHECK(widen(Half{0x0001}) == 0x1p-24F);
  CHECK(widen(Half{0x03ff}) == 1023 * 0x1p-24F);
  CHECK(widen(Half{0x0400}) == 0x1p-14F);
  CHECK(std::isinf(widen(Half{0x7c00})));
  CHECK(std::isnan(widen(Half{0x7e00})));
  CHECK(narrow_bf16(1.0F).bits == 0x3f80);
  // 1 + 2^-8 lies half way between two values: the even one is taken; a bit more goes up.
  CHECK(narrow_bf16(1.0F + 0x1p-8F).bits == 0x3f80);
  CHECK(narrow_bf16(1.0F + 0x1p-8F + 0x1p-20F).bits == 0x3f81);
  CHECK(narrow_bf16(1.0F + 3 * 0x1p-8F).bits == 0x3f82);
  CHECK(std::isnan(widen(narrow_bf16(std::numeric_limits<float>::signaling_NaN()))));
  CHECK(narrow_f16(1.0F + 0x1p-11F).bits == 0x3c00);
  CHECK(narrow_f16(1.0F + 0x1p-11F + 0x1p-20F).bits == 0x3c01);
  CHECK(narrow_f16(1.0F + 3 * 0x1p-11F).bits == 0x3c02);
  CHECK(narrow_f16(0x1p-25F).bits == 0x0000);
  CHECK(narrow_f16(0x1.8p-25F).bits == 0x0001);
  CHECK(narrow_f16(65519.0F).bits == 0x7bff);
  CHECK(narrow_f16(-65520.0F).bits == 0xfc00);
  CHECK(std::isnan(widen(narrow_f16(std::numeric_limits<float>::quiet_NaN()))));
  for (unsigned bits = 0; bits < 0x7c00; ++bits) {
    const Half half{static_cast<std::uint16_t>(bits)};
    REQUIRE(narrow_f16(widen(half)).bits == half.bits);
  }
}

TEST_CASE("stitching units: NaN adds nothing, infinities are held") {
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(stitch_units(std::numeric_limits<double>::quiet_NaN()) == 0);
  CHECK(stitch_units(inf) == std::int64_t{64} << 39);
  CHECK(stitch_units(-inf) == -(std::int64_t{64} << 39));
  CHECK(stitch_units(65.0) == stitch_units(64.0));
  CHECK(stitch_units(1.0) == std::int64_t{1} << 39);
  CHECK(stitch_units(-0.25) == -(std::int64_t{1} << 37));
}

TEST_CASE("a pool gives freed memory out again") {
  MemoryPool pool;
  const void* first = nullptr;
  {
    const Array a = pool.allocate({100}, DType::kF32);
    first = a.data();
  }
  const Array b = pool.allocate({100}, DType::kF32);
  CHECK(b.data() == first);
  const Array c = pool.allocate({100}, DType::kF32);
  CHECK(c.data() != first);
  CHECK(pool.bytes_held() == 2 * 512);
  pool.trim();
  CHECK(pool.bytes_held() == 2 * 512);
}

TEST_CASE("an arena plans by life times and repeats its plan in one slab") {
  MemoryPool pool;
  Arena arena(pool);
  // a and b live together, c takes a's place: the peak is two arrays.
  const auto sequence = [&] {
    std::vector<const char*> places;
    Array a = arena.allocate({1000}, DType::kU8);
    places.push_back(static_cast<const char*>(a.data()));
    const Array b = arena.allocate({1000}, DType::kU8);
    places.push_back(static_cast<const char*>(b.data()));
    a = Array();
    const Array c = arena.allocate({900}, DType::kU8);
    places.push_back(static_cast<const char*>(c.data()));
    return places;
  };
  sequence();
  CHECK(arena.peak_bytes() == 2 * 1024);
  arena.place();
  const auto first = sequence();
  CHECK(first[1] - first[0] == 1024);
  CHECK(first[2] == first[0]);
  CHECK(sequence() == first);
  const Array too_large = arena.allocate({1500}, DType::kU8);
  CHECK_THROWS_AS(arena.allocate({1000}, DType::kU8), Error);
}
