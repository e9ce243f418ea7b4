#pragma once

#include <cstdint>

/// Every limit of the room. docs/saga.md shows the same table.
namespace ferry::saga::limits {

inline constexpr std::uint32_t steps_max = 2'000;
inline constexpr std::uint32_t name_bytes_max = 100;  // of a definition, a step, a signal
inline constexpr std::uint32_t id_bytes_max = 200;    // of a saga
inline constexpr std::uint32_t mappings_max = 200;    // per step
inline constexpr std::uint32_t conditions_max = 20;   // per step
inline constexpr std::uint32_t pointer_bytes_max = 500;
inline constexpr std::uint32_t json_depth_max = 100;
/// A saga's input and all of its results and signals together.
inline constexpr std::uint32_t data_bytes_max = 1U << 20;
/// Of a reason or an error, the rest is cut off.
inline constexpr std::uint32_t reason_bytes_max = 500;
inline constexpr std::uint32_t definition_file_bytes_max = 1U << 20;
/// Sub-sagas in sub-sagas.
inline constexpr std::uint32_t depth_max = 8;
inline constexpr std::uint32_t url_bytes_max = 2'000;
/// Of an HTTP answer's body; the rest is not read.
inline constexpr std::uint32_t http_answer_bytes_max = data_bytes_max;
/// HTTP calls of one orchestrator at the same time, unless told otherwise, and at most.
inline constexpr std::uint32_t http_at_once = 64;
inline constexpr std::uint32_t http_at_once_max = 1'000;
inline constexpr std::uint32_t attempts_max = 1'000'000;
inline constexpr std::uint64_t duration_ms_max = 10ULL * 366 * 24 * 3600 * 1000;

}  // namespace ferry::saga::limits
