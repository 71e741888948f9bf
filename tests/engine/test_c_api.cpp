#include <chrono>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "engine/ptynet.h"
#include "engine/session.h"
#include "io/weights.h"
#include "kernels/random.h"
#include "tests/catch.h"
#include "tests/engine/count_allocations.h"

using Catch::Contains;
using ptynet::tests::AllocationCount;

namespace {

constexpr std::int64_t kSide = 64;
constexpr std::int64_t kBatch = 3;
constexpr std::int64_t kPixels = kSide * kSide;

const std::string kWeights = PTYNET_SOURCE_DIR "/examples/demo/ptynet-s.h5";

ptynet_options options() {
  ptynet_options o;
  ptynet_options_init(&o, sizeof o);
  o.device = "cpu";
  o.threads = 1;
  o.height = kSide;
  o.width = kSide;
  o.batch = kBatch;
  return o;
}

// A session that closes itself.
struct Opened {
  explicit Opened(const ptynet_options& o = options()) {
    status = ptynet_open(kWeights.c_str(), &o, &session);
  }
  ~Opened() { ptynet_close(session); }
  Opened(const Opened&) = delete;
  Opened& operator=(const Opened&) = delete;

  ptynet_session* session = nullptr;
  ptynet_status status = PTYNET_FAILED;
};

std::vector<std::uint16_t> counts(std::int64_t n) {
  const ptynet::CounterRandom random(3, "counts");
  std::vector<std::uint16_t> out(static_cast<std::size_t>(n * kPixels));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<std::uint16_t>(1000 * std::pow(random.uniform(i), 3));
  }
  return out;
}

struct Room {
  std::vector<float> amplitude = std::vector<float>(kBatch * kPixels);
  std::vector<float> phase = std::vector<float>(kBatch * kPixels);
};

ptynet_latency latency_of(const Opened& opened) {
  ptynet_latency latency;
  REQUIRE(ptynet_get_latency(opened.session, &latency) == PTYNET_OK);
  return latency;
}

// Opening must be refused; gives why.
std::string refusal(const ptynet_options& o, const char* weights = kWeights.c_str()) {
  ptynet_session* session = nullptr;
  const ptynet_status status = ptynet_open(weights, &o, &session);
  CHECK(status == PTYNET_BAD_INPUT);
  CHECK(session == nullptr);
  ptynet_close(session);
  return ptynet_open_error();
}

std::int64_t status_value(const std::string& name) {
  std::ifstream file("/proc/self/status");
  std::string word;
  std::int64_t value = 0;
  while (file >> word) {
    if (word == name && file >> value) return value;
  }
  return 0;
}

}  // namespace

TEST_CASE("C: patches are those of a session") {
  const std::vector<std::uint16_t> frames = counts(kBatch);
  const ptynet::io::WeightFile file = ptynet::io::read_weights(kWeights);
  const ptynet::Architecture architecture = ptynet::parse_architecture(file.architecture_json);
  ptynet::SessionOptions wanted;
  wanted.context.threads = 1;
  wanted.height = kSide;
  wanted.width = kSide;
  wanted.batch = kBatch;
  wanted.frame_type = ptynet::DType::kU16;
  ptynet::Session session(architecture, file.tensors, wanted);
  Room expected;
  session.run(frames.data(), kBatch, expected.amplitude.data(), expected.phase.data());

  const Opened opened;
  REQUIRE(opened.status == PTYNET_OK);
  CHECK(std::string(ptynet_open_error()).empty());
  Room found;
  REQUIRE(ptynet_run(opened.session, frames.data(), kBatch, found.amplitude.data(),
                     found.phase.data()) == PTYNET_OK);
  CHECK(found.amplitude == expected.amplitude);
  CHECK(found.phase == expected.phase);
  CHECK(std::string(ptynet_last_error(opened.session)).empty());

  Room later;
  REQUIRE(ptynet_submit(opened.session, frames.data(), kBatch, later.amplitude.data(),
                        later.phase.data()) == PTYNET_OK);
  REQUIRE(ptynet_wait(opened.session) == PTYNET_OK);
  CHECK(later.amplitude == expected.amplitude);
  CHECK(later.phase == expected.phase);
}

