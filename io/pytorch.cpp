#include "io/pytorch.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "io/elements.h"
#include "io/pickle.h"
#include "io/zip.h"
#include "kernels/error.h"

namespace ptynet::io {

namespace {

// Everything a pickled state dict may name, apart from the storages.
constexpr std::string_view kRebuildTensor = "torch._utils._rebuild_tensor";
constexpr std::string_view kRebuildTensorV2 = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils._rebuild_parameter";

struct StorageType {
  std::string_view name;
  ElementType element;
};
constexpr std::array<StorageType, 12> kStorageTypes = {{
    {"torch.FloatStorage", {ElementKind::kFloat, 4}},
    {"torch.DoubleStorage", {ElementKind::kFloat, 8}},
    {"torch.HalfStorage", {ElementKind::kFloat, 2}},
    {"torch.BFloat16Storage", {ElementKind::kBrainFloat, 2}},
    {"torch.LongStorage", {ElementKind::kSigned, 8}},
    {"torch.IntStorage", {ElementKind::kSigned, 4}},
    {"torch.ShortStorage", {ElementKind::kSigned, 2}},
    {"torch.CharStorage", {ElementKind::kSigned, 1}},
    {"torch.ByteStorage", {ElementKind::kUnsigned, 1}},
    {"torch.BoolStorage", {ElementKind::kBool, 1}},
    {"torch.ComplexFloatStorage", {ElementKind::kComplex, 8}},
    {"torch.ComplexDoubleStorage", {ElementKind::kComplex, 16}},
}};

std::vector<std::string_view> permitted_globals() {
  std::vector<std::string_view> out = {"collections.OrderedDict", "torch.Size", kRebuildTensor,
                                       kRebuildTensorV2, kRebuildParameter};
  for (const StorageType& type : kStorageTypes) out.push_back(type.name);
  return out;
}

// Tensors may share storages, but a file does not hold more than this many times its own size.
constexpr std::uint64_t kMaxGrowth = 64;

// Where a tensor's elements lie in its storage; counted in elements.
struct TensorLayout {
  std::vector<std::int64_t> extents;
  std::vector<std::int64_t> strides;
  std::int64_t offset = 0;
  std::int64_t elements = 1;
};

class TensorReader {
 public:
  TensorReader(const std::string& name, const PytorchStorages& storages)
      : name_(name), storages_(storages) {}

  StateDict read(const PickleValue& root) {
    const PickleValue& dict = state_dict_of(root);
    StateDict out;
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      if (is_tensor(*dict.items[i + 1])) {
        const std::string& key = dict.items[i]->text;
        out.insert_or_assign(key, tensor(key, *dict.items[i + 1]));
      }
    }
    return out;
  }

 private:
  template <typename... Parts>
  [[noreturn]] void fail(const std::string& key, const Parts&... parts) const {
    fail_input(name_, ": tensor '", printable(key), "': ", parts...);
  }

  static bool is_tensor(const PickleValue& value) { return value.is(PickleKind::kCall); }

  // A dict of at least one tensor, all of whose keys are strings.
  static bool is_state_dict(const PickleValue& value) {
    if (!value.is(PickleKind::kDict)) return false;
    bool tensors = false;
    for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
      if (!value.items[i]->is(PickleKind::kString)) return false;
      tensors = tensors || is_tensor(*value.items[i + 1]);
    }
    return tensors;
  }
  const PickleValue& state_dict_of(const PickleValue& root) const {
    for (const std::string_view key : {"state_dict", "model_state_dict", "model"}) {
      const PickleValue* inner = root.find(key);
      if (inner != nullptr && is_state_dict(*inner)) return *inner;
    }
    if (is_state_dict(root)) return root;
    fail_input(name_, ": expected a dict of tensors by name, or one that holds such a dict under ",
               "state_dict, model_state_dict or model");
  }

  // The arguments of _rebuild_tensor_v2, seen through parameters.
  const PickleValue& rebuild_call(const std::string& key, const PickleValue& value) const {
    const PickleValue* call = &value;
    while (call->is(PickleKind::kCall) && call->text == kRebuildParameter && !call->items.empty()) {
      call = call->items[0];
    }
    const bool known = call->is(PickleKind::kCall) &&
                       (call->text == kRebuildTensor || call->text == kRebuildTensorV2);
    if (!known || call->items.size() < 4) fail(key, "is no dense tensor");
    return *call;
  }

