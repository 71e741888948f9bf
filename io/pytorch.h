// PyTorch's .pth and .ckpt files (the zip form that torch.save writes since PyTorch 1.6).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "io/bytes.h"
#include "io/state_dict.h"

namespace ptynet::io {

// The state dict of such a file: the dict it holds, or the one under state_dict, model_state_dict
// or model. Entries that are no tensors are left out; views are gathered; names are as in the file.
// Throws Error (input) for damaged files, every global that does not belong to tensors (naming it),
// sparse, quantised and expanded tensors, and the forms of PyTorch before 1.6.
StateDict read_pytorch(const std::filesystem::path& path);
// The same for bytes in memory; `name` is for messages.
StateDict parse_pytorch(Bytes bytes, const std::string& name);

// Where the elements of a pickle's tensors are.
struct PytorchStorages {
  // All bytes of a storage; throws Error (input) when there is none of that name.
  std::function<std::vector<std::byte>(const std::string& member)> read;
  std::uint64_t file_bytes = 0;  // of the whole file; bounds what tensors that share bytes may take
  bool big_endian = false;
};
// The state dict that a file's data.pkl describes.
StateDict read_tensors(Bytes pickle, const std::string& name, const PytorchStorages& storages);

// Whether the first bytes of a file are those of PyTorch's forms before 1.6 (a bare pickle or a tar
// archive), which cannot be read.
bool is_legacy_pytorch(Bytes start);

}  // namespace ptynet::io
