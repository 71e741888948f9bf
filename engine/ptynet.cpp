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

// A message kept without allocating.
struct Message {
  std::array<char, 1024> text{};
  void set(const char* what) noexcept {
    std::strncpy(text.data(), what, text.size() - 1);
    text.back() = '\0';
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

ptynet::DType frame_type(ptynet_frame_type type) {
  switch (type) {
    case PTYNET_U8:
      return ptynet::DType::kU8;
    case PTYNET_U16:
      return ptynet::DType::kU16;
    case PTYNET_U32:
      return ptynet::DType::kU32;
    case PTYNET_F32:
      return ptynet::DType::kF32;
  }
  ptynet::fail_input("frame_type is PTYNET_U8, U16, U32 or F32, found ", static_cast<int>(type));
}

SessionOptions session_options(const ptynet_options& o, const ptynet::Architecture& architecture) {
  SessionOptions options;
  const std::string device = o.device != nullptr ? o.device : "auto";
  options.context.device = device == "auto" ? ptynet::best_device() : ptynet::Device::parse(device);
  options.context.threads = o.threads;
  options.precision = o.precision == PTYNET_BF16 ? ptynet::Precision::kBf16
                                                 : ptynet::Precision::kFp32;
  options.height = o.height;
  options.width = o.width;
  options.batch = o.batch;
  options.frame_type = frame_type(o.frame_type);
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
    return {calls_,   last_, sum_ / static_cast<double>(calls_),
            largest_, sorted[(count - 1) / 2], sorted[(count - 1) * 99 / 100]};
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

thread_local Message open_error;

}  // namespace

// One worker thread stands ready from opening on; `state` says who owns the session and buffers.
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

  ptynet_status run(const Work& todo) {
    const Clock::time_point start = Clock::now();
    const ptynet_status status = guarded(error, [&] {
      if (todo.frames == nullptr || todo.amplitude == nullptr || todo.phase == nullptr) {
        ptynet::fail_input("a buffer is NULL");
      }
      session.run(todo.frames, todo.n, todo.amplitude, todo.phase);
    });
    latency.add(std::chrono::duration<double>(Clock::now() - start).count());
    return status;
  }

  void serve() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return state == State::kSubmitted || state == State::kClosing; });
      if (state == State::kClosing) return;
      lock.unlock();
      const ptynet_status status = run(work);
      lock.lock();
      result = status;
      state = State::kDone;
      changed.notify_all();
    }
  }

  Session session;
  Message error;
  LatencyMeter latency;
  std::mutex mutex;
  std::condition_variable changed;
  State state = State::kIdle;
  Work work;
  ptynet_status result = PTYNET_OK;
  std::thread worker;
};

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
    // A caller compiled with an older, shorter struct leaves the newer fields at their defaults.
    ptynet_options o;
    ptynet_options_init(&o, sizeof o);
    if (options != nullptr) {
      if (options->size < offsetof(ptynet_options, mask)) {
        ptynet::fail_input("call ptynet_options_init() on the options first");
      }
      std::memcpy(&o, options, std::min(options->size, sizeof o));
    }
    *session = new ptynet_session(weights, o);
  });
}

const char* ptynet_open_error(void) { return open_error.text.data(); }

ptynet_status ptynet_run(ptynet_session* session, const void* frames, int64_t n, float* amplitude,
                         float* phase) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  {
    const std::scoped_lock lock(session->mutex);
    if (session->state != ptynet_session::State::kIdle) return PTYNET_BUSY;
  }
  return session->run({frames, n, amplitude, phase});
}

ptynet_status ptynet_submit(ptynet_session* session, const void* frames, int64_t n,
                            float* amplitude, float* phase) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  {
    const std::scoped_lock lock(session->mutex);
    if (session->state != ptynet_session::State::kIdle) return PTYNET_BUSY;
    session->work = {frames, n, amplitude, phase};
    session->state = ptynet_session::State::kSubmitted;
  }
  session->changed.notify_all();
  return PTYNET_OK;
}

ptynet_status ptynet_wait(ptynet_session* session) {
  if (session == nullptr) return PTYNET_BAD_INPUT;
  std::unique_lock lock(session->mutex);
  if (session->state == ptynet_session::State::kIdle) return PTYNET_NOTHING_TO_WAIT;
  session->changed.wait(lock, [&] { return session->state == ptynet_session::State::kDone; });
  session->state = ptynet_session::State::kIdle;
  return session->result;
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
  if (session == nullptr || latency == nullptr) return PTYNET_BAD_INPUT;
  *latency = session->latency.read();
  return PTYNET_OK;
}

const char* ptynet_last_error(const ptynet_session* session) {
  return session == nullptr ? "" : session->error.text.data();
}

void ptynet_close(ptynet_session* session) { delete session; }

const char* ptynet_version(void) { return PTYNET_VERSION; }

}  // extern "C"
