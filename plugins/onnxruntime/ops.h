// The four ops as ONNX Runtime's custom ops: library.cpp registers them.
#pragma once
#include <vector>

#include "slots.h"

namespace hc_onnxruntime {

// One for each name and element type; they live as long as the process.
const std::vector<const ort::CustomOp*>& ops();

}  // namespace hc_onnxruntime
