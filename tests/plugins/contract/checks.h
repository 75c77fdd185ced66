// A check that fails is printed and counted; the program goes on and ends with 1.
#pragma once
#include <cstdio>

inline int checks = 0, failures = 0;

#define CHECK(CONDITION)                                           \
    do {                                                           \
        ++checks;                                                  \
        if (CONDITION) break;                                      \
        ++failures;                                                \
        std::printf("line %d failed: %s\n", __LINE__, #CONDITION); \
    } while (0)

inline int verdict() {
    std::printf("%d checks, %d failures\n", checks, failures);
    return failures || !checks;
}