TEST_CASE("C: why a session does not open") {
  CHECK_THAT(refusal(options(), "/nowhere/w.h5"), Contains("/nowhere/w.h5"));
  CHECK_THAT(refusal(options(), nullptr), Contains("no weight file"));
  ptynet_options o = options();
  o.architecture = "ptynet";
  CHECK_THAT(refusal(o), Contains("ptynet-s"));
  o = options();
  o.architecture = "ptychonn";
  CHECK_THAT(refusal(o), Contains("missing"));
  o = options();
  o.device = "gpu";
  CHECK_THAT(refusal(o), Contains("gpu"));
  for (const std::int32_t threads : {-1, 4097, 100000, std::numeric_limits<std::int32_t>::max()}) {
    o = options();
    o.threads = threads;
    CHECK_THAT(refusal(o), Contains("--threads") && Contains(std::to_string(threads)));
  }
  for (const std::int64_t wrong : {std::int64_t{0}, std::int64_t{-1}, std::int64_t{50},
                                   std::numeric_limits<std::int64_t>::max()}) {
    o = options();
    o.height = wrong;
    CHECK_THAT(refusal(o), Contains(std::to_string(wrong)));
  }
  for (const std::int64_t wrong : {std::int64_t{0}, std::int64_t{1} << 40}) {
    o = options();
    o.batch = wrong;
    CHECK_THAT(refusal(o), Contains(std::to_string(wrong)));
  }
  // As C may write them.
  const int unknown = 7;
  o = options();
  std::memcpy(&o.precision, &unknown, sizeof unknown);
  CHECK_THAT(refusal(o), Contains("precision") && Contains("found 7"));
  // The numbers are those of compiled programs: they stay.
  for (const auto& [number, name] : {std::pair{2, "tf32"}, std::pair{3, "fp16"}}) {
    o = options();
    o.device = "cpu";
    std::memcpy(&o.precision, &number, sizeof number);
    CHECK_THAT(refusal(o), Contains(ptynet::text("--precision ", name, " needs a CUDA device")));
  }
  o = options();
  std::memcpy(&o.frame_type, &unknown, sizeof unknown);
  CHECK_THAT(refusal(o), Contains("frame_type") && Contains("found 7"));

  const ptynet_options good = options();
  CHECK(ptynet_open(kWeights.c_str(), &good, nullptr) == PTYNET_BAD_INPUT);
  CHECK_FALSE(std::string(ptynet_open_error()).empty());
}

TEST_CASE("C: a long message is cut between two characters") {
  // The name is in the message; whatever its prefix, one of four shifts would cut a character.
  for (int shift = 0; shift < 4; ++shift) {
    std::string name = "/nowhere/" + std::string(static_cast<std::size_t>(shift), 'x');
    while (name.size() < 2000) name += "\xF0\x9F\x94\xAC";  // a microscope, 4 bytes
    const std::string message = refusal(options(), name.c_str());
    REQUIRE(message.size() > 1000);
    REQUIRE(message.size() < 1024);
    std::size_t first = message.size();
    std::size_t tail = 0;
    while ((message[--first] & 0xC0) == 0x80) ++tail;
    CHECK(tail == 3);
  }
}

