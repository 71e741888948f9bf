// The C interface: exceptions end here, and turn into codes and messages once.
#include "engine/ptynet.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <new>
#include <thread>

#include "engine/load_architecture.h"
#include "engine/session.h"
#include "engine/version.h"
#include "io/weights.h"

namespace {

using ptynet::Session;
using ptynet::SessionOptions;
using Clock = std::chrono::steady_clock;

// A message kept without allocating, cut between two characters of UTF-8 where it is too long.
struct Message {
  std::array<char, 1024> text{};
  void set(const char* what) noexcept {
    std::size_t length = std::strlen(what);
    if (length >= text.size()) {
      length = text.size() - 1;
      const auto continues = [&](std::size_t i) { return (what[i] & 0xC0) == 0x80; };
      while (length > 0 && continues(length)) --length;
    }
    std::memcpy(text.data(), what, length);
    text[length] = '\0';
  }
};

// Runs body and turns what it throws into a code and a message.
template <typename Body>
ptynet_status guarded(Message& message, Body&& body) noexcept {
  try {
    body();
    return PTYNET_OK;
  } catch (const ptynet::Error& error) {
    message.set(error.what());
    return error.fault() == ptynet::Fault::kInput ? PTYNET_BAD_INPUT : PTYNET_FAILED;
  } catch (const std::bad_alloc&) {
    message.set("out of memory");
  } catch (const std::exception& error) {
    message.set(error.what());
  } catch (...) {
    message.set("unknown failure");
  }
  return PTYNET_FAILED;
}

// An enumerator as C stores it: a caller may have written any number there, which C++ must not read
// as the enumeration.
template <typename Enum>
int number_of(const Enum& field) {
  static_assert(sizeof(Enum) == sizeof(int));
  int number = 0;
  std::memcpy(&number, &field, sizeof number);
  return number;
}

ptynet::DType frame_type(int type) {
  switch (type) {
    case PTYNET_U8:
      return ptynet::DType::kU8;
    case PTYNET_U16:
      return ptynet::DType::kU16;
    case PTYNET_U32:
      return ptynet::DType::kU32;
    case PTYNET_F32:
      return ptynet::DType::kF32;
    default:
      ptynet::fail_input("frame_type is PTYNET_U8, U16, U32 or F32, found ", type);
  }
}

ptynet::Precision precision(int number) {
  switch (number) {
    case PTYNET_FP32:
      return ptynet::Precision::kF32;
    case PTYNET_BF16:
      return ptynet::Precision::kBf16;
    case PTYNET_TF32:
      return ptynet::Precision::kTf32;
    case PTYNET_FP16:
      return ptynet::Precision::kF16;
    default:
      ptynet::fail_input("precision is PTYNET_FP32, BF16, TF32 or FP16, found ", number);
  }
}

// A caller compiled with an older, shorter struct leaves the newer fields at their defaults.
ptynet_options complete(const ptynet_options& given) {
  // Where the fields end that came after the first ones, so that none is read in part.
  constexpr std::size_t kEnds[] = {offsetof(ptynet_options, mask),
                                   offsetof(ptynet_options, mask) + sizeof given.mask,
                                   offsetof(ptynet_options, scan_max) + sizeof given.scan_max};
  std::size_t known = 0;
  for (const std::size_t end : kEnds) {
    if (given.size >= end) known = end;
  }
  if (known == 0) ptynet::fail_input("call ptynet_options_init() on the options first");
  ptynet_options options;
  ptynet_options_init(&options, sizeof options);
  std::memcpy(&options, &given, known);
  return options;
}

SessionOptions session_options(const ptynet_options& o, const ptynet::Architecture& architecture) {
  SessionOptions options;
  const std::string device = o.device != nullptr ? o.device : "auto";
  options.context.device = device == "auto" ? ptynet::best_device() : ptynet::Device::parse(device);
  options.context.threads = o.threads;
  options.precision = precision(number_of(o.precision));
  options.height = o.height;
  options.width = o.width;
  options.batch = o.batch;
  options.frame_type = frame_type(number_of(o.frame_type));
  ptynet::trace(architecture, o.height, o.width);  // before anything of this size is allocated
  if (o.mask != nullptr) {
    options.mask = ptynet::Array::host({o.height, o.width}, ptynet::DType::kU8);
    std::memcpy(options.mask.data(), o.mask, options.mask.bytes());
  }
  ptynet::InputRule rule = architecture.input;
  rule.scan_max = o.scan_max;
  options.input_rule = rule;
  return options;
}

// Latencies: all in sums, the newest in a ring.
class LatencyMeter {
 public:
  void add(double seconds) {
    ring_[static_cast<std::size_t>(calls_) % ring_.size()] = seconds;
    ++calls_;
    last_ = seconds;
    sum_ += seconds;
    largest_ = std::max(largest_, seconds);
  }
  ptynet_latency read() const {
    std::array<double, kRing> sorted = ring_;
    const auto count = std::min<std::size_t>(static_cast<std::size_t>(calls_), kRing);
    if (count == 0) return {};
    std::sort(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(count));
    return {calls_,
            last_,
            sum_ / static_cast<double>(calls_),
            largest_,
            sorted[(count - 1) / 2],
            sorted[(count - 1) * 99 / 100]};
  }

