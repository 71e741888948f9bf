// A trainer's state as part of a checkpoint.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/reconstruct.h"
#include "engine/trainer.h"
#include "io/checkpoint.h"

namespace ptynet {

// Does `write`, of a log or a checkpoint, which must not end a job that may have run for hours:
// what cannot be written is a warning, followed by `rest`. Throws Error (runtime) all the same,
// when the state itself is no good.
void write_or_warn(const std::function<void()>& write, const Log& warning,
                   const std::string& rest = "");
// "; the last good checkpoint is ...", or that there is none yet.
std::string last_good(const std::string& checkpoint);

// Throws Error (runtime) that names the tensor when a value is not finite: such a state is no place
// to go on from, and must not take a good checkpoint's.
void expect_finite(const TrainerState& state);

void put(const TrainerState& state, io::Checkpoint& checkpoint);
// Throws Error (input) for what no run can have left: counts of steps that are not whole or below
// 0, values that are not finite, second moments below 0.
TrainerState trainer_state_of(const io::Checkpoint& checkpoint);
// Of the run so far, on devices that have a choice.
void put_choices(Trainer& trainer, io::Checkpoint& checkpoint);
// Before the first step, so that it computes as the run of `checkpoint`, which `path` names, did.
// Of another device or other versions they are not taken, which is a warning.
void take_choices(const io::Checkpoint& checkpoint, const std::string& path, Trainer& trainer,
                  const Log& warning);
// Throws Error (input) unless the number is whole and from 0 to `most`.
std::int64_t whole_number(const io::Checkpoint& checkpoint, const std::string& name,
                          std::int64_t most);
// Throws Error (input) unless the number is finite and 0 or more.
double amount(const io::Checkpoint& checkpoint, const std::string& name);
// Throws Error (input) that names the first tensor of the group with a value that is not finite.
void expect_finite_group(const io::Checkpoint& checkpoint, const std::string& group);

}  // namespace ptynet