TEST_CASE("C: options of an older, shorter or newer caller") {
  ptynet_options o = options();
  // The fields behind `size` are not read.
  o.size = offsetof(ptynet_options, mask);
  const std::uint8_t* nowhere = nullptr;
  std::memset(&nowhere, 0x5A, sizeof nowhere);
  o.mask = nowhere;
  CHECK(Opened(o).status == PTYNET_OK);
  o.size += 3;  // part of a pointer
  CHECK(Opened(o).status == PTYNET_OK);
  o.mask = nullptr;
  o.size = offsetof(ptynet_options, scan_max);
  CHECK(Opened(o).status == PTYNET_OK);
  o.size = offsetof(ptynet_options, mask) - 1;
  CHECK_THAT(refusal(o), Contains("ptynet_options_init"));
  o.size = 0;
  CHECK_THAT(refusal(o), Contains("ptynet_options_init"));

  struct Newer {
    ptynet_options known;
    double unknown[4];
  } newer;
  std::memset(static_cast<void*>(&newer), 0xFF, sizeof newer);
  ptynet_options_init(&newer.known, sizeof newer);
  CHECK(newer.known.size == sizeof newer);
  CHECK(newer.unknown[3] == 0.0);
  newer.known.threads = 1;
  CHECK(Opened(newer.known).status == PTYNET_OK);
  // A short struct is not written beyond its end.
  std::vector<unsigned char> bytes(sizeof(ptynet_options), 0xAB);
  ptynet_options_init(reinterpret_cast<ptynet_options*>(bytes.data()),
                      offsetof(ptynet_options, mask));
  CHECK(bytes[offsetof(ptynet_options, mask)] == 0xAB);
  ptynet_options_init(nullptr, 8);
}

TEST_CASE("C: busy sessions, nothing to wait for, and what failed") {
  const Opened opened;
  REQUIRE(opened.status == PTYNET_OK);
  ptynet_session* session = opened.session;
  const std::vector<std::uint16_t> frames = counts(kBatch);
  Room room;
  float* amplitude = room.amplitude.data();
  float* phase = room.phase.data();
  const auto error = [&] { return std::string(ptynet_last_error(session)); };

  CHECK(ptynet_wait(session) == PTYNET_NOTHING_TO_WAIT);
  CHECK_THAT(error(), Contains("nothing was submitted"));
  REQUIRE(ptynet_submit(session, frames.data(), kBatch, amplitude, phase) == PTYNET_OK);
  CHECK(ptynet_run(session, frames.data(), 1, amplitude, phase) == PTYNET_BUSY);
  CHECK_THAT(error(), Contains("ptynet_wait"));
  CHECK(ptynet_submit(session, frames.data(), 1, amplitude, phase) == PTYNET_BUSY);
  while (latency_of(opened).calls == 0) std::this_thread::yield();  // read while it works
  CHECK(ptynet_wait(session) == PTYNET_OK);
  CHECK(ptynet_wait(session) == PTYNET_NOTHING_TO_WAIT);

  CHECK(ptynet_run(session, frames.data(), kBatch + 1, amplitude, phase) == PTYNET_BAD_INPUT);
  CHECK_THAT(error(), Contains("1 to 3 frames"));
  CHECK(ptynet_run(session, nullptr, 1, amplitude, phase) == PTYNET_BAD_INPUT);
  CHECK_THAT(error(), Contains("NULL"));
  // Work that fails in the background says so when it is waited for, not before.
  REQUIRE(ptynet_submit(session, frames.data(), 0, amplitude, phase) == PTYNET_OK);
  CHECK_THAT(error(), Contains("NULL"));
  CHECK(ptynet_wait(session) == PTYNET_BAD_INPUT);
  CHECK_THAT(error(), Contains("found 0"));
  CHECK(ptynet_get_latency(session, nullptr) == PTYNET_BAD_INPUT);
  CHECK_THAT(error(), Contains("latencies"));
  CHECK(latency_of(opened).calls == 1);  // failures are not counted

  // Closing with work under way waits for it.
  ptynet_options o = options();
  ptynet_session* other = nullptr;
  REQUIRE(ptynet_open(kWeights.c_str(), &o, &other) == PTYNET_OK);
  REQUIRE(ptynet_submit(other, frames.data(), kBatch, amplitude, phase) == PTYNET_OK);
  ptynet_close(other);
}

