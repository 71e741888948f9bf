#include "io/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <optional>
#include <unordered_map>
#include <utility>

#include "io/pickle_opcodes.h"
#include "kernels/error.h"

namespace ptynet::io {

// The stack machine that a pickle is a program for. Every opcode makes at most one value and takes
// at least one byte, so memory is bounded by the length of the pickle; what calls copy has a
// bound of its own.
class PickleMachine {
  using enum PickleOpcode;

 public:
  PickleMachine(Pickle& out, Bytes bytes, const std::string& name,
                std::span<const std::string_view> permitted)
      : out_(out), bytes_(bytes), name_(name), permitted_(permitted) {}

  const PickleValue* run() {
    for (;;) {
      opcode_at_ = at_;
      const auto opcode = static_cast<PickleOpcode>(take(1)[0]);
      if (opcode == kStop) return pop();
      if (!step_scalar(opcode) && !step_stack(opcode) && !step_container(opcode) &&
          !step_memo(opcode) && !step_object(opcode)) {
        fail("opcode ", static_cast<int>(opcode), " does not occur in plain data");
      }
    }
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    fail_input(name_, ": the pickle cannot be read at byte ", opcode_at_, ": ", parts...);
  }

  // Bytes of the program.
  Bytes take(std::uint64_t count) {
    if (count > bytes_.size() - at_) fail("it ends too early");
    const Bytes out = bytes_.subspan(at_, count);
    at_ += count;
    return out;
  }
  std::uint64_t unsigned_of(std::size_t size) {
    std::uint64_t value = 0;
    const Bytes raw = take(size);
    for (std::size_t i = size; i-- > 0;) value = value << 8 | std::to_integer<unsigned>(raw[i]);
    return value;
  }
  std::string_view text_of(std::uint64_t size) {
    const Bytes raw = take(size);
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }
  std::string_view line() {
    const Bytes rest = bytes_.subspan(at_);
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    if (end == rest.end()) fail("it ends within a line");
    const std::string_view out = text_of(static_cast<std::size_t>(end - rest.begin()));
    ++at_;
    return out;
  }
  template <typename T>
  T parsed(std::string_view text_form) {
    T value{};
    const auto [end, error] =
        std::from_chars(text_form.data(), text_form.data() + text_form.size(), value);
    if (error != std::errc{} || end != text_form.data() + text_form.size()) {
      fail("expected a number, found '", printable(text_form), "'");
    }
    return value;
  }

  // The stack. A mark is a null pointer.
  PickleValue& make(PickleKind kind) {
    PickleValue& value = out_.values_.emplace_back();
    value.kind = kind;
    return value;
  }
  PickleValue& push(PickleKind kind) {
    PickleValue& value = make(kind);
    stack_.push_back(&value);
    return value;
  }
  PickleValue* pop() {
    PickleValue* value = &top();
    stack_.pop_back();
    return value;
  }
  PickleValue& top() {
    if (stack_.empty() || stack_.back() == nullptr) fail("a value is missing");
    return *stack_.back();
  }
  std::vector<const PickleValue*> pop_to_mark() {
    const auto mark = std::find(stack_.rbegin(), stack_.rend(), nullptr);
    if (mark == stack_.rend()) fail("a mark is missing");
    std::vector<const PickleValue*> items(mark.base(), stack_.end());
    stack_.erase(mark.base() - 1, stack_.end());
    return items;
  }
  std::vector<const PickleValue*> pop_several(std::size_t count) {
    std::vector<const PickleValue*> items(count);
    for (std::size_t i = count; i-- > 0;) items[i] = pop();
    return items;
  }
  void push_integer(std::int64_t value) { push(PickleKind::kInteger).integer = value; }
  void push_digits(std::string_view digits) {
    std::int64_t value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (result.ec == std::errc::result_out_of_range) {
      push(PickleKind::kBigInteger);
    } else {
      push_integer(parsed<std::int64_t>(digits));
    }
  }
  void push_bool(bool value) { push(PickleKind::kBool).integer = value ? 1 : 0; }
  void push_text(PickleKind kind, std::string_view value) { push(kind).text = value; }
  void push_long(Bytes little_endian) {
    if (little_endian.size() > 8) {
      push(PickleKind::kBigInteger);
      return;
    }
    std::uint64_t value = 0;
    std::memcpy(&value, little_endian.data(), little_endian.size());
    const auto unused = static_cast<int>(64 - 8 * little_endian.size());
    // Shift up and back to extend the sign.
    push_integer(little_endian.empty() ? 0 : static_cast<std::int64_t>(value << unused) >> unused);
  }

