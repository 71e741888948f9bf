#include "engine/training_log.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "io/bytes.h"
#include "kernels/error.h"

namespace ptynet {

TrainingLog::TrainingLog(std::vector<std::string> columns) : columns_(std::move(columns)) {}

void TrainingLog::add(const std::vector<double>& row) {
  if (row.size() != columns_.size()) {
    fail_runtime("a row of the log has ", columns_.size(), " values, found ", row.size());
  }
  rows_.push_back(row);
}

double TrainingLog::at(std::size_t row, const std::string& column) const {
  const auto found = std::find(columns_.begin(), columns_.end(), column);
  if (found == columns_.end() || row >= rows_.size()) {
    fail_runtime("the log has no '", column, "' of row ", row);
  }
  return rows_[row][static_cast<std::size_t>(found - columns_.begin())];
}

void TrainingLog::write_csv(const std::filesystem::path& path) const {
  std::string content;
  for (const std::string& name : columns_) content += (content.empty() ? "" : ",") + name;
  content += '\n';
  for (const std::vector<double>& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) content += ',';
      if (!std::isnan(row[i])) content += shortest(row[i]);
    }
    content += '\n';
  }
  io::PendingFile file(path);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

void TrainingLog::put(io::Checkpoint& checkpoint) const {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::vector<double>& column = checkpoint.series[columns_[i]];
    for (const std::vector<double>& row : rows_) column.push_back(row[i]);
  }
}

// All lengths are looked at before anything is made of them: a row takes more memory than a value.
void TrainingLog::take(const io::Checkpoint& checkpoint, std::optional<std::int64_t> rows) {
  rows_.clear();
  std::optional<std::size_t> wanted;
  if (rows) wanted = static_cast<std::size_t>(*rows);
  for (const auto& name : columns_) {
    const auto found = checkpoint.series.find(name);
    if (found == checkpoint.series.end()) {
      fail_input("the checkpoint has no history of '", name, "'");
    }
    if (!wanted) wanted = found->second.size();
    if (found->second.size() != *wanted) {
      fail_input("expected the history of ", *wanted, " epochs, found ", found->second.size(),
                 " of '", name, "'");
    }
  }
  rows_.resize(wanted.value_or(0), std::vector<double>(columns_.size()));
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const std::vector<double>& column = checkpoint.series.at(columns_[i]);
    for (std::size_t row = 0; row < column.size(); ++row) rows_[row][i] = column[row];
  }
}

}  // namespace ptynet