TEST_CASE("C: latencies, shape and NULL sessions") {
  const Opened opened;
  REQUIRE(opened.status == PTYNET_OK);
  CHECK(latency_of(opened).calls == 0);
  CHECK(latency_of(opened).median_s == 0.0);
  const std::vector<std::uint16_t> frames = counts(kBatch);
  Room room;
  for (int i = 0; i < 20; ++i) {
    REQUIRE(ptynet_run(opened.session, frames.data(), 1 + i % 3, room.amplitude.data(),
                       room.phase.data()) == PTYNET_OK);
  }
  const ptynet_latency latency = latency_of(opened);
  CHECK(latency.calls == 20);
  CHECK(latency.last_s > 0);
  CHECK(latency.mean_s > 0);
  CHECK(latency.median_s <= latency.p99_s);
  CHECK(latency.p99_s <= latency.largest_s);
  CHECK(latency.mean_s <= latency.largest_s);

  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t batch = 0;
  CHECK(ptynet_shape(opened.session, &height, &width, &batch) == PTYNET_OK);
  CHECK(height == kSide);
  CHECK(width == kSide);
  CHECK(batch == kBatch);
  CHECK(ptynet_shape(opened.session, nullptr, nullptr, nullptr) == PTYNET_OK);

  ptynet_latency unused;
  CHECK(ptynet_run(nullptr, frames.data(), 1, nullptr, nullptr) == PTYNET_BAD_INPUT);
  CHECK(ptynet_submit(nullptr, frames.data(), 1, nullptr, nullptr) == PTYNET_BAD_INPUT);
  CHECK(ptynet_wait(nullptr) == PTYNET_BAD_INPUT);
  CHECK(ptynet_shape(nullptr, &height, &width, &batch) == PTYNET_BAD_INPUT);
  CHECK(ptynet_get_latency(nullptr, &unused) == PTYNET_BAD_INPUT);
  CHECK(std::string(ptynet_last_error(nullptr)).empty());
  ptynet_close(nullptr);
}

#ifdef PTYNET_COUNTS_ALLOCATIONS
TEST_CASE("C: nothing is allocated between opening and closing") {
  const Opened opened;
  REQUIRE(opened.status == PTYNET_OK);
  const std::vector<std::uint16_t> frames = counts(kBatch);
  Room room;
  int found = -1;
  bool good = true;
  {
    const AllocationCount count;
    for (const std::int64_t n : {3, 1, 2}) {
      good = good && ptynet_run(opened.session, frames.data(), n, room.amplitude.data(),
                                room.phase.data()) == PTYNET_OK;
      good = good && ptynet_submit(opened.session, frames.data(), n, room.amplitude.data(),
                                   room.phase.data()) == PTYNET_OK;
      good = good && ptynet_wait(opened.session) == PTYNET_OK;
    }
    ptynet_latency latency;
    good = good && ptynet_get_latency(opened.session, &latency) == PTYNET_OK;
    found = count.own();
  }
  CHECK(good);
  CHECK(found == 0);
}
#endif

TEST_CASE("C: opening and closing over and over leaves no threads and no memory behind") {
  const std::vector<std::uint16_t> frames = counts(kBatch);
  const auto cycles = [&](int number) {
    ptynet_options o = options();
    o.threads = 2;
    for (int i = 0; i < number; ++i) {
      const Opened opened(o);
      REQUIRE(opened.status == PTYNET_OK);
      Room room;
      REQUIRE(ptynet_submit(opened.session, frames.data(), kBatch, room.amplitude.data(),
                            room.phase.data()) == PTYNET_OK);
      REQUIRE(ptynet_wait(opened.session) == PTYNET_OK);
    }
  };
  const auto threads = [] { return status_value("Threads:"); };
  cycles(10);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  const std::int64_t threads_before = threads();
  const std::int64_t kilobytes_before = status_value("VmRSS:");
  cycles(30);
  // OpenMP's threads end on their own a little after the one that asked for them.
  for (int i = 0; i < 100 && threads() > threads_before; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(threads() <= threads_before);
#ifdef PTYNET_COUNTS_ALLOCATIONS  // sanitizers keep what was freed for a while
  const std::int64_t grown = status_value("VmRSS:") - kilobytes_before;
  CAPTURE(grown);
  CHECK(grown < 4096);  // one session of this size holds 7 MB
#else
  CHECK(kilobytes_before > 0);
#endif
}