 private:
  static constexpr std::size_t kRing = 1024;
  std::array<double, kRing> ring_{};
  std::int64_t calls_ = 0;
  double last_ = 0;
  double sum_ = 0;
  double largest_ = 0;
};

struct Work {
  const void* frames = nullptr;
  std::int64_t n = 0;
  float* amplitude = nullptr;
  float* phase = nullptr;
};

// How a call ended.
struct Outcome {
  ptynet_status status = PTYNET_OK;
  double seconds = 0;
  Message message;
};

thread_local Message open_error;

}  // namespace

// One worker thread stands ready from opening on; `state` says who owns the session and buffers.
// NOLINTNEXTLINE(readability-identifier-naming): declared in C
struct ptynet_session {
  enum class State { kIdle, kSubmitted, kDone, kClosing };

  ptynet_session(const char* weights, const ptynet_options& o) : session(open(weights, o)) {
    session.prepare(1);
    worker = std::thread([this] { serve(); });
  }
  ~ptynet_session() {
    {
      std::unique_lock lock(mutex);
      changed.wait(lock, [this] { return state != State::kSubmitted; });
      state = State::kClosing;
    }
    changed.notify_all();
    worker.join();
  }

  static Session open(const char* weights, const ptynet_options& o) {
    if (weights == nullptr) ptynet::fail_input("no weight file was named");
    const ptynet::io::WeightFile file = ptynet::io::read_weights(weights);
    if (o.architecture == nullptr && file.architecture_json.empty()) {
      ptynet::fail_input(weights, " does not say which network it belongs to: name one");
    }
    const ptynet::Architecture architecture =
        o.architecture != nullptr ? ptynet::load_architecture(o.architecture)
                                  : ptynet::parse_architecture(file.architecture_json);
    return Session(architecture, file.tensors, session_options(o, architecture));
  }

  // By whoever holds the session: the caller while idle, the worker while submitted.
  void run(const Work& todo, Outcome& outcome) {
    const Clock::time_point start = Clock::now();
    outcome.status = guarded(outcome.message, [&] {
      if (todo.frames == nullptr || todo.amplitude == nullptr || todo.phase == nullptr) {
        ptynet::fail_input("a buffer is NULL");
      }
      session.run(todo.frames, todo.n, todo.amplitude, todo.phase);
    });
    outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }

  void serve() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return state == State::kSubmitted || state == State::kClosing; });
      if (state == State::kClosing) return;
      lock.unlock();
      run(work, background);
      lock.lock();
      note_latency(background);
      state = State::kDone;
      changed.notify_all();
    }
  }

  // With the mutex held.
  void note_latency(const Outcome& outcome) {
    if (outcome.status == PTYNET_OK) latency.add(outcome.seconds);
  }

  // What a call of the session's owner returns: its failures alone change the message.
  ptynet_status report(const Outcome& outcome) {
    if (outcome.status != PTYNET_OK) error = outcome.message;
    return outcome.status;
  }
  ptynet_status refuse(ptynet_status status, const char* why) const {
    error.set(why);
    return status;
  }

  Session session;
  mutable Message error;  // of the caller's thread alone
  Outcome foreground;
  Outcome background;        // the worker's until kDone
  mutable std::mutex mutex;  // of what follows
  std::condition_variable changed;
  LatencyMeter latency;
  State state = State::kIdle;
  Work work;
  std::thread worker;
};

