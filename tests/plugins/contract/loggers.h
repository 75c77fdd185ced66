// A user's logger and TensorRT's way to it as TensorRT 10 and 11 lay them out: the classes differ, and a TensorRT's
// headers hold one kind.
#pragma once
#include <string>

// An ILoggerFinder of TensorRT `major` (10, or 11 and later) whose logger appends what it is told to `messages`.
void* make_logger_finder(int major, std::string& messages);
