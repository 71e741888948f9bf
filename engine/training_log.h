// What a training job writes down of every epoch.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/checkpoint.h"

namespace ptynet {

// Columns and one row per epoch. NaN means that there is no such value.
class TrainingLog {
 public:
  explicit TrainingLog(std::vector<std::string> columns);

  // Throws Error (runtime) unless there is one value for each column.
  void add(const std::vector<double>& row);
  std::size_t rows() const { return rows_.size(); }
  const std::vector<std::string>& columns() const { return columns_; }
  // Throws Error (runtime) when there is no such column or row.
  double at(std::size_t row, const std::string& column) const;

  // The whole table as CSV: a line of names, numbers that read back to the same bits, nothing for
  // NaN. Rewritten whole and renamed into place, so that a job that is killed and resumed leaves
  // neither double nor missing rows.
  void write_csv(const std::filesystem::path& path) const;

  // As the series of a checkpoint, and back. Throws Error (input) when columns are missing or of
  // different lengths, or not of `rows` where that is known.
  void put(io::Checkpoint& checkpoint) const;
  void take(const io::Checkpoint& checkpoint, std::optional<std::int64_t> rows = std::nullopt);

 private:
  std::vector<std::string> columns_;
  std::vector<std::vector<double>> rows_;
};

}  // namespace ptynet