  bool step_scalar(PickleOpcode opcode) {
    switch (opcode) {
      case kProtocol:
        if (const std::uint64_t protocol = unsigned_of(1); protocol > 5) {
          fail("expected protocol 0 to 5, found ", protocol);
        }
        return true;
      case kFrame:
        take(8);  // a hint for readers of streams
        return true;
      case kNone:
        push(PickleKind::kNone);
        return true;
      case kTrue:
      case kFalse:
        push_bool(opcode == kTrue);
        return true;
      case kInteger1:
        push_integer(static_cast<std::int64_t>(unsigned_of(1)));
        return true;
      case kInteger2:
        push_integer(static_cast<std::int64_t>(unsigned_of(2)));
        return true;
      case kInteger4:
        push_integer(static_cast<std::int32_t>(unsigned_of(4)));
        return true;
      case kLong1:
        push_long(take(unsigned_of(1)));
        return true;
      case kLong4:
        push_long(take(unsigned_of(4)));
        return true;
      case kFloat8:  // big-endian, unlike everything else
        push(PickleKind::kNumber).number = std::bit_cast<double>(byte_swapped(unsigned_of(8)));
        return true;
      default:
        return step_text(opcode);
    }
  }
  static std::uint64_t byte_swapped(std::uint64_t value) {
    auto raw = std::bit_cast<std::array<std::byte, 8>>(value);
    std::reverse(raw.begin(), raw.end());
    return std::bit_cast<std::uint64_t>(raw);
  }

  bool step_text(PickleOpcode opcode) {
    switch (opcode) {
      case kIntegerText: {
        const std::string_view digits = line();
        if (digits == "00" || digits == "01") {
          push_bool(digits == "01");
        } else {
          push_digits(digits);
        }
        return true;
      }
      case kLongText: {
        std::string_view digits = line();
        if (digits.ends_with('L')) digits.remove_suffix(1);
        push_digits(digits);
        return true;
      }
      case kFloatText:
        push(PickleKind::kNumber).number = parsed<double>(line());
        return true;
      case kStringText: {
        const std::string_view quoted = line();
        if (quoted.size() < 2 || quoted.front() != quoted.back()) fail("a string without quotes");
        push_text(PickleKind::kString, quoted.substr(1, quoted.size() - 2));
        return true;
      }
      case kUnicodeText:
        push_text(PickleKind::kString, line());
        return true;
      case kString1:
      case kUnicode1:
        push_text(PickleKind::kString, text_of(unsigned_of(1)));
        return true;
      case kString4:
      case kUnicode4:
        push_text(PickleKind::kString, text_of(unsigned_of(4)));
        return true;
      case kUnicode8:
        push_text(PickleKind::kString, text_of(unsigned_of(8)));
        return true;
      case kBytes1:
        push_text(PickleKind::kBytes, text_of(unsigned_of(1)));
        return true;
      case kBytes4:
        push_text(PickleKind::kBytes, text_of(unsigned_of(4)));
        return true;
      case kBytes8:
        push_text(PickleKind::kBytes, text_of(unsigned_of(8)));
        return true;
      default:
        return false;
    }
  }

  void append_to(PickleKind kind, const std::vector<const PickleValue*>& items) {
    PickleValue& target = top();
    if (!target.is(kind)) fail("items without the container they belong to");
    if (kind == PickleKind::kDict && items.size() % 2 != 0) fail("a key without a value");
    target.items.insert(target.items.end(), items.begin(), items.end());
  }

  bool step_stack(PickleOpcode opcode) {
    switch (opcode) {
      case kMark:
        stack_.push_back(nullptr);
        return true;
      case kPop:
        if (stack_.empty()) fail("a value is missing");
        stack_.pop_back();
        return true;
      case kPopMark:
        pop_to_mark();
        return true;
      case kDuplicate:
        stack_.push_back(&top());
        return true;
      default:
        return false;
    }
  }

  static std::size_t size_of_tuple(PickleOpcode opcode) {
    return opcode == kTuple3 ? 3 : opcode == kTuple2 ? 2 : opcode == kTuple1 ? 1 : 0;
  }
  bool step_container(PickleOpcode opcode) {
    switch (opcode) {
      case kEmptyTuple:
      case kTuple1:
      case kTuple2:
      case kTuple3: {
        auto items = pop_several(size_of_tuple(opcode));
        push(PickleKind::kTuple).items = std::move(items);
        return true;
      }
      case kTuple:
      case kList:
      case kDict: {
        auto items = pop_to_mark();
        if (opcode == kDict && items.size() % 2 != 0) fail("a key without a value");
        push(opcode == kTuple  ? PickleKind::kTuple
             : opcode == kList ? PickleKind::kList
                               : PickleKind::kDict)
            .items = std::move(items);
        return true;
      }
      case kEmptyList:
        push(PickleKind::kList);
        return true;
      case kEmptyDict:
        push(PickleKind::kDict);
        return true;
      case kAppend:
        append_to(PickleKind::kList, pop_several(1));
        return true;
      case kAppends:
        append_to(PickleKind::kList, pop_to_mark());
        return true;
      case kSetItem:
        append_to(PickleKind::kDict, pop_several(2));
        return true;
      case kSetItems:
        append_to(PickleKind::kDict, pop_to_mark());
        return true;
      default:
        return false;
    }
  }