  TensorLayout layout(const std::string& key, const PickleValue& call) const {
    TensorLayout out;
    const PickleValue& sizes = *call.items[2];
    const PickleValue& strides = *call.items[3];
    if (!call.items[1]->is(PickleKind::kInteger) || !sizes.is(PickleKind::kTuple) ||
        !strides.is(PickleKind::kTuple) || sizes.items.size() != strides.items.size()) {
      fail(key, "expected an offset, extents and as many strides");
    }
    if (sizes.items.size() > Shape::kMaxRank) {
      fail(key, "expected at most ", Shape::kMaxRank, " dimensions, found ", sizes.items.size());
    }
    const auto integer = [&](const PickleValue* value) {
      if (!value->is(PickleKind::kInteger) || value->integer < 0) {
        fail(key, "expected extents, strides and offset of 0 or more");
      }
      return value->integer;
    };
    out.offset = integer(call.items[1]);
    for (const PickleValue* value : sizes.items) out.extents.push_back(integer(value));
    for (const PickleValue* value : strides.items) out.strides.push_back(integer(value));
    return out;
  }

  // Counts the elements and checks that the last one lies within `available`.
  void check_layout(const std::string& key, TensorLayout& layout, std::int64_t available) const {
    std::int64_t last = layout.offset;
    bool inside = last <= available;
    for (const std::int64_t extent : layout.extents) {
      if (extent == 0) layout.elements = 0;
    }
    for (std::size_t d = 0; d < layout.extents.size() && inside && layout.elements > 0; ++d) {
      const std::int64_t extent = layout.extents[d];
      const std::int64_t stride = layout.strides[d];
      inside = extent == 1 || stride <= (available - last) / (extent - 1);
      if (inside && extent > 1) last += stride * (extent - 1);
      inside = inside && layout.elements <= available / extent;
      if (inside) layout.elements *= extent;
    }
    if (!inside || (layout.elements > 0 && last >= available)) {
      fail(key, "its extents and strides reach outside of its storage of ", available,
           " elements, or it is an expanded tensor (save a .clone() of it)");
    }
  }

  Array tensor(const std::string& key, const PickleValue& value) {
    const PickleValue& call = rebuild_call(key, value);
    const PickleValue& id = *call.items[0];
    // ('storage', type, member, device, number of elements)
    const bool well_formed =
        id.is(PickleKind::kPersistentId) && id.items[0]->is(PickleKind::kTuple) &&
        id.items[0]->items.size() == 5 && id.items[0]->items[1]->is(PickleKind::kGlobal) &&
        id.items[0]->items[2]->is(PickleKind::kString) &&
        id.items[0]->items[4]->is(PickleKind::kInteger);
    if (!well_formed) fail(key, "expected a reference to a storage");
    const std::vector<const PickleValue*>& parts = id.items[0]->items;
    const auto* type = std::find_if(kStorageTypes.begin(), kStorageTypes.end(),
                                    [&](const StorageType& t) { return t.name == parts[1]->text; });
    if (type == kStorageTypes.end()) fail(key, "expected a storage, found ", parts[1]->text);
    ElementType element = type->element;
    element.big_endian = storages_.big_endian;

    TensorLayout where = layout(key, call);
    const std::vector<std::byte>& bytes = storage(parts[2]->text);
    const auto available = static_cast<std::int64_t>(bytes.size() / element.size);
    if (parts[4]->integer != available || bytes.size() % element.size != 0) {
      fail(key, "expected a storage of ", parts[4]->integer, " elements of ", to_string(element),
           ", found ", bytes.size(), " bytes: the file is cut short or damaged");
    }
    check_layout(key, where, available);
    produced_ += static_cast<std::uint64_t>(where.elements) * element.size;
    if (produced_ / kMaxGrowth > storages_.file_bytes)
      fail(key, "too many tensors share one storage");
    return gather(key, bytes, element, where);
  }

