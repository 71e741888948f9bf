// Python pickles (protocols 0 to 5) of plain data, read without executing anything.
// Source: the opcodes of CPython's Lib/pickletools.py.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/bytes.h"

namespace ptynet::io {

enum class PickleKind {
  kNone,
  kBool,
  kInteger,
  kBigInteger,  // beyond 64 bits; its value is not kept
  kNumber,
  kString,
  kBytes,
  kTuple,
  kList,
  kDict,
  kGlobal,        // a permitted class or function, by name
  kCall,          // what a permitted function was to be called with: named, never called
  kPersistentId,  // a reference to data outside of the pickle
};

// One value. Values may refer to each other in circles, so walk them only as deep as is expected.
struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  std::int64_t integer = 0;  // kInteger; 0 or 1 for kBool
  double number = 0;         // kNumber
  std::string text;          // kString, kBytes; "module.name" for kGlobal and kCall
  // kTuple, kList; kDict: key, value, key, value...; kCall: its arguments;
  // kPersistentId: the one value that identifies it.
  std::vector<const PickleValue*> items;

  bool is(PickleKind other) const { return kind == other; }
  // The value of a string key of a dict; null when there is none. The last one counts.
  const PickleValue* find(std::string_view key) const;
};

// A pickle taken apart. The values live as long as it does.
class Pickle {
 public:
  static constexpr std::size_t kMaxBytes = std::size_t{1} << 22;

  // `permitted`: the globals ("module.name") that may occur. "collections.OrderedDict" and
  // "torch.Size" among them become a dict and a tuple; calls of the others are kept as kCall.
  // `name` is for messages. Throws Error (input) for any other global, naming it, for damaged
  // pickles, opcodes that make or change objects, and pickles over kMaxBytes.
  Pickle(Bytes bytes, const std::string& name, std::span<const std::string_view> permitted);

  const PickleValue& root() const { return *root_; }

 private:
  friend class PickleMachine;
  std::deque<PickleValue> values_;
  const PickleValue* root_ = nullptr;
};

}  // namespace ptynet::io