  bool step_memo(PickleOpcode opcode) {
    std::optional<std::uint64_t> put;
    std::optional<std::uint64_t> get;
    switch (opcode) {
      case kPutText:
        put = parsed<std::uint64_t>(line());
        break;
      case kPut1:
        put = unsigned_of(1);
        break;
      case kPut4:
        put = unsigned_of(4);
        break;
      case kMemoize:
        put = memo_.size();
        break;
      case kGetText:
        get = parsed<std::uint64_t>(line());
        break;
      case kGet1:
        get = unsigned_of(1);
        break;
      case kGet4:
        get = unsigned_of(4);
        break;
      default:
        return false;
    }
    if (put) {
      memo_[*put] = &top();
    } else {
      const auto found = memo_.find(*get);
      if (found == memo_.end()) fail("refers to a value ", *get, " that is not there");
      stack_.push_back(found->second);
    }
    return true;
  }

  bool step_object(PickleOpcode opcode) {
    switch (opcode) {
      case kGlobal:
      case kInstance: {  // kInstance would also call it: no permitted global is written that way
        const std::string_view module = line();
        push_global(module, line());
        if (opcode == kInstance) fail("an instance of an old-style class");
        return true;
      }
      case kStackGlobal: {
        const PickleValue* name = pop();
        const PickleValue* module = pop();
        if (!name->is(PickleKind::kString) || !module->is(PickleKind::kString)) {
          fail("a global without a name");
        }
        push_global(module->text, name->text);
        return true;
      }
      case kPersistentText:
        fail("a persistent identifier as text");
      case kPersistent: {
        const PickleValue* identifier = pop();
        push(PickleKind::kPersistentId).items = {identifier};
        return true;
      }
      case kReduce:
      case kNewObject: {
        const PickleValue* arguments = pop();
        const PickleValue* callee = pop();
        if (!callee->is(PickleKind::kGlobal) || !arguments->is(PickleKind::kTuple)) {
          fail("a call of something that is no global");
        }
        call(callee->text, *arguments);
        return true;
      }
      case kBuild: {
        // State dicts carry an attribute _metadata, which nothing needs.
        pop();
        if (!top().is(PickleKind::kDict)) fail("the state of an object that is no dict");
        return true;
      }
      default:
        return false;
    }
  }

  void push_global(std::string_view module, std::string_view name) {
    const std::string full = text(module, ".", name);
    if (std::find(permitted_.begin(), permitted_.end(), full) == permitted_.end()) {
      fail_input(
          name_, ": refuses '", printable(full),
          "': only tensors, dicts, lists, tuples, numbers and strings are loaded and nothing ",
          "is executed; save the state dict alone (torch.save(model.state_dict(), file))");
    }
    push_text(PickleKind::kGlobal, full);
  }

  // Bounds what calls copy: a short pickle may name one long list over and over.
  const std::vector<const PickleValue*>& copied(const PickleValue& value) {
    copied_ += value.items.size();
    if (copied_ > Pickle::kMaxBytes) fail("the same items copied over and over");
    return value.items;
  }
  void call(const std::string& callee, const PickleValue& arguments) {
    if (callee == "collections.OrderedDict") {
      PickleValue& dict = push(PickleKind::kDict);
      if (arguments.items.empty()) return;
      for (const PickleValue* pair : copied(*arguments.items[0])) {
        if (pair->items.size() != 2) fail("a dict made from something other than pairs");
        dict.items.insert(dict.items.end(), pair->items.begin(), pair->items.end());
      }
    } else if (callee == "torch.Size") {
      if (arguments.items.size() != 1) fail("a torch.Size without its extents");
      push(PickleKind::kTuple).items = copied(*arguments.items[0]);
    } else {
      PickleValue& value = push(PickleKind::kCall);
      value.text = callee;
      value.items = copied(arguments);
    }
  }

  Pickle& out_;
  Bytes bytes_;
  const std::string& name_;
  std::span<const std::string_view> permitted_;
  std::size_t at_ = 0;
  std::size_t opcode_at_ = 0;
  std::size_t copied_ = 0;
  std::vector<PickleValue*> stack_;
  std::unordered_map<std::uint64_t, PickleValue*> memo_;
};

const PickleValue* PickleValue::find(std::string_view key) const {
  if (!is(PickleKind::kDict)) return nullptr;
  const PickleValue* found = nullptr;
  for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
    if (items[i]->is(PickleKind::kString) && items[i]->text == key) found = items[i + 1];
  }
  return found;
}

Pickle::Pickle(Bytes bytes, const std::string& name, std::span<const std::string_view> permitted) {
  if (bytes.size() > kMaxBytes) {
    fail_input(name, ": expected a pickle of at most ", kMaxBytes, " bytes, found ", bytes.size());
  }
  root_ = PickleMachine(*this, bytes, name, permitted).run();
}

}  // namespace ptynet::io
