// Hugging Face's .safetensors: a JSON header and one block of tensor data.
// Source: github.com/huggingface/safetensors, section "Format" of its README.
#pragma once

#include <filesystem>
#include <string>

#include "io/bytes.h"
#include "io/state_dict.h"

namespace ptynet::io {

// Every tensor of the file, names as in the file. Throws Error (input) when the header is damaged
// or does not describe the data exactly (tensors must neither overlap nor leave gaps), and for
// element types other than F64, F32, F16, BF16, I64 to I8, U64 to U8, BOOL and C64.
StateDict read_safetensors(const std::filesystem::path& path);
// The same for bytes in memory; `name` is for messages.
StateDict parse_safetensors(Bytes bytes, const std::string& name);

// Whether the first bytes of a file of `file_size` bytes look like a safetensors header.
bool is_safetensors(Bytes start, std::uint64_t file_size);

}  // namespace ptynet::io