namespace {

constexpr const char* kBusy = "frames were submitted and not yet waited for: call ptynet_wait()";

}  // namespace

extern "C" {

void ptynet_options_init(ptynet_options* options, size_t size) {
  if (options == nullptr) return;
  ptynet_options defaults{};
  defaults.size = size;
  defaults.device = "auto";
  defaults.frame_type = PTYNET_U16;
  defaults.height = 128;
  defaults.width = 128;
  defaults.batch = 1;
  std::memset(options, 0, size);
  std::memcpy(options, &defaults, std::min(size, sizeof defaults));
}

ptynet_status ptynet_open(const char* weights, const ptynet_options* options,
                          ptynet_session** session) {
  open_error.set("");
  if (session == nullptr) {
    open_error.set("no place for the session was given");
    return PTYNET_BAD_INPUT;
  }
  *session = nullptr;
  return guarded(open_error, [&] {
    ptynet_options defaults;
    ptynet_options_init(&defaults, sizeof defaults);
    *session = new ptynet_session(weights, complete(options != nullptr ? *options : defaults));
  });
}

const char* ptynet_open_error(void) { return open_error.text.data(); }

ptynet_status ptynet_run(ptynet_session* session, const void* frames, int64_t n, float* amplitude,
                         float* phase) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  {
    const std::scoped_lock lock(session->mutex);
    if (session->state != ptynet_session::State::kIdle) return session->refuse(PTYNET_BUSY, kBusy);
  }
  session->run({frames, n, amplitude, phase}, session->foreground);
  {
    const std::scoped_lock lock(session->mutex);
    session->note_latency(session->foreground);
  }
  return session->report(session->foreground);
}

ptynet_status ptynet_submit(ptynet_session* session, const void* frames, int64_t n,
                            float* amplitude, float* phase) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  {
    const std::scoped_lock lock(session->mutex);
    if (session->state != ptynet_session::State::kIdle) return session->refuse(PTYNET_BUSY, kBusy);
    session->work = {frames, n, amplitude, phase};
    session->state = ptynet_session::State::kSubmitted;
  }
  session->changed.notify_all();
  return PTYNET_OK;
}

ptynet_status ptynet_wait(ptynet_session* session) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  std::unique_lock lock(session->mutex);
  if (session->state == ptynet_session::State::kIdle) {
    return session->refuse(PTYNET_NOTHING_TO_WAIT, "nothing was submitted to wait for");
  }
  session->changed.wait(lock, [&] { return session->state == ptynet_session::State::kDone; });
  session->state = ptynet_session::State::kIdle;
  return session->report(session->background);
}

ptynet_status ptynet_shape(const ptynet_session* session, int64_t* height, int64_t* width,
                           int64_t* batch) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  const SessionOptions& o = session->session.options();
  if (height != nullptr) *height = o.height;
  if (width != nullptr) *width = o.width;
  if (batch != nullptr) *batch = o.batch;
  return PTYNET_OK;
}

ptynet_status ptynet_get_latency(const ptynet_session* session, ptynet_latency* latency) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  if (latency == nullptr) return session->refuse(PTYNET_BAD_INPUT, "no place for the latencies");
  const std::scoped_lock lock(session->mutex);
  *latency = session->latency.read();
  return PTYNET_OK;
}

const char* ptynet_last_error(const ptynet_session* session) {
  return session == nullptr ? "" : session->error.text.data();
}

void ptynet_close(ptynet_session* session) { delete session; }

const char* ptynet_version(void) { return PTYNET_VERSION; }

}  // extern "C"
