// Messages to the user, in TensorRT's own log; on stderr where TensorRT has named none.
#pragma once

namespace hc {

#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
void log_error(const char* format, ...) noexcept;

}  // namespace hc
