// A trainer's state as part of a checkpoint.
#pragma once

#include "engine/trainer.h"
#include "io/checkpoint.h"

namespace ptynet {

// Throws Error (runtime) that names the tensor when a value is not finite: such a state is no place
// to go on from, and must not take a good checkpoint's.
void expect_finite(const TrainerState& state);

void put(const TrainerState& state, io::Checkpoint& checkpoint);
TrainerState trainer_state_of(const io::Checkpoint& checkpoint);  // Throws Error (input).

}  // namespace ptynet