  Array gather(const std::string& key, Bytes storage, const ElementType& element,
               const TensorLayout& where) const {
    const std::size_t rank = where.extents.size();
    const DType type = array_type_of(element) == DType::kF64 ? DType::kF32 : array_type_of(element);
    Array out = Array::host({where.extents.data(), rank}, type);
    const std::string place = text(name_, ": tensor '", printable(key), "'");
    const auto count = static_cast<std::size_t>(where.elements);
    const std::size_t size = element.size;
    const auto offset = static_cast<std::size_t>(where.offset);
    std::int64_t contiguous_stride = 1;
    bool contiguous = true;
    for (std::size_t d = rank; d-- > 0;) {
      if (where.extents[d] != 1) contiguous = contiguous && where.strides[d] == contiguous_stride;
      contiguous_stride *= where.extents[d];
    }
    if (contiguous || count == 0) {
      convert_elements(storage.subspan(count == 0 ? 0 : offset * size, count * size), element, out,
                       place);
      return out;
    }
    std::vector<std::byte> packed(count * size);
    std::vector<std::int64_t> index(rank);
    auto at = static_cast<std::int64_t>(offset);
    for (std::size_t i = 0; i < count; ++i) {
      std::memcpy(packed.data() + i * size, storage.data() + static_cast<std::size_t>(at) * size,
                  size);
      for (std::size_t d = rank; d-- > 0;) {
        at += where.strides[d];
        if (++index[d] < where.extents[d]) break;
        at -= where.strides[d] * index[d];
        index[d] = 0;
      }
    }
    convert_elements(packed, element, out, place);
    return out;
  }

  // Read once, however many tensors share it.
  const std::vector<std::byte>& storage(const std::string& member) {
    const auto known = known_.find(member);
    if (known != known_.end()) return known->second;
    return known_.emplace(member, storages_.read(member)).first->second;
  }

  const std::string& name_;
  const PytorchStorages& storages_;
  std::uint64_t produced_ = 0;  // bytes of all tensors so far
  std::map<std::string, std::vector<std::byte>> known_;
};

// The folder of an archive that holds data.pkl: "archive/".
std::string root_of(const ZipArchive& archive, const std::string& name) {
  std::string root;
  for (const ZipMember& member : archive.members()) {
    if (member.name.ends_with("/constants.pkl")) {
      fail_input(name, ": is a TorchScript program, which is never executed; save the state dict ",
                 "instead (torch.save(model.state_dict(), file))");
    }
    if (member.name.ends_with("/data.pkl")) {
      root = member.name.substr(0, member.name.size() - std::strlen("data.pkl"));
    }
  }
  if (root.empty()) {
    fail_input(name, ": expected a file of torch.save, found a zip archive without data.pkl");
  }
  return root;
}

bool is_big_endian(const ZipArchive& archive, const std::string& root, const std::string& name) {
  if (archive.find(root + "byteorder") == nullptr) return false;  // before PyTorch 2.1
  const std::vector<std::byte> raw = archive.read(root + "byteorder");
  const std::string order(reinterpret_cast<const char*>(raw.data()), raw.size());
  if (order != "little" && order != "big") {
    fail_input(name, ": expected byte order little or big, found '", printable(order), "'");
  }
  return order == "big";
}

StateDict read_archive(const ZipArchive& archive, const std::string& name, std::uint64_t bytes) {
  const std::string root = root_of(archive, name);
  PytorchStorages storages;
  storages.read = [&](const std::string& member) { return archive.read(root + "data/" + member); };
  storages.file_bytes = bytes;
  storages.big_endian = is_big_endian(archive, root, name);
  return read_tensors(archive.read(root + "data.pkl"), name, storages);
}

}  // namespace

StateDict read_tensors(Bytes pickle, const std::string& name, const PytorchStorages& storages) {
  const Pickle parsed(pickle, name, permitted_globals());
  return TensorReader(name, storages).read(parsed.root());
}

StateDict read_pytorch(const std::filesystem::path& path) {
  return read_archive(ZipArchive::open(path), path.string(), open_file(path)->size());
}

StateDict parse_pytorch(Bytes bytes, const std::string& name) {
  return read_archive(ZipArchive::from_memory(bytes, name), name, bytes.size());
}

bool is_legacy_pytorch(Bytes start) {
  // A pickle of protocol 2 to 5 that begins with the long integer 0x1950a86a20f9469cfc6c.
  constexpr std::array<unsigned char, 14> kMagic = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                                    0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
  constexpr std::size_t kTarMagicAt = 257;
  if (start.size() >= kMagic.size() && std::to_integer<int>(start[0]) == kMagic[0] &&
      std::memcmp(start.data() + 2, kMagic.data() + 2, kMagic.size() - 2) == 0) {
    return true;
  }
  return start.size() >= kTarMagicAt + 5 &&
         std::memcmp(start.data() + kTarMagicAt, "ustar", 5) == 0;
}

}  // namespace ptynet::io
